"""A training that kills itself by a signal, resumed each time with another number of loader workers."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.training import checkpoints
from hubbleclip.training.loop import train
from hubbleclip.training.tracking import read_metrics

SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from squares_dataset import MODEL
from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.loop import train
def kill(step, _):
    if step == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)
settings = TrainSettings.model_validate_json(sys.argv[4])
train(Path(sys.argv[1]), Path(sys.argv[2]), MODEL, settings, code_version="test", on_progress=kill)
"""
SETTINGS = TRAIN.model_copy(update={"steps": 24, "checkpoint_every": 3, "validate_every": 4, "ema": 0.9, "patience": 8})


def curve(run: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in read_metrics(run)]


@pytest.mark.slow
def test_killed_at_three_steps_the_curve_is_that_of_an_uninterrupted_training(tmp_path) -> None:
    dataset, runs = make_dataset(tmp_path / "datasets"), tmp_path / "killed"
    undisturbed = train(dataset, tmp_path / "undisturbed", MODEL, SETTINGS, code_version="test")
    for workers, step in enumerate((2, 9, 17)):  # before the first checkpoint, and while one is due or not
        settings = SETTINGS.model_copy(update={"workers": workers}).model_dump_json()
        arguments = [SCRIPT, dataset, runs, Path(__file__).parent, settings, step]
        done = subprocess.run([sys.executable, "-c", *map(str, arguments)], check=False)
        assert done.returncode == -signal.SIGKILL
    resumed = train(dataset, runs, MODEL, SETTINGS, code_version="test")
    assert len(list(runs.iterdir())) == 1
    assert curve(resumed) == curve(undisturbed)
    assert checkpoints.read_best(resumed) == checkpoints.read_best(undisturbed)
