"""How often a run asks, as the archive itself counts it."""

from pathlib import Path

from stages import stage_at
from test_fetching import archive_at, url  # noqa: F401 - a fixture

from benchmarks.bench_ingest import count_requests, request_figures
from hubbleclip.pipeline.ingest.poll_archive import query_observations


def test_a_run_that_finds_nothing_new_asks_once_a_window_and_counts_nothing(url: str, tmp_path: Path) -> None:  # noqa: F811
    with stage_at(tmp_path) as stage:
        query_observations(stage, archive_at(url, stage))
        before, known = count_requests(url), stage.catalog.counts()
        query_observations(stage, archive_at(url, stage))
        assert stage.catalog.counts() == known
    figures = request_figures(count_requests(url) - before)
    assert (figures["windows"], figures["most requests a window"]) == (3, 1)  # a window for each family of instruments
    assert not any("count" in name or "products" in name for name in figures)
