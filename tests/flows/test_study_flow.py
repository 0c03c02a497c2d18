"""The study as one command: it ends in answers, and trains nothing twice."""

import json

import pytest
from commands import SMALL, run

from flows.study import table, with_table
from hubbleclip.evaluation.study import ARMS


def answer(name: str, metric: str, low: float, high: float) -> dict:
    return {"name": name, "metric": metric, "value": (low + high) / 2, "low": low, "high": high}


def test_the_table_marks_only_what_excludes_zero() -> None:
    told = {"num_seeds": 3, "steps": 9, "questions": [
        answer("guard", "i2t_accuracy_at_10pct", 0.01, 0.03), answer("guard", "t2i_accuracy_at_10pct", -0.01, 0.03),
    ]}  # fmt: skip
    assert table(told).splitlines()[-1] == "| guard | **+2.0** (1.0 to 3.0) | +1.0 (-1.0 to 3.0) |"
    readme = with_table("a\n<!-- study -->\nold\n<!-- end of study -->\nb", told)
    assert "old" not in readme and readme.endswith("b") and table(told) in readme


@pytest.mark.slow
def test_a_study_ends_in_answers_and_goes_on_with_what_stands(tmp_path) -> None:
    settings = SMALL | {"train.validate_every": 2, "train.checkpoint_every": 2, "train.log_every": 2}
    words = ("study", "--steps", "2", "--num-seeds", "1")
    first = run(*words, data=tmp_path, settings=settings)
    assert first.code == 0, first.err
    path = tmp_path / "demo/study/study.json"
    told = json.loads(path.read_text())
    assert {one["name"]: one["is_paired"] for one in told["questions"]} == {
        "several positives against one": True, "fine-tuned against scratch": True,
        "leak that the sky guard stops": True, "leak of a random split of tiles": False,
    }  # fmt: skip
    runs = {run_dir.name for run_dir in (tmp_path / "demo/study/runs").iterdir()}
    assert len(runs) == len(ARMS) + 1  # the arms, each on data of its own, and the pretraining
    again = run(*words, data=tmp_path, settings=settings)
    assert again.code == 0, again.err
    told_again = json.loads(path.read_text())
    assert told_again["datasets"] == told["datasets"]
    for one, other in zip(told["arms"], told_again["arms"], strict=True):
        assert other["value"] == pytest.approx(one["value"], abs=0.02)  # scores of untrained models are nearly ties
    assert {run_dir.name for run_dir in (tmp_path / "demo/study/runs").iterdir()} == runs
