"""Write, read and prune the checkpoints of a run. Writes are atomic, and reading a file executes no code from it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hubbleclip.config.model import LOCAL_DIR, OPEN_CLIP_CONFIG, ModelSettings, TrainSettings
from hubbleclip.core.errors import TrainingError, explained
from hubbleclip.core.io import atomic_write, read_json, sha256_file, sync_files, sync_folder, write_text
from hubbleclip.core.layout import checkpoint_name
from hubbleclip.core.records import Checkpoint
from hubbleclip.training.export.open_clip_folder import write_open_clip
from hubbleclip.training.finetuning import apply_mode
from hubbleclip.training.models.builder import LoadedModel, load_error, load_model, rebuild_model
from hubbleclip.training.models.model_folder import check_open_clip, check_weights
from hubbleclip.training.runs import (
    BASE,
    CHECKPOINTS,
    FINISHED,
    RUN,
    damaged,
    read_facts,
    read_model_settings,
    read_train_settings,
    reading,
)
from hubbleclip.training.tracking import METRICS

log = logging.getLogger(__name__)

BEST = "best.json"
KEPT_CHECKPOINTS = 2
"""Number of newest checkpoints that are kept; if the newest is damaged, training resumes from the second newest."""
RESUMED = (
    *("mode", "lora_rank", "lock_image_unlocked_groups", "lock_text_unlocked_layers", "loss", "ema", "shuffled"),
    *("batch_size", "weight_decay", "beta1", "beta2", "eps", "layer_decay"),
)
"""Settings that must be the same as in the run `train.resume`, because its checkpoints depend on these settings."""
MIXTURE = "mixture.pt"
"""File of the weights that are interpolated between the initial model and the best checkpoint (see
`loop.select_best_mixture`)."""


def write_checkpoint(run_dir: Path, step: int, state: dict[str, Any]) -> None:
    """Write the training state to a checkpoint."""
    _write_state(run_dir / CHECKPOINTS / checkpoint_name(step), state)


def _write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a file of tensors and plain values; equal values give equal bytes."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        # not torch.save(state, temporary), which would store the temporary name in the file and hide an OSError
        torch.save(state, file)


def list_steps(run_dir: Path) -> list[int]:
    """List the steps that have a checkpoint."""
    return sorted(int(path.stem.removeprefix("step-")) for path in (run_dir / CHECKPOINTS).glob("step-*.pt"))


def read_newest(run_dir: Path) -> dict[str, Any] | None:
    """Read the training state from the newest checkpoint that is intact; None if there is none."""
    for step in reversed(list_steps(run_dir)):
        try:
            return read_checkpoint(run_dir, step)
        except TrainingError as error:
            log.warning("the checkpoint of step %d is not used: %s", step, error.__cause__)
    return None


def read_checkpoint(run_dir: Path, step: int) -> dict[str, Any]:
    """Read the training state from a checkpoint; all tensors are on the CPU."""
    return _read_state(run_dir, checkpoint_name(step))


def _read_state(run_dir: Path, name: str, *, is_mapped: bool = False) -> dict[str, Any]:
    """Load a file of tensors and plain values. Raises TrainingError if the file is missing or damaged.

    If `is_mapped`, the file is mapped into memory, and only the tensors that are used later are read.
    """
    path = run_dir / CHECKPOINTS / name
    with reading(run_dir, f"{name} cannot be read"):
        check_weights(path)
        # weights_only=True, because loading a checkpoint from an untrusted source must not execute code
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
        return state


def copy_progress(from_dir: Path, run_dir: Path, settings: TrainSettings) -> None:
    """Copy metrics, best checkpoint and last checkpoint of a run to a new run, unless they were already copied."""
    if not (from_dir / RUN).is_file():
        raise TrainingError(f"train.resume: there is no run {from_dir.name} (`hubbleclip runs` lists them)")
    before, best, last = read_train_settings(from_dir), read_best(from_dir)["step"], list_steps(from_dir)[-1]
    changed = [name for name in RESUMED if getattr(before, name) != getattr(settings, name)]
    if read_model_settings(run_dir) != read_model_settings(from_dir):
        changed.append("model")
    if read_facts(run_dir)["dataset_digest"] != read_facts(from_dir)["dataset_digest"]:
        changed.append("dataset")  # the earlier run may have been trained on tiles that are now in val or test
    if changed:
        raise TrainingError(f"train.resume: the run was made with another {', '.join(changed)}: set the same values")
    if last >= settings.steps:
        raise TrainingError(f"train.resume: the run has {last} steps: set train.steps above {last}")
    if 0 < settings.patience * settings.validate_every <= last - best:
        raise TrainingError(
            f"train.resume: stopped early, best at step {best} of {last}: raise train.patience, or set it to 0"
        )
    if list_steps(run_dir)[-1:] < [last]:
        shutil.copyfile(from_dir / METRICS, run_dir / METRICS)
        for step in (best, last):  # the checkpoint of step `last`, copied last, marks the copy as complete
            name = checkpoint_name(step)
            with atomic_write(run_dir / CHECKPOINTS / name) as temporary:
                shutil.copyfile(from_dir / CHECKPOINTS / name, temporary)


def write_mixture(run_dir: Path, state_dict: dict[str, Any]) -> None:
    """Write the interpolated weights that have the highest accuracy on val (see `loop.select_best_mixture`)."""
    _write_state(run_dir / CHECKPOINTS / MIXTURE, {"state_dict": state_dict})


def write_best(run_dir: Path, step: int, score: float | None, **mixture: Any) -> None:
    """Record the step of the best checkpoint and its accuracy on val; `score` is None if no accuracy was computed."""
    if mixture:
        mixture["sha256"] = sha256_file(run_dir / CHECKPOINTS / MIXTURE)
    write_text(run_dir / BEST, json.dumps({"step": step, "score": score, **mixture}) + "\n")


def read_best(run_dir: Path) -> dict[str, Any]:
    """Read which checkpoint is the best, as recorded by the last call of `write_best`."""
    if not (run_dir / BEST).exists() and read_facts(run_dir)["status"] != FINISHED:
        raise TrainingError(f"the run {run_dir} has no checkpoint yet: run `hubbleclip train` again, which resumes it")
    with reading(run_dir, f"{BEST} does not name a checkpoint"):
        best = read_json(run_dir / BEST)
        if not isinstance(best["step"], int) or not isinstance(best["score"], float | int | None):
            raise TypeError(f"step {best['step']!r}, score {best['score']!r}")
        return best


def prune_checkpoints(run_dir: Path, best_step: int, num_newest: int = KEPT_CHECKPOINTS) -> list[int]:
    """Delete checkpoints except the best and the `num_newest` newest; return the sizes (bytes) of the deleted files."""
    steps = [step for step in list_steps(run_dir)[:-num_newest] if step != best_step]
    paths = [run_dir / CHECKPOINTS / checkpoint_name(step) for step in steps]
    sizes = [path.stat().st_size for path in paths]
    for path in paths:
        path.unlink()
    return sizes


def read_checkpoint_records(run_dir: Path) -> list[Checkpoint]:
    """Make the catalog's record of each checkpoint of a run, with the SHA-256 of its file."""
    profile_dir = run_dir.parent.parent
    paths = {step: run_dir / CHECKPOINTS / checkpoint_name(step) for step in list_steps(run_dir)}
    return [
        Checkpoint(run_id=run_dir.name, step=step, path=str(path.relative_to(profile_dir)), sha256=sha256_file(path))
        for step, path in paths.items()
    ]


class BestWeights(NamedTuple):
    """Name and SHA-256 of the file with a run's best weights: the best checkpoint, or the interpolated weights."""

    name: str
    sha256: str


def best_weights(run_dir: Path) -> BestWeights:
    """Find the file with a run's best weights; raise TrainingError if its content differs from the recorded hash."""
    best = read_best(run_dir)
    name = MIXTURE if "alpha" in best else checkpoint_name(best["step"])
    rows = read_facts(run_dir)["checkpoints"]  # no checkpoints are recorded until the run is finished
    with reading(run_dir, f"{name} cannot be read"):
        hashes = {row["step"]: row["sha256"] for row in rows}
        recorded = best["sha256"] if name == MIXTURE else hashes.get(best["step"])
        sha256 = sha256_file(run_dir / CHECKPOINTS / name)
    if recorded not in (None, sha256):
        raise damaged(run_dir, f"{name} has changed since it was written")
    return BestWeights(name, sha256)


def model_digest(run_dir: Path) -> str:
    """Return the first 32 hex digits of the SHA-256 of a run's best weights, as an id of the model."""
    return best_weights(run_dir).sha256[:32]


def load_run_model(run_dir: Path) -> LoadedModel:
    """Load a run's model on the CPU, without network access.

    The weights are read from `MIXTURE` if the run has interpolated weights, otherwise from the best checkpoint.
    """
    # the file is mapped, because the optimizer's state, which is twice as large as the weights, is not needed
    state = _read_state(run_dir, best_weights(run_dir).name, is_mapped=True)
    settings = read_train_settings(run_dir)
    with reading(run_dir, "its weights do not fit its model"):
        return rebuild_model(_base(run_dir), state["state_dict"], lambda loaded: apply_mode(loaded, settings))


def write_base(run_dir: Path, load_base: Callable[[], LoadedModel]) -> None:
    """Write configuration, weights and tokenizer of a run's initial model, unless the run's folder already has them."""
    if (run_dir / BASE).is_dir():
        return
    building = run_dir / f".{BASE}.building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    write_open_clip(load_base(), building)
    with explained(partial(load_error, ModelSettings(name=f"{LOCAL_DIR}{building}"))):
        check_open_clip(building)  # a model that cannot be exported is refused before training
    sync_files(building.iterdir())
    building.rename(run_dir / BASE)
    sync_folder(run_dir)


def load_base_model(run_dir: Path) -> LoadedModel:
    """Load the model from which a run started, on the CPU, without network access."""
    return load_model(_base(run_dir), read_facts(run_dir)["seed"])


def _base(run_dir: Path) -> ModelSettings:
    """Return settings that load a run's copy of its initial model, or the run's model settings if there is no copy."""
    has_folder = (run_dir / BASE / OPEN_CLIP_CONFIG).is_file()
    return ModelSettings(name=f"{LOCAL_DIR}{run_dir / BASE}") if has_folder else read_model_settings(run_dir)
