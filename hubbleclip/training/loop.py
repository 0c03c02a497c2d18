"""Train a model on an immutable dataset and write a run directory, from which an interrupted training resumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.loader import TrainBatches, iterate_batches
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.training import checkpoints
from hubbleclip.training.distillation import make_distillation
from hubbleclip.training.distributed import World, process_group
from hubbleclip.training.finetuning import apply_mode, is_down_factor
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import LoadedModel, load_model, set_initial_scale
from hubbleclip.training.runs import find_run, finish_run, open_run, settings_digest
from hubbleclip.training.tracking import Tracker
from hubbleclip.training.trainer import Trainer, make_trainer
from hubbleclip.training.validation import validate

log = logging.getLogger(__name__)

OnProgress = Callable[[int, Mapping[str, float]], None]


def train(
    dataset_dir: Path | str,
    runs_dir: Path,
    model: ModelSettings,
    settings: TrainSettings,
    *,
    code_version: str,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train a model, or resume an unfinished training with the same dataset and settings.

    Under torchrun every process calls this function.
    """
    info = read_dataset(dataset_dir)
    # a finished run is looked up before the model is loaded, because loading is slow
    finished = find_run(runs_dir, info.digest, settings_digest(model, settings))
    if finished is not None:
        return finished
    with ExitStack() as stack:
        world = stack.enter_context(process_group())
        make_initial, load_base = partial(_initial_model, model, settings), partial(load_model, model, settings.seed)
        loaded = make_initial()
        distillation = make_distillation(settings, load_base)
        batches = _open_batches(info, settings, loaded, world)
        run_dir = runs_dir  # placeholder; rank 0 broadcasts the actual run directory below
        if world.is_writer:
            device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"
            opened = open_run(runs_dir, info.digest, model, settings, code_version=code_version, device=device)
            run_dir = stack.enter_context(opened)
            checkpoints.write_base(run_dir, load_base)
            if settings.resume:
                checkpoints.copy_progress(runs_dir / settings.resume, run_dir, settings)
        trainer = make_trainer(
            loaded,
            settings,
            world,
            val=open_split(info, "val"),
            run_dir=world.broadcast(run_dir),
            distillation=distillation,
        )
        trainer.restore()
        _run_steps(trainer, batches, on_progress or (lambda step, metrics: None))
        if world.is_writer:
            _finish(trainer, make_initial)
        return trainer.run_dir


def _initial_model(model: ModelSettings, settings: TrainSettings) -> LoadedModel:
    """Build the model as it is before the first training step."""
    loss = get_loss(settings.loss)
    loaded = load_model(model, settings.seed)
    set_initial_scale(loaded, settings.batch_size, loss)
    return apply_mode(loaded, settings)


def _open_batches(info: DatasetInfo, settings: TrainSettings, loaded: LoadedModel, world: World) -> TrainBatches:
    """Open this process's batches. Raises TrainingError if the batch size is not a multiple of the process count."""
    if settings.batch_size % world.size:
        raise TrainingError(
            f"train.batch_size {settings.batch_size} cannot be divided among {world.size} processes: "
            "make it a multiple of their number"
        )
    return TrainBatches(
        open_split(info, "train"),
        settings,
        image_size=loaded.image_size,
        tokenizer=loaded.tokenizer,
        context_length=loaded.context_length,
        rank=world.rank,
        world=world.size,
    )


def _run_steps(trainer: Trainer, batches: TrainBatches, on_progress: OnProgress) -> None:
    """Run the remaining steps."""
    world = trainer.world
    if not trainer.has_informative_val:
        log.warning(
            "val has fewer than two groups with different captions and cannot rank models: the last checkpoint counts"
            " as the best, and train.patience and train.wise_alphas have no effect"
        )
    reporter = _Reporter(trainer, on_progress) if world.is_writer else None
    try:
        if world.broadcast(trainer.is_done):
            return
        began_s = time.perf_counter()
        for batch in iterate_batches(batches, trainer.step, pin=world.device.type == "cuda"):
            times = {"loader_s": time.perf_counter() - began_s}
            metrics = trainer.train_step(batch)
            times["step_s"] = time.perf_counter() - began_s
            if reporter is not None:
                reporter.after_step(metrics | times)
            # only rank 0 validates, so only rank 0 knows whether training is done; it broadcasts this, so that all
            # processes stop at the same step
            if trainer.is_due(trainer.settings.validate_every) and world.broadcast(trainer.is_done):
                return
            began_s = time.perf_counter()  # the time of a step excludes validation and checkpoint
    finally:
        if reporter is not None:
            reporter.tracker.close()


def _finish(trainer: Trainer, make_initial: Callable[[], LoadedModel]) -> None:
    """Interpolate between initial and trained weights if `wise_alphas` is set, then mark the run as finished."""
    if trainer.settings.wise_alphas and trainer.has_informative_val:
        select_best_mixture(trainer, make_initial())
    records = checkpoints.read_checkpoint_records(trainer.run_dir)
    finish_run(trainer.run_dir, trainer.samples_seen, trainer.best_step, records)


class _Reporter:
    """Validates, logs and saves after each step; only the process with rank 0 has a reporter."""

    def __init__(self, trainer: Trainer, on_progress: OnProgress) -> None:
        self.trainer, self.on_progress = trainer, on_progress
        self.tracker = Tracker(trainer.run_dir, trainer.step, trainer.settings.report_to)
        self.steps: list[dict[str, float]] = []  # metrics of the steps after the last row in the metrics file

    def after_step(self, metrics: dict[str, float]) -> None:
        """Perform the actions that are due after a step: validation, logging of metrics, and saving of a checkpoint."""
        trainer = self.trainer
        self.steps.append(metrics)
        best_before = trainer.best_step
        val_metrics = trainer.validate_if_due()
        # metrics are written before the checkpoint, so that none are missing if the run resumes from the checkpoint
        periods = (trainer.settings.log_every, trainer.settings.checkpoint_every)
        if val_metrics or any(map(trainer.is_due, periods)):
            self._track(val_metrics)
        is_better = bool(val_metrics) and trainer.best_step != best_before
        if is_better or trainer.is_due(trainer.settings.checkpoint_every):
            trainer.save()

    def _track(self, val_metrics: dict[str, float]) -> None:
        """Write a row of metrics; losses and times are means over the steps since the previous row."""
        last, step = self.steps[-1], self.trainer.step
        means = {name: fmean(one[name] for one in self.steps) for name in last if name.endswith(("loss", "_s"))}
        means["samples_per_s"] = self.trainer.settings.batch_size / means.pop("step_s")
        row = {name: value for name, value in last.items() if name != "step_s"} | means | val_metrics
        self.steps.clear()
        self.tracker.write(step, row)
        self.on_progress(step, row)


def interpolate(initial: Mapping[str, Tensor], trained: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Interpolate weights by name: `(1 - alpha) * initial + alpha * trained`.

    In a low-rank update, only the factor that is initially zero is interpolated. The product of both factors is then
    the interpolated update.
    """
    return {
        name: initial[name].lerp(weight, alpha) if weight.is_floating_point() and not is_down_factor(name) else weight
        for name, weight in trained.items()
    }


def select_best_mixture(trainer: Trainer, initial_model: LoadedModel) -> None:
    """Interpolate between the initial model and the best checkpoint, and write the mixture that is best on val.

    A mixture loses less of the initial model's zero-shot accuracy than the checkpoint does (WiSE-FT, arXiv 2109.01903).
    """
    # the weights are cloned, because load_state_dict below overwrites them in place
    initial = {name: weight.clone() for name, weight in initial_model.model.state_dict().items()}
    initial_model.model.to(trainer.world.device)
    trained = checkpoints.read_checkpoint(trainer.run_dir, trainer.best_step)["state_dict"]
    scores: dict[float, float] = {}
    for alpha in sorted(trainer.settings.wise_alphas):
        initial_model.model.load_state_dict(interpolate(initial, trained, alpha))
        scores[alpha] = validate(initial_model, trainer.val, trainer.gradients.loss)["val_accuracy_10"]
        log.info("WiSE-FT: alpha %.3g, val accuracy %.4g", alpha, scores[alpha])
    # max returns the first of equal scores, which has the smallest alpha
    best = max(scores, key=lambda alpha: scores[alpha])
    checkpoints.write_mixture(trainer.run_dir, interpolate(initial, trained, best))
    checkpoints.write_best(trainer.run_dir, trainer.best_step, scores[best], alpha_scores=scores, alpha=best)
