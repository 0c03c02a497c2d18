"""A trainer and its batches, opened without a run; and runs of a few steps."""

from pathlib import Path

import torch
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings
from hubbleclip.dataset.loader import TrainBatches
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.training.distillation import Distillation
from hubbleclip.training.distributed import World
from hubbleclip.training.loop import _initial_model, _open_batches, train
from hubbleclip.training.trainer import Trainer, make_trainer

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def trained(dataset_dir: Path, root: Path, model: ModelSettings = MODEL, **changes) -> Path:
    """Train by `TRAIN` with changes; return the folder of the run."""
    return train(dataset_dir, root, model, TRAIN.model_copy(update=changes), code_version="test")


def opened(
    dataset_dir: Path,
    model: ModelSettings = MODEL,
    *,
    run_dir: Path | None = None,
    base: Distillation | None = None,
    **changes,
) -> tuple[Trainer, TrainBatches]:
    info, settings = read_dataset(dataset_dir), TRAIN.model_copy(update=changes)
    loaded = _initial_model(model, settings)
    batches = _open_batches(info, settings, loaded, ALONE)
    val, run_dir = open_split(info, "val"), run_dir or dataset_dir
    return make_trainer(loaded, settings, ALONE, val=val, run_dir=run_dir, distillation=base), batches
