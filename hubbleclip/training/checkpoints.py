"""Checkpoints of a run: written whole or not at all, read without running code, pruned to the newest and the best."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from hubbleclip.errors import TrainingError
from hubbleclip.files import replacing, sha256_file, write_text
from hubbleclip.paths import checkpoint_name
from hubbleclip.records import Checkpoint
from hubbleclip.training.model import LoadedModel, rebuild_model
from hubbleclip.training.runs import read_model_settings

FOLDER = "checkpoints"
BEST = "best.json"


def write_checkpoint(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after `step`; its weights stand under `state_dict`, where open_clip looks for them too."""
    with replacing(run_dir / FOLDER / checkpoint_name(step)) as temporary:
        torch.save(state, temporary)


def list_steps(run_dir: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    return sorted(int(path.stem.removeprefix("step-")) for path in (run_dir / FOLDER).glob("step-*.pt"))


def read_checkpoint(run_dir: Path, step: int) -> dict[str, Any]:
    """The state after `step`, on the CPU. Raises TrainingError when the file is missing or damaged."""
    path = run_dir / FOLDER / checkpoint_name(step)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: delete the file and train again") from error
    return state


def write_best(run_dir: Path, step: int, score: float | None) -> None:
    """Name the best checkpoint; `score` is its accuracy on val, None where there is no val split."""
    write_text(run_dir / BEST, json.dumps({"step": step, "score": score}) + "\n")


def read_best_step(run_dir: Path) -> int:
    """Step of the best checkpoint. Raises TrainingError where there is none yet."""
    try:
        return int(json.loads((run_dir / BEST).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"the run {run_dir} has no checkpoint yet: run `hubbleclip train` again") from error


def prune(run_dir: Path, keep: int, best_step: int) -> None:
    """Delete all checkpoints but the `keep` newest and the best."""
    for step in list_steps(run_dir)[:-keep]:
        if step != best_step:
            (run_dir / FOLDER / checkpoint_name(step)).unlink()


def read_records(run_dir: Path) -> list[Checkpoint]:
    """A record of each checkpoint, hashed; paths are relative to the profile's root."""
    names = [(step, checkpoint_name(step)) for step in list_steps(run_dir)]
    return [
        Checkpoint(
            run_id=run_dir.name,
            step=step,
            path=f"{run_dir.parent.name}/{run_dir.name}/{FOLDER}/{name}",
            sha256=sha256_file(run_dir / FOLDER / name),
        )
        for step, name in names
    ]


def load_run_model(run_dir: Path) -> LoadedModel:
    """The model of a run with the weights of its best checkpoint, on the CPU. Needs no network."""
    state = read_checkpoint(run_dir, read_best_step(run_dir))
    return rebuild_model(read_model_settings(run_dir), state["state_dict"])
