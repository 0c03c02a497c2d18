"""When a run is promoted."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stages import stage_at
from valid_catalog import make, promotion

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Promotion, Report, Run
from hubbleclip.evaluation.compare import decide
from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.pipeline.evaluate import promote, write_decision
from hubbleclip.pipeline.promotion import not_promoted, promoted

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def estimate(run_id: str, draws_b: np.ndarray) -> Estimate:
    value, sizes_g = float(draws_b.mean()), np.ones(20, np.int64)
    return Estimate(protocol=FAIR, scorer=run_id, name=HEADLINE, value=value, draws_b=draws_b, sizes_g=sizes_g)


def noise(mean: float, seed: int = 1) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(0, 0.01, 500)


def run(run_id: str) -> Run:
    return replace(make(Run, run_id=run_id), path=f"runs/{run_id}")


def decision(run_id: str, day: int, *, is_promoted: bool) -> Promotion:
    return replace(promotion(run_id, None, None), is_promoted=is_promoted, decided_at=NOW.replace(day=day))


def test_the_pointer_is_the_last_promoted_run_whose_folder_stands(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with writing_catalog(layout) as catalog:
        catalog.upsert({"run": [run(name) for name in "abc"]})
        catalog.upsert(
            {
                "promotion": [
                    decision("a", 1, is_promoted=True),
                    decision("b", 2, is_promoted=True),
                    decision("c", 3, is_promoted=False),
                ]
            }
        )
        assert promoted(catalog, layout) is None
        (layout.runs / "b").mkdir(parents=True)
        found = promoted(catalog, layout)
    assert found is not None
    assert (found["run_id"], found["path"]) == ("b", str(layout.runs / "b"))


def test_the_reason_why_none_is_promoted_is_that_of_the_last_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Promotion:
        raise EvaluationError("the split has 1 proposal: raise splits.val_share")

    monkeypatch.setattr("hubbleclip.pipeline.evaluate.compare_on_val", fail)
    with stage_at(tmp_path) as stage:
        assert "run `hubbleclip pipeline` first" in str(not_promoted(stage.catalog))
        stage.catalog.upsert({"run": [run("a")], "report": [make(Report, run_id="a")]})
        assert "an evaluation was stopped" in str(not_promoted(stage.catalog))
        assert promote(stage, tmp_path, stage.layout.runs / "a") is None
        assert "the split has 1 proposal: raise splits.val_share, then" in str(not_promoted(stage.catalog))
        monkeypatch.setattr(
            "hubbleclip.pipeline.evaluate.compare_on_val", lambda *_: decision("a", 1, is_promoted=True)
        )
        assert promote(stage, tmp_path, stage.layout.runs / "a")
        assert stage.catalog.rows("FROM rejection") == []


def test_after_a_clock_that_was_ahead_the_next_promoted_run_is_the_newest(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        early = replace(decision("a", 1, is_promoted=True), decided_at=NOW.replace(year=2090))
        stage.catalog.upsert({"run": [run(name) for name in "ab"], "promotion": [early]})
        for name in "ab":
            (stage.layout.runs / name).mkdir(parents=True)
        write_decision(stage, decision("b", 3, is_promoted=True))
        found = promoted(stage.catalog, stage.layout)
    assert found is not None
    assert found["run_id"] == "b"


@pytest.mark.parametrize(("low", "is_promoted"), [(0.0, False), (1e-9, True)])
def test_a_run_whose_interval_begins_at_0_is_not_promoted(
    monkeypatch: pytest.MonkeyPatch, low: float, is_promoted: bool
) -> None:
    gain = SimpleNamespace(value=0.1, interval=lambda: (low, 0.2))
    monkeypatch.setattr("hubbleclip.evaluation.compare.difference", lambda ours, other: gain)
    assert decide(estimate("b", noise(0.5)), estimate("a", noise(0.4)), NOW).is_promoted == is_promoted
