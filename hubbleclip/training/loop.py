"""Training of a model on an immutable dataset, in a run directory that can be left and taken up at any step.

Nothing random has a state: the batch, the views and the dropout of a step are drawn from (seed, step, process). So a
resume needs the weights, the optimizer and the step, and gives the same loss curve as a training without a break.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hubbleclip.dataset.loader import SplitTiles, TrainBatch, iterate_batches, open_split, open_train_batches
from hubbleclip.dataset.shards import DatasetInfo, read_dataset
from hubbleclip.errors import TrainingError
from hubbleclip.settings import ModelSettings, TrainSettings
from hubbleclip.training import checkpoints
from hubbleclip.training.augment import cut_views
from hubbleclip.training.distributed import World, joined
from hubbleclip.training.losses import Loss, loss_named
from hubbleclip.training.model import LoadedModel, clamp_scale, load_model, set_start
from hubbleclip.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from hubbleclip.training.runs import find_run, finish_run, open_run, settings_digest
from hubbleclip.training.tracking import Tracker
from hubbleclip.training.validation import validate

log = logging.getLogger(__name__)

OnProgress = Callable[[int, Mapping[str, float]], None]


@dataclass(kw_only=True)
class Trainer:
    """A training under way. `step` counts finished steps; `best_score` is the accuracy on val of `best_step`."""

    settings: TrainSettings
    world: World
    loaded: LoadedModel
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    val: SplitTiles
    run_dir: Path
    step: int = 0
    best_step: int = 0
    best_score: float | None = None

    @property
    def samples_seen(self) -> int:
        """Samples of all finished steps, over all processes."""
        return self.step * self.settings.batch_size

    def train_step(self, batch: TrainBatch) -> dict[str, float]:
        """One step of the optimizer. Raises TrainingError when the loss is no number."""
        torch.manual_seed((self.settings.seed * 1_000_003 + self.step) * self.world.size + self.world.rank)
        rate = learning_rate(self.step, self.settings)
        set_learning_rate(self.optimizer, rate)
        entries, scale = self._forward(batch)
        total = torch.stack(list(entries.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.loaded.model.parameters(), self.settings.grad_clip)
        values = {name: float(value.detach()) for name, value in entries.items()} | {"loss": float(total.detach())}
        self._check_finite(values["loss"], float(norm))
        self.optimizer.step()
        clamp_scale(self.loaded.model)
        self.step += 1
        return values | {
            "learning_rate": rate, "logit_scale": float(scale), "grad_norm": float(norm),
            "samples_seen": self.samples_seen,
        }  # fmt: skip

    def _forward(self, batch: TrainBatch) -> tuple[dict[str, Tensor], Tensor]:
        device, loaded = self.world.device, self.loaded
        tiles, theta, gain, tokens, group_ids = (part.to(device, non_blocking=True) for part in batch)
        images = loaded.normalise(cut_views(tiles, theta, gain, loaded.image_size))
        self.wrapped.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            image_bd, text_bd, scale, *bias = self.wrapped(images.contiguous(memory_format=torch.channels_last), tokens)
        image_bd, text_bd = self.world.gather(image_bd.float()), self.world.gather(text_bd.float())
        group_ids = self.world.gather(group_ids)
        return self.loss.compute(image_bd, text_bd, scale, bias[0] if bias else None, group_ids), scale.detach()

    def _check_finite(self, total: float, norm: float) -> None:
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss is no number at step {self.step + 1} (loss {total}, gradient norm {norm}): "
                "lower train.learning_rate, lengthen train.warmup_steps or set train.precision = 'fp32'"
            )

    def is_due(self, every: int) -> bool:
        """Whether something done `every` so many steps is due now; at the last step all is."""
        return self.step % every == 0 or self.step == self.settings.steps

    def validated(self) -> dict[str, float]:
        """Metrics on val when due; remembers the best step, the earlier of equals. Without val the last is the best."""
        if not self.val.rows:
            self.best_step = self.step
            return {}
        if not self.is_due(self.settings.validate_every):
            return {}
        metrics = validate(self.loaded, self.val, self.loss)
        if self.best_score is None or metrics["val_accuracy_10"] > self.best_score:
            self.best_step, self.best_score = self.step, metrics["val_accuracy_10"]
        return metrics

    def save(self) -> None:
        """Write the state of now, name the best, drop what is not needed: in this order a kill is harmless."""
        state = {
            "step": self.step, "best_step": self.best_step, "best_score": self.best_score,
            "state_dict": self.loaded.model.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        checkpoints.write_checkpoint(self.run_dir, self.step, state)
        self.name_best()

    def name_best(self) -> None:
        """Write which checkpoint is the best, then prune."""
        checkpoints.write_best(self.run_dir, self.best_step, self.best_score)
        checkpoints.prune(self.run_dir, self.settings.keep_checkpoints, self.best_step)

    def restore(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        steps = checkpoints.list_steps(self.run_dir)
        if not steps:
            return
        state = checkpoints.read_checkpoint(self.run_dir, steps[-1])
        self.loaded.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_step, self.best_score = state["step"], state["best_step"], state["best_score"]
        if self.world.is_writer:
            self.name_best()
        log.info("run %s goes on after step %d", self.run_dir.name, self.step)


def train(
    dataset_dir: Path,
    runs_dir: Path,
    model: ModelSettings,
    settings: TrainSettings,
    *,
    code_version: str,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train, or go on with what was left, and return the finished run's directory; a finished one is returned at once.

    Under torchrun every process calls it. `on_progress(step, metrics)` is called with each row of metrics, on the
    writing process. Raises DatasetError for a dataset that cannot be trained on, TrainingError when the loss or model
    is unknown, the loss is no number, or the batch cannot be shared evenly.
    """
    info = read_dataset(dataset_dir)
    finished = find_run(runs_dir, info.digest, settings_digest(model, settings))
    if finished is not None:
        return finished
    with joined() as world:
        return _finished(
            _open_trainer(info, runs_dir, model, settings, world=world, code_version=code_version),
            info,
            on_progress or (lambda step, metrics: None),
        )


def _finished(trainer: Trainer, info: DatasetInfo, on_progress: OnProgress) -> Path:
    """Run what is left and close the run."""
    _run_steps(trainer, info, on_progress)
    if trainer.world.is_writer:
        records = checkpoints.read_records(trainer.run_dir)
        finish_run(trainer.run_dir, trainer.samples_seen, trainer.best_step, records)
    return trainer.world.share(trainer.run_dir)


def _open_trainer(
    info: DatasetInfo,
    runs_dir: Path,
    model: ModelSettings,
    settings: TrainSettings,
    *,
    world: World,
    code_version: str,
) -> Trainer:
    """Build all that a training needs, then restore its newest checkpoint. Nothing is written before that."""
    loss = loss_named(settings.loss)
    if settings.batch_size % world.size:
        raise TrainingError(
            f"train.batch_size {settings.batch_size} cannot be shared by {world.size} processes: make it a multiple"
        )
    loaded = load_model(model, settings.seed)
    set_start(loaded, settings.temperature, loss.starts_at)
    loaded.model.to(world.device, memory_format=torch.channels_last)
    val = open_split(info, "val")
    if not val.rows:
        log.warning("no val split: the last checkpoint counts as the best")
    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"
    run_dir = (
        open_run(runs_dir, info.digest, model, settings, code_version=code_version, device=device)
        if world.is_writer
        else runs_dir
    )
    trainer = Trainer(
        settings=settings, world=world, loaded=loaded, wrapped=world.wrap(loaded.model), loss=loss, val=val,
        optimizer=make_optimizer(loaded.model, settings), run_dir=world.share(run_dir),
    )  # fmt: skip
    trainer.restore()
    return trainer


def _run_steps(trainer: Trainer, info: DatasetInfo, on_progress: OnProgress) -> None:
    """All steps that are left."""
    settings, world, loaded = trainer.settings, trainer.world, trainer.loaded
    batches = open_train_batches(
        open_split(info, "train"), settings, image_size=loaded.image_size, tokenizer=loaded.tokenizer,
        context_length=loaded.context_length, rank=world.rank, world=world.size,
    )  # fmt: skip
    report = _Reporter(trainer, on_progress) if world.is_writer else None
    try:
        for batch in iterate_batches(batches, trainer.step, pin=world.device.type == "cuda"):
            metrics = trainer.train_step(batch)
            if report is not None:
                report.after_step(metrics)
    finally:
        if report is not None:
            report.tracker.close()


class _Reporter:
    """What the writing process does between steps: validate, track, save."""

    def __init__(self, trainer: Trainer, on_progress: OnProgress) -> None:
        self.trainer, self.on_progress = trainer, on_progress
        self.tracker = Tracker(trainer.run_dir, trainer.step)
        self.since_s, self.since_step = time.perf_counter(), trainer.step

    def after_step(self, metrics: dict[str, float]) -> None:
        """Log, validate and save what is due. The row comes before the checkpoint, so that a resume loses none."""
        trainer = self.trainer
        best_before = trainer.best_step
        validated = trainer.validated()
        if validated or trainer.is_due(trainer.settings.log_every):
            self._track(metrics | validated)
        is_better = bool(validated) and trainer.best_step != best_before
        if is_better or trainer.is_due(trainer.settings.checkpoint_every):
            trainer.save()

    def _track(self, metrics: dict[str, float]) -> None:
        trainer, now_s = self.trainer, time.perf_counter()
        samples = (trainer.step - self.since_step) * trainer.settings.batch_size
        row: dict[str, Any] = metrics | {"samples_per_s": samples / (now_s - self.since_s)}
        self.since_s, self.since_step = now_s, trainer.step
        self.tracker.write(trainer.step, row)
        self.on_progress(trainer.step, row)
