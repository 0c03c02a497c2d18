"""Which runs `hubbleclip compare` means."""

from pathlib import Path

import pytest

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.compare_runs import find_run


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for name in ("20240101T000000-aa", "20240101T000000-ab"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    return Layout(tmp_path)


def test_a_run_is_found_by_the_beginning_of_its_id(layout: Layout) -> None:
    assert find_run(layout, "20240101T000000-ab").name == "20240101T000000-ab"


@pytest.mark.parametrize(("name", "count"), [("2024", 2), ("1999", 0), ("../runs/2024", 0)])
def test_an_unclear_or_unknown_run_is_refused_with_those_there_are(layout: Layout, name: str, count: int) -> None:
    with pytest.raises(EvaluationError, match=f"{count} run ids begin with .* give one of 20240101T000000-aa, "):
        find_run(layout, name)
