"""Which runs `hubbleclip compare` means."""

import json
from pathlib import Path

import pytest

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError, HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.evaluate import compare
from hubbleclip.pipeline.promotion import find_run
from hubbleclip.training.runs import REQUIRED_FACTS

FACTS = dict.fromkeys(REQUIRED_FACTS) | {"status": "finished"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for name in ("20240101T000000-aa", "20240101T000000-ab"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(FACTS))
    return Layout(tmp_path)


def test_a_run_is_found_by_the_beginning_of_its_id_if_it_is_finished(layout: Layout, tmp_path: Path) -> None:
    assert find_run(layout, "20240101T000000-ab").name == "20240101T000000-ab"
    with pytest.raises(HubbleclipError, match="no run begins"):
        find_run(layout, "../runs/2024")
    with pytest.raises(EvaluationError, match="no finished run: run `hubbleclip train` first"):
        find_run(Layout(tmp_path / "nothing"), "2024")
    (layout.runs / "20240101T000000-ab/run.json").write_text(json.dumps(FACTS | {"status": "running"}))
    with pytest.raises(EvaluationError, match="20240101T000000-ab is not finished"):
        find_run(layout, "20240101T000000-ab")


def test_a_run_is_not_compared_with_itself(layout: Layout, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path.parent, profile=tmp_path.name)
    with pytest.raises(EvaluationError, match="both ids mean the run 20240101T000000-aa"):
        compare("20240101T000000-aa", "20240101T000000-aa", settings)
