"""The study as one command: it ends in answers, and trains nothing twice."""

import json

import pytest
from commands import SMALL, run

from experiments.study.comparisons import ARMS, METRICS, QUESTIONS, RANDOM_TILES
from experiments.study.flow import table, with_table


def test_the_table_puts_the_leak_first_and_marks_only_what_excludes_zero() -> None:
    figures = [
        {"name": arm.name, "metric": metric, "value": 0.9 if arm.name == RANDOM_TILES else 0.85}
        for arm in ARMS for metric in METRICS
    ]  # fmt: skip
    answers = [
        {"name": name, "metric": metric, "value": 0.05, "low": 0.01 if metric == METRICS[0] else -0.01, "high": 0.09}
        for name in QUESTIONS for metric in METRICS
    ]  # fmt: skip
    told = {"num_seeds": 3, "steps": 9, "arms": figures, "questions": answers}
    assert table(told).splitlines()[2] == (
        "| a random split of tiles against the clean split "
        "| 90.0 against 85.0: **+5.0** (1.0 to 9.0) | 90.0 against 85.0: +5.0 (-1.0 to 9.0) |"
    )
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
        "a random split of tiles against the clean split": False, "without the sky guard against with it": True,
        "fine-tuned against scratch": True, "several positives against one": True,
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
