"""A training under way: its steps, how good it is, and its state on the disk.

Nothing random has a state: the batch, the views and the dropout of a step are drawn from (seed, step, process). So a
resume needs the weights, the optimizer and the step, and gives the same loss curve as a training without a break.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.loader import SplitTiles, TrainBatch
from hubbleclip.training import checkpoints
from hubbleclip.training.augment import cut_views
from hubbleclip.training.distributed import World
from hubbleclip.training.finetuning import frozen_parts, has_training_norms
from hubbleclip.training.gradients import Contrast
from hubbleclip.training.losses import loss_named
from hubbleclip.training.models.builder import LoadedModel, clamp_scale
from hubbleclip.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from hubbleclip.training.validation import can_judge, validate

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Trainer:
    """`step` counts finished steps; `best_score` is the accuracy on val of `best_step`. `average` holds the moving
    average of the weights, if any. See `make_trainer`.
    """

    settings: TrainSettings
    loaded: LoadedModel
    contrast: Contrast
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    val: SplitTiles
    run_dir: Path
    step: int = 0
    best_step: int = 0
    best_score: float | None = None
    frozen: list[nn.Module] = field(default_factory=list)

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.contrast.world

    @property
    def samples_seen(self) -> int:
        """Samples of all finished steps, over all processes."""
        return self.step * self.settings.batch_size

    @property
    def evaluated(self) -> LoadedModel:
        """The model that is validated and kept: the moving average where there is one."""
        return self.loaded if self.average is None else replace(self.loaded, model=self.average.module)

    @cached_property
    def has_val(self) -> bool:
        """Whether val can tell a better model from a worse one."""
        return can_judge(self.val)

    @property
    def is_done(self) -> bool:
        """Whether the last step is done, or val has not become better for `patience` validations."""
        waited = self.step - self.best_step
        patience = self.settings.patience * self.settings.validate_every
        return self.step >= self.settings.steps or (self.has_val and 0 < patience <= waited)

    def train_step(self, batch: TrainBatch) -> dict[str, float]:
        """One step of the optimizer. Raises TrainingError when the loss is no number, or the batch has one group."""
        rate = learning_rate(self.step, self.settings)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        scale = float(self.loaded.model.logit_scale.detach().exp())
        entries = self._backward(batch)
        norm = nn.utils.clip_grad_norm_(self.loaded.model.parameters(), self.settings.grad_clip)
        values = {name: float(value.detach()) for name, value in entries.items()}
        values["loss"] = sum(values.values())
        self._check_finite(values["loss"], float(norm))
        self.optimizer.step()
        clamp_scale(self.loaded.model)
        if self.average is not None:
            self.average.update_parameters(self.loaded.model)
        self.step += 1
        return values | {
            "learning_rate": rate, "logit_scale": scale, "grad_norm": float(norm), "samples_seen": self.samples_seen,
        }  # fmt: skip

    def _backward(self, batch: TrainBatch) -> dict[str, Tensor]:
        seed = (self.settings.seed * 1_000_003 + self.step) * self.world.size + self.world.rank
        batch = batch._replace(tokens_bl=self.loaded.shorten(batch.tokens_bl))
        tiles, theta, gain, tokens, group_ids = (part.to(self.world.device, non_blocking=True) for part in batch)
        images = self.loaded.normalise(cut_views(tiles, theta, gain, self.loaded.image_size))
        self.contrast.wrapped.train()
        for part in self.frozen:
            part.eval()
        images = images.contiguous(memory_format=torch.channels_last)
        return self.contrast.backward(images, tokens, group_ids, seed, self.settings.micro_batch)

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
        """Metrics on val when due; remembers the best step, the earlier of equals. Without a val that can judge, the
        last is the best.
        """
        if not self.has_val:
            self.best_step = self.step
            return {}
        if not self.is_due(self.settings.validate_every):
            return {}
        metrics = validate(self.evaluated, self.val, self.contrast.loss)
        if self.best_score is None or metrics["val_accuracy_10"] > self.best_score:
            self.best_step, self.best_score = self.step, metrics["val_accuracy_10"]
        return metrics

    def save(self) -> None:
        """Write the state of now, name the best, drop what is not needed: in this order a kill is harmless."""
        state: dict[str, Any] = {
            "step": self.step, "best_step": self.best_step, "best_score": self.best_score,
            "state_dict": self.evaluated.model.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        if self.average is not None:
            state |= {"trained": self.loaded.model.state_dict(), "num_averaged": int(self.average.n_averaged)}
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
        self.evaluated.model.load_state_dict(state["state_dict"])
        if self.average is not None:
            self.loaded.model.load_state_dict(state["trained"])
            self.average.n_averaged.fill_(state["num_averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_step, self.best_score = state["step"], state["best_step"], state["best_score"]
        if self.world.is_writer:
            self.name_best()
        log.info("run %s goes on after step %d", self.run_dir.name, self.step)


def make_trainer(
    loaded: LoadedModel, settings: TrainSettings, world: World, *, val: SplitTiles, run_dir: Path
) -> Trainer:
    """All that a training needs of a prepared model. Raises TrainingError for batches that cannot be cut up."""
    if settings.micro_batch and has_training_norms(loaded.model):
        raise TrainingError(
            "batch norms would see train.micro_batch rows instead of the batch: set train.frozen_norms = true "
            "or train.micro_batch = 0"
        )
    loaded.model.to(world.device, memory_format=torch.channels_last)
    wrapped = world.wrap(loaded.model)
    averaging = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
    average = AveragedModel(loaded.model, multi_avg_fn=averaging) if settings.ema else None
    contrast = Contrast(
        model=loaded.model, wrapped=torch.compile(wrapped) if settings.compile else wrapped, world=world,
        loss=loss_named(settings.loss), is_bf16=settings.precision == "bf16",
    )  # fmt: skip
    return Trainer(
        settings=settings, loaded=loaded, contrast=contrast, optimizer=make_optimizer(loaded.model, settings),
        average=average, val=val, run_dir=run_dir, frozen=frozen_parts(loaded.model),
    )  # fmt: skip
