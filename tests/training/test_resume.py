"""A training killed by the system at random steps, resumed each time with another number of loader workers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.training import checkpoints
from hubbleclip.training.loop import train
from hubbleclip.training.tracking import read_metrics

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from squares_dataset import MODEL
from hubbleclip.config.settings import TrainSettings
from hubbleclip.training.loop import train
settings = TrainSettings.model_validate_json(sys.argv[4])
train(Path(sys.argv[1]), Path(sys.argv[2]), MODEL, settings, code_version="test")
"""
SETTINGS = TRAIN.model_copy(update={"steps": 24, "checkpoint_every": 3, "validate_every": 4, "ema": 0.9, "patience": 8})


def reached(runs_dir: Path) -> int:
    rows = [row for run in runs_dir.glob("[!.]*") for row in read_metrics(run)]
    return rows[-1]["step"] if rows else 0


def train_until(step: int, dataset: Path, runs_dir: Path, workers: int) -> int:
    settings = SETTINGS.model_copy(update={"workers": workers}).model_dump_json()
    arguments = ["-c", SCRIPT, str(dataset), str(runs_dir), str(Path(__file__).parent), settings]
    with subprocess.Popen([sys.executable, *arguments], start_new_session=True) as running:
        try:
            while running.poll() is None and reached(runs_dir) < step:
                time.sleep(0.01)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    return running.returncode


def curve(run: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in read_metrics(run)]


@pytest.mark.slow
def test_killed_at_three_random_steps_the_curve_is_that_of_an_uninterrupted_training(tmp_path) -> None:
    dataset = make_dataset(tmp_path / "datasets")
    undisturbed = train(dataset, tmp_path / "undisturbed", MODEL, SETTINGS, code_version="test")
    steps = sorted(random.Random(1).sample(range(1, SETTINGS.steps - 11), 3))
    killed = [train_until(step, dataset, tmp_path / "killed", workers) for workers, step in enumerate(steps)]
    assert killed == [-signal.SIGKILL] * 3
    resumed = train(dataset, tmp_path / "killed", MODEL, SETTINGS, code_version="test")
    assert len(list((tmp_path / "killed").iterdir())) == 1
    assert curve(resumed) == curve(undisturbed), f"killed at {steps}"
    assert checkpoints.read_best(resumed) == checkpoints.read_best(undisturbed)
