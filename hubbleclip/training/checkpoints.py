"""Write, read and prune the checkpoints of a run. Writes are atomic, and reading a file executes no code from it."""

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
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.models.builder import LoadedModel, rebuild_model
from hubbleclip.training.runs import read_model_settings, read_train_settings

FOLDER = "checkpoints"
BEST = "best.json"
MIXTURE = "mixture.pt"
"""File of the weights that are interpolated between the initial model and the best checkpoint (see `wise_ft`)."""


def write_checkpoint(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write the training state to a checkpoint.

    Parameters
    ----------
    run_dir
        The run directory.
    step
        Number of finished steps.
    state
        All values that are needed to resume. The weights are under the key `state_dict`, which open_clip also reads.

    """
    with atomic_write(run_dir / FOLDER / checkpoint_name(step)) as temporary:
        torch.save(state, temporary)


def list_steps(run_dir: Path) -> list[int]:
    """List the steps that have a checkpoint.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    list[int]
        Steps, ascending.

    """
    return sorted(int(path.stem.removeprefix("step-")) for path in (run_dir / FOLDER).glob("step-*.pt"))


def read_checkpoint(run_dir: Path, step: int) -> dict[str, Any]:
    """Read the training state from a checkpoint; all tensors are on the CPU.

    Parameters
    ----------
    run_dir
        The run directory.
    step
        Number of finished steps; one of the values that `list_steps` returns.

    Returns
    -------
    dict[str, Any]
        The state that `write_checkpoint` wrote.

    Raises
    ------
    TrainingError
        The file is missing or damaged.

    """
    return _read_state(run_dir / FOLDER / checkpoint_name(step))


def _read_state(path: Path, *, is_mapped: bool = False) -> dict[str, Any]:
    """Load a file of tensors and plain values. Raises TrainingError if the file is missing or damaged.

    Of a file that is mapped into memory, only the tensors that are used are read.
    """
    try:
        # weights_only=True, because loading a checkpoint from an untrusted source must not execute code
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: delete the file and train again") from error
    return state


def write_mixture(run_dir: Path, state_dict: dict[str, Any]) -> None:
    """Write the interpolated weights that have the highest accuracy on val (see `wise_ft`).

    Parameters
    ----------
    run_dir
        The run directory.
    state_dict
        Weights by name.

    """
    with atomic_write(run_dir / FOLDER / MIXTURE) as temporary:
        torch.save({"state_dict": state_dict}, temporary)


def write_best(run_dir: Path, step: int, score: float | None, **mixture: Any) -> None:
    """Record which checkpoint is the best.

    Parameters
    ----------
    run_dir
        The run directory.
    step
        Step of the best checkpoint.
    score
        Accuracy of the best checkpoint on val, in [0, 1]; None if val cannot rank models.
    **mixture
        Given if interpolated weights replace the checkpoint: `alpha`, the share of the trained weights, and
        `alpha_scores`, the accuracy on val for each share that was tried.

    """
    write_text(run_dir / BEST, json.dumps({"step": step, "score": score, **mixture}) + "\n")


def read_best(run_dir: Path) -> dict[str, Any]:
    """Read which checkpoint is the best, as recorded by the last call of `write_best`.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    dict[str, Any]
        `step` and `score` of the best checkpoint; also `alpha` and `alpha_scores` if the run has interpolated weights.

    Raises
    ------
    TrainingError
        The run has no checkpoint yet.

    """
    try:
        best: dict[str, Any] = json.loads((run_dir / BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"the run {run_dir} has no checkpoint yet: run `hubbleclip train` again") from error
    return best


def prune_checkpoints(run_dir: Path, keep: int, best_step: int) -> None:
    """Delete all checkpoints except the newest and the best.

    Parameters
    ----------
    run_dir
        The run directory.
    keep
        Number of newest checkpoints to keep, at least 1.
    best_step
        Step of the best checkpoint, which is kept whatever its age.

    """
    for step in list_steps(run_dir)[:-keep]:  # the newest ones are kept, because training resumes from the last
        if step != best_step:
            (run_dir / FOLDER / checkpoint_name(step)).unlink()


def read_checkpoint_records(run_dir: Path) -> list[Checkpoint]:
    """Describe each checkpoint for the catalog.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    list[Checkpoint]
        Records with SHA-256 and a path relative to the profile's root, ascending by step.

    """
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


def best_weights(run_dir: Path) -> Path:
    """Path of the file with a run's best weights: its best checkpoint or its mixture.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    Path
        The file. TrainingError is raised if the run has no checkpoint.

    """
    best = read_best(run_dir)
    return run_dir / FOLDER / (MIXTURE if "alpha" in best else checkpoint_name(best["step"]))


def model_digest(run_dir: Path) -> str:
    """Identify the model of a run by its weights.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    str
        The first 32 hex digits of the SHA-256 of the file with the best weights.

    """
    return sha256_file(best_weights(run_dir))[:32]


def load_run_model(run_dir: Path) -> LoadedModel:
    """Load a run's model on the CPU, without network access.

    The weights are the interpolated ones if the run has them, otherwise those of the best checkpoint.

    Parameters
    ----------
    run_dir
        The run directory.

    Returns
    -------
    LoadedModel
        The model, including the layers that its fine-tuning mode added.

    Raises
    ------
    TrainingError
        The run has no checkpoint, or the file is damaged.

    """
    state = _read_state(best_weights(run_dir), is_mapped=True)  # the optimizer's state, twice the weights, is not used
    settings = read_train_settings(run_dir)
    return rebuild_model(read_model_settings(run_dir), state["state_dict"], lambda loaded: apply_mode(loaded, settings))
