"""Metrics of a run as lines and as TensorBoard scalars, also after a killed process."""

import sys
from pathlib import Path

import pytest
from finished_runs import made_run
from squares_dataset import TRAIN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hubbleclip.core.errors import TrainingError
from hubbleclip.training.tracking import METRICS, TENSORBOARD, Tracker, read_metrics


def rows(first: int, last: int, offset: float = 0.0) -> list[tuple[int, dict[str, float]]]:
    return [(step, {"loss": step / 8 + offset, "learning_rate": 0.5**step}) for step in range(first, last + 1)]


def write(run_dir: Path, resumed_after: int, made: list[tuple[int, dict[str, float]]]) -> None:
    tracker = Tracker(run_dir, resumed_after, ["tensorboard"])
    for step, metrics in made:
        tracker.write(step, metrics)
    tracker.close()


def test_rows_after_the_checkpoint_of_a_resumed_run_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, 0, rows(1, 5, offset=9.0)[:2] + rows(3, 5, offset=50.0))
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')  # a process that was killed while it wrote
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    (written,) = (tmp_path / TENSORBOARD).iterdir()
    written.rename(written.with_name("events.out.tfevents.1"))  # files are read by the second in their names
    write(tmp_path, 2, rows(3, 6))
    expected = rows(1, 2, offset=9.0) + rows(3, 6)
    assert read_metrics(tmp_path) == [{"step": step, **metrics} for step, metrics in expected]
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    for name in ("loss", "learning_rate"):
        assert [(one.step, one.value) for one in events.Scalars(name)] == [
            (step, metrics[name]) for step, metrics in expected
        ]


@pytest.mark.slow
def test_wandb_has_the_metrics_and_the_settings_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_dir = made_run(tmp_path)
    tracker = Tracker(run_dir, 0, ["wandb"])
    run = wandb.run
    assert run.config["train"]["steps"] == TRAIN.steps
    for step in (1, 2):  # a step is complete when the next one begins
        tracker.write(step, {"loss": 0.5 * step})
    assert (run.summary["_step"], run.summary["loss"]) == (1, 0.5)
    tracker.close()
    assert list(run_dir.glob("wandb/offline-run-*/run-*.wandb"))


def test_wandb_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"hubbleclip\[wandb\]"):
        Tracker(tmp_path, 0, ["wandb"])


def test_without_tensorboard_the_lines_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write(tmp_path, 0, rows(1, 2))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    assert not (tmp_path / TENSORBOARD).exists()
