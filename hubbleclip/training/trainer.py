"""The trainer runs optimizer steps, validates the model, and writes and restores checkpoints.

No random generator keeps state between steps. The random numbers for batch, views and dropout depend only on seed, step
and process. A training can therefore resume from weights, optimizer state and step alone, and then has the loss curve
of an uninterrupted training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.loader import TrainBatch
from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.training import checkpoints
from hubbleclip.training.distillation import Distillation
from hubbleclip.training.distributed import World
from hubbleclip.training.finetuning import frozen_modules, uses_batch_statistics
from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import LoadedModel, clamp_scale
from hubbleclip.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from hubbleclip.training.validation import is_informative, validate

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Trainer:
    """A training in progress; see `make_trainer`.

    `step` counts finished steps. `best_score` is the accuracy on val at `best_step`. `average` holds the exponential
    moving average of the weights; None if no average is used. `frozen` lists the modules that stay in evaluation mode.
    """

    settings: TrainSettings
    loaded: LoadedModel
    gradients: ContrastiveGradients
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
        return self.gradients.world

    @property
    def samples_seen(self) -> int:
        """Number of samples in all finished steps, over all processes."""
        return self.step * self.settings.batch_size

    @property
    def evaluation_model(self) -> LoadedModel:
        """The model that is validated and saved: the moving average if there is one."""
        return self.loaded if self.average is None else replace(self.loaded, model=self.average.module)

    @cached_property
    def has_informative_val(self) -> bool:
        """Whether the accuracy on val can rank models."""
        return is_informative(self.val)

    @property
    def is_done(self) -> bool:
        """Whether the last step is finished, or the accuracy on val has not improved for `patience` validations."""
        steps_since_best = self.step - self.best_step
        patience_steps = self.settings.patience * self.settings.validate_every  # 0 disables early stopping
        return self.step >= self.settings.steps or (self.has_informative_val and 0 < patience_steps <= steps_since_best)

    def train_step(self, batch: TrainBatch) -> dict[str, float]:
        """Run one optimizer step."""
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
            "learning_rate": rate,
            "logit_scale": scale,
            "grad_norm": float(norm),
            "samples_seen": self.samples_seen,
        }

    def _backward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Augment the batch on the device and accumulate its gradients in `grad` of the parameters."""
        seed = self.settings.seed, self.step, self.world.rank  # so that a resumed run draws the same dropout
        batch = batch._replace(tokens_bl=self.loaded.trim_padding(batch.tokens_bl))
        tiles, theta, gain, tokens, group_ids = (part.to(self.world.device, non_blocking=True) for part in batch)
        images = self.loaded.normalise(render_views(tiles, theta, gain, self.loaded.image_size))
        self.gradients.wrapped.train()
        for module in self.frozen:  # train() has also switched the frozen modules to training mode
            module.eval()
        images = images.contiguous(memory_format=torch.channels_last)
        return self.gradients.backward(images, tokens, group_ids, seed, self.settings.micro_batch)

    def _check_finite(self, total: float, norm: float) -> None:
        """Raise TrainingError if the loss or the gradient norm is not finite."""
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TrainingError(
                f"the loss is not finite at step {self.step + 1} (loss {total}, gradient norm {norm}): "
                "lower train.learning_rate, lengthen train.warmup_steps or set train.precision = 'fp32'"
            )

    def is_due(self, every: int) -> bool:
        """Test whether the number of finished steps is a multiple of `every`, or the last step is finished."""
        return self.step % every == 0 or self.step == self.settings.steps

    def validate_if_due(self) -> dict[str, float]:
        """Validate the model if validation is due, and update the best step: the earliest step with the highest score.

        Returns {} if validation is not due. If val cannot rank models, validation is never due and the newest step
        is the best step.
        """
        if not self.has_informative_val:
            self.best_step = self.step
            return {}
        if not self.is_due(self.settings.validate_every):
            return {}
        self._check_weights()
        metrics = validate(self.evaluation_model, self.val, self.gradients.loss)
        if self.best_score is None or metrics["val_accuracy_10"] > self.best_score:
            self.best_step, self.best_score = self.step, metrics["val_accuracy_10"]
        return metrics

    def _check_weights(self) -> None:
        """Raise TrainingError if a weight of the model that is validated and saved is not finite."""
        for name, weight in self.evaluation_model.model.state_dict().items():
            if weight.is_floating_point() and not weight.isfinite().all():
                raise TrainingError(
                    f"the weights {name} are not finite at step {self.step}: lower train.learning_rate, lengthen "
                    "train.warmup_steps or set train.precision = 'fp32'"
                )

    def save(self) -> None:
        """Write a checkpoint, record which checkpoint is the best, and delete checkpoints that are no longer needed."""
        self._check_weights()
        state: dict[str, Any] = {
            "step": self.step,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "state_dict": self.evaluation_model.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:  # `state_dict` holds the moving average; training resumes from `trained`
            state |= {"trained": self.loaded.model.state_dict(), "num_averaged": int(self.average.n_averaged)}
        # best.json is written after the checkpoint and before deletions, so that a killed run can always resume
        checkpoints.write_checkpoint(self.run_dir, self.step, state)
        self.write_best_and_prune()

    def write_best_and_prune(self) -> None:
        """Record which checkpoint is the best, then delete checkpoints that are no longer needed."""
        checkpoints.write_best(self.run_dir, self.best_step, self.best_score)
        checkpoints.prune_checkpoints(self.run_dir, self.best_step)

    def restore(self) -> None:
        """Load the newest checkpoint that is intact, if there is one."""
        state = checkpoints.read_newest(self.run_dir)
        if state is None:
            return
        self.evaluation_model.model.load_state_dict(state["state_dict"])
        if self.average is not None:
            self.loaded.model.load_state_dict(state["trained"])
            self.average.n_averaged.fill_(state["num_averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_step, self.best_score = state["step"], state["best_step"], state["best_score"]
        if self.world.is_writer:  # the previous process may have been killed before it recorded the best step
            self.write_best_and_prune()
        log.info("run %s resumes after step %d", self.run_dir.name, self.step)


def render_views(tiles_b1ss: Tensor, theta_b23: Tensor, gain_b: Tensor, size_px: int) -> Tensor:
    """Render augmented views (b, 1, size_px, size_px): transform each grey tile by its affine map and its gain."""
    # The side s is at most twice `size_px`, so that bilinear sampling skips no pixel.
    levels = tiles_b1ss.float() / 255
    # align_corners=False puts -1 and 1 at the outer pixel edges, so that a change of scale does not shift the image
    grid = F.affine_grid(theta_b23, [len(levels), 1, size_px, size_px], align_corners=False)
    views = F.grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.clamp(views * gain_b.view(-1, 1, 1, 1), 0, 1)


def _average(limit: float, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor) -> None:
    """Update a moving average of weights in place; `num_averaged` is the number of earlier updates.

    The decay grows from 2 / 11 to `limit`, so that the average soon forgets the initial weights. The argument
    `num_updates` of TensorFlow's `ExponentialMovingAverage` has the same effect.
    """
    num = int(num_averaged)
    get_ema_multi_avg_fn(min(limit, (1 + num) / (10 + num)))(averaged, current, num_averaged)  # type: ignore[no-untyped-call]


def make_trainer(
    loaded: LoadedModel,
    settings: TrainSettings,
    world: World,
    *,
    val: SplitTiles,
    run_dir: Path,
    distillation: Distillation | None = None,
) -> Trainer:
    """Create optimizer, loss, data-parallel wrapper and moving average for a model."""
    if settings.micro_batch and uses_batch_statistics(loaded.model):
        raise TrainingError(
            "batch norms would take their statistics from micro-batches instead of the whole batch: "
            "set train.micro_batch = 0"
        )
    loaded.model.to(world.device, memory_format=torch.channels_last)
    if settings.grad_checkpointing:
        getattr(loaded.model, "base", loaded.model).set_grad_checkpointing()
    if distillation is not None:
        distillation.base.to(world.device, memory_format=torch.channels_last)
    wrapped = world.wrap(loaded.model)
    average = AveragedModel(loaded.model, multi_avg_fn=partial(_average, settings.ema)) if settings.ema else None
    gradients = ContrastiveGradients(
        wrapped=torch.compile(wrapped) if settings.compile else wrapped,
        world=world,
        loss=get_loss(settings.loss),
        is_bf16=settings.precision == "bf16",
        is_local=settings.local_loss,
        distillation=distillation,
    )
    return Trainer(
        settings=settings,
        loaded=loaded,
        gradients=gradients,
        optimizer=make_optimizer(loaded.model, settings),
        average=average,
        val=val,
        run_dir=run_dir,
        frozen=frozen_modules(loaded.model),
    )
