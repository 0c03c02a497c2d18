"""Finished runs without a training: a model with random weights, in the folders of a profile; and commands on them."""

from functools import partial
from pathlib import Path

import pytest
import torch
from squares_dataset import MODEL, TRAIN

from hubbleclip.cli.app import main
from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.training import checkpoints
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.runs import finish_run, open_run


def made_run(
    root: Path, digest: str = "0" * 32, model: ModelSettings = MODEL, settings: TrainSettings = TRAIN, seed: int = 1
) -> Path:
    """Make the folder of a finished run below `root/runs`; every weight differs from its initial value."""
    loaded = apply_mode(load_model(model, seed), settings)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=draw))
    with open_run(root / "runs", digest, model, settings, code_version="test", device="cpu") as run_dir:
        checkpoints.write_base(run_dir, partial(load_model, model, seed))
        checkpoints.write_checkpoint(run_dir, 4, {"state_dict": loaded.model.state_dict()})
        checkpoints.write_best(run_dir, 4, 0.5)
        finish_run(run_dir, 64, 4, checkpoints.read_checkpoint_records(run_dir))
    return run_dir


def run_command(*words: object) -> None:
    """Run a command of hubbleclip that must succeed."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0
