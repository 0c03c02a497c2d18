"""Checkpoints of a run: written whole or not at all, read without running code, pruned to the newest and the best."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import atomic_write, sha256_file, write_text
from hubbleclip.core.layout import checkpoint_name
from hubbleclip.core.records import Checkpoint
from hubbleclip.training.finetuning import prepare
from hubbleclip.training.models.builder import LoadedModel, rebuild_model
from hubbleclip.training.runs import read_model_settings, read_train_settings

FOLDER = "checkpoints"
BEST = "best.json"
MIXTURE = "mixture.pt"


def write_checkpoint(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write the state after `step`; its weights stand under `state_dict`, where open_clip looks for them too."""
    with atomic_write(run_dir / FOLDER / checkpoint_name(step)) as temporary:
        torch.save(state, temporary)


def list_steps(run_dir: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    return sorted(int(path.stem.removeprefix("step-")) for path in (run_dir / FOLDER).glob("step-*.pt"))


def read_checkpoint(run_dir: Path, step: int) -> dict[str, Any]:
    """The state after `step`, on the CPU. Raises TrainingError when the file is missing or damaged."""
    return _read_state(run_dir / FOLDER / checkpoint_name(step))


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: delete the file and train again") from error
    return state


def write_mixture(run_dir: Path, state_dict: dict[str, Any]) -> None:
    """Write the weights between start and best checkpoint that do best on val."""
    with atomic_write(run_dir / FOLDER / MIXTURE) as temporary:
        torch.save({"state_dict": state_dict}, temporary)


def write_best(run_dir: Path, step: int, score: float | None, **mixture: Any) -> None:
    """Name the best checkpoint; `score` is its accuracy on val, None where val cannot judge. `mixture` tells of
    the mixture that takes its place: `alpha`, and the `alpha_scores` that it was chosen by.
    """
    write_text(run_dir / BEST, json.dumps({"step": step, "score": score, **mixture}) + "\n")


def read_best(run_dir: Path) -> dict[str, Any]:
    """What `write_best` wrote last. Raises TrainingError where there is nothing yet."""
    try:
        best: dict[str, Any] = json.loads((run_dir / BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"the run {run_dir} has no checkpoint yet: run `hubbleclip train` again") from error
    return best


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
    """The model of a run with the weights of its best checkpoint or mixture, on the CPU. Needs no network."""
    best = read_best(run_dir)
    state = _read_state(run_dir / FOLDER / (MIXTURE if "alpha" in best else checkpoint_name(best["step"])))
    settings = read_train_settings(run_dir)
    return rebuild_model(read_model_settings(run_dir), state["state_dict"], lambda loaded: prepare(loaded, settings))
