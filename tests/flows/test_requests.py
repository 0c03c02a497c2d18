"""How often a run asks, as the archive itself counts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stages import stage_at
from test_fetching import SKY, archive_at

from benchmarks.bench_ingest import count_requests, request_figures
from hubbleclip.pipeline.ingest.run import update_observations
from tests.faulty_archive.archive import running_archive


@pytest.fixture
def url() -> Iterator[str]:
    with running_archive(SKY) as address:
        yield address


def test_a_run_that_finds_nothing_new_asks_once_a_window_and_counts_nothing(url: str, tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        update_observations(stage, archive_at(url, stage))
        before, known = count_requests(url), stage.catalog.counts()
        update_observations(stage, archive_at(url, stage))
        assert stage.catalog.counts() == known
    figures = request_figures(count_requests(url) - before)
    assert (figures["windows"], figures["most requests a window"]) == (3, 1)  # a window for each family of instruments
    assert not any("count" in name or "products" in name for name in figures)
