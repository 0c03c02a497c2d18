"""Training of a model on an immutable dataset, in a run directory that can be left and taken up at any step."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.core.errors import DatasetError, TrainingError
from hubbleclip.dataset.loader import TrainBatches, iterate_batches, open_split, open_train_batches
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.training import checkpoints
from hubbleclip.training.distributed import World, joined
from hubbleclip.training.finetuning import prepare
from hubbleclip.training.losses import loss_named
from hubbleclip.training.models.builder import LoadedModel, load_model, set_start
from hubbleclip.training.runs import find_run, finish_run, open_run, settings_digest
from hubbleclip.training.tracking import Tracker
from hubbleclip.training.trainer import Trainer, make_trainer
from hubbleclip.training.wise_ft import keep_best_mixture

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
    """Train, or go on with what was left, and return the finished run's directory; a finished one is returned at once.

    Under torchrun every process calls it. `on_progress(step, metrics)` is called with each row of metrics, on the
    writing process. Raises DatasetError for a dataset that cannot be trained on, TrainingError when a name in the
    settings is unknown, the loss is no number, the batch cannot be shared evenly, or another process trains this run.
    """
    info = read_dataset(dataset_dir)
    _check_contract(info)
    finished = find_run(runs_dir, info.digest, settings_digest(model, settings))
    if finished is not None:
        return finished
    with ExitStack() as held:
        world = held.enter_context(joined())
        held.enter_context(_deterministic(settings.deterministic))
        make_start = partial(_start, model, settings)
        loaded = make_start()
        batches = _open_batches(info, settings, loaded, world)
        run_dir = runs_dir
        if world.is_writer:
            opened = open_run(runs_dir, info.digest, model, settings, code_version=code_version, device=_name(world))
            run_dir = held.enter_context(opened)
        trainer = make_trainer(loaded, settings, world, val=open_split(info, "val"), run_dir=world.share(run_dir))
        trainer.restore()
        _run_steps(trainer, batches, on_progress or (lambda step, metrics: None))
        if world.is_writer:
            _close(trainer, make_start)
        return trainer.run_dir


def _check_contract(info: DatasetInfo) -> None:
    """Raises DatasetError for a dataset whose rows may mean something else: another major version of their contract."""
    ours = contract_version("shards")
    if info.contract_version.split(".")[0] != ours.split(".")[0]:
        raise DatasetError(
            f"{info.path} follows version {info.contract_version} of the contract of shards, this program {ours}: "
            "run `hubbleclip shards` again"
        )


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Let torch refuse operations that may give other bits the next time. cuBLAS reads its variable when it starts."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _start(model: ModelSettings, settings: TrainSettings) -> LoadedModel:
    """The model before its first step."""
    loss = loss_named(settings.loss)
    loaded = load_model(model, settings.seed)
    set_start(loaded, settings, loss)
    return prepare(loaded, settings)


def _open_batches(info: DatasetInfo, settings: TrainSettings, loaded: LoadedModel, world: World) -> TrainBatches:
    """Batches of one process. Raises TrainingError for a batch that the processes cannot share."""
    if settings.batch_size % world.size:
        raise TrainingError(
            f"train.batch_size {settings.batch_size} cannot be shared by {world.size} processes: make it a multiple"
        )
    return open_train_batches(
        open_split(info, "train"), settings, image_size=loaded.image_size, tokenizer=loaded.tokenizer,
        context_length=loaded.context_length, rank=world.rank, world=world.size,
    )  # fmt: skip


def _name(world: World) -> str:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"


def _run_steps(trainer: Trainer, batches: TrainBatches, on_progress: OnProgress) -> None:
    """All steps that are left. The processes stop together: only the writer knows how good the model is."""
    world = trainer.world
    if not trainer.has_val:
        log.warning(
            "val has no two groups with captions of their own, and cannot tell a better model from a worse one: the"
            " last checkpoint counts as the best, and train.patience and train.wise_alphas do nothing"
        )
    report = _Reporter(trainer, on_progress) if world.is_writer else None
    try:
        if world.share(trainer.is_done):
            return
        for batch in iterate_batches(batches, trainer.step, pin=world.device.type == "cuda"):
            metrics = trainer.train_step(batch)
            if report is not None:
                report.after_step(metrics)
            if trainer.is_due(trainer.settings.validate_every) and world.share(trainer.is_done):
                return
    finally:
        if report is not None:
            report.tracker.close()


def _close(trainer: Trainer, make_start: Callable[[], LoadedModel]) -> None:
    """Mix start and end where asked for, then mark the run as finished."""
    if trainer.settings.wise_alphas and trainer.has_val:
        keep_best_mixture(trainer, make_start())
    records = checkpoints.read_records(trainer.run_dir)
    finish_run(trainer.run_dir, trainer.samples_seen, trainer.best_step, records)


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
