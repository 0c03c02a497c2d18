"""Train on an immutable dataset directory, and write an immutable run directory.

A sweep trains with each combination of a grid of settings. This module reads the catalog but never writes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from hubbleclip.config.settings import Settings, TrainSettings, read_settings
from hubbleclip.config.toml import Grid, nested
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.pipeline.dataset import RunStage, run_here
from hubbleclip.pipeline.engine.progress import LOG_EVERY_S, Pace, report_live
from hubbleclip.pipeline.engine.stage import layout_of, log
from hubbleclip.pipeline.pending_work import has_work, newest_dataset, trainings
from hubbleclip.pipeline.remote_store import pull_catalog, pull_runs, push_folder
from hubbleclip.training.checkpoints import read_best
from hubbleclip.training.distributed import check_device
from hubbleclip.training.loop import train as train_model
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.runs import find_run, settings_digest

NO_BASELINE = {"evaluation.shuffled_steps": 0}


class Trained(NamedTuple):
    """The folders of a finished run and of the dataset on which the run was trained."""

    run_dir: Path
    dataset_dir: Path


@dataclass(slots=True, kw_only=True)
class StepReport:
    """Reports the steps of a training, in a log line at most every ten seconds and in a bar on a terminal.

    `logged` is the time of the last log line, in seconds of the monotonic clock.
    """

    title: str
    total: int
    logged: float = field(default_factory=time.monotonic)
    pace: Pace = field(default_factory=Pace)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report a step."""
        self.pace.add(step)
        steps = ", ".join(filter(None, (f"step {step} of {self.total}", self.pace.left(self.total))))
        report_live(self.title, min(step, self.total - 1), self.total, f"{steps}, loss {metrics.get('loss', 0):.3g}")
        if time.monotonic() - self.logged > LOG_EVERY_S or step == self.total:
            self.logged = time.monotonic()
            figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            log.info("%s: %s, %s", self.title, steps, figures, extra={"is_step": step < self.total})

    def end(self) -> None:
        """Report the end, even if the training stopped early or was already finished."""
        report_live(self.title, self.total, self.total, "finished")


def title_of(settings: TrainSettings) -> str:
    """Return the name of a training for the log and the progress bar."""
    return "train: control (shuffled pairs)" if settings.shuffled else "train"


def check_training(settings: Settings) -> None:
    """Raise TrainingError if the training cannot start; this is checked before an ingest, which may take days.

    The check looks for a GPU and loads the pre-trained weights. It is skipped if the training is finished and the
    published catalog shows no pending tiles or samples.
    """
    layout = layout_of(settings)
    pull_catalog(layout)
    pull_runs(layout)
    if not any(has_work(stage, settings, of_snapshot=True) for stage in ("train", "tiles", "shards")):
        return
    check_device(settings.model, settings.train)
    if settings.model.weights:
        load_model(settings.model, settings.train.seed)


def train(settings: Settings) -> Trained:
    """Train the model on the newest dataset, and also the shuffled-pairs baseline if the evaluation needs one."""
    layout = layout_of(settings)
    pull_catalog(layout)
    dataset_dir = newest_dataset(layout)
    pull_runs(layout)
    run_dirs = []
    for train_settings in trainings(settings):
        report = StepReport(title=title_of(train_settings), total=train_settings.steps)
        if find_run(layout.runs, dataset_dir.name, settings_digest(settings.model, train_settings)) is None:
            check_device(settings.model, train_settings)
        run_dir = train_model(
            dataset_dir, layout.runs, settings.model, train_settings, code_version=code_version(), on_progress=report
        )
        report.end()
        run_dirs.append(run_dir)
        if os.environ.get("RANK", "0") == "0":
            push_folder(layout, run_dir)
        log.info("%s: %s is ready", report.title, run_dir)
    return Trained(run_dirs[0], dataset_dir)


def sweep(profile: str, overrides: dict[str, Any], grid: Grid, run: RunStage = run_here) -> list[dict[str, Any]]:
    """Train with each combination of the settings in `grid` on the newest dataset; trained combinations are skipped."""
    tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    settings = [read_settings(profile, overrides, nested(NO_BASELINE | values)) for values in tried]
    rows: list[dict[str, Any]] = []
    for values, chosen in zip(tried, settings, strict=True):
        name = ", ".join(f"{path} {value}" for path, value in values.items())
        log.info("sweep: %d of %d, %s", len(rows) + 1, len(tried), name)
        run(train, chosen, name)
        rows.append(values | outcome(chosen))
    return sorted(rows, key=lambda row: -(row["val_accuracy_10"] or 0))


def outcome(settings: Settings) -> dict[str, Any]:
    """Return the id, best step and val accuracy of the finished run with these settings on the newest dataset."""
    layout = Layout(settings.root)
    digest = read_dataset(newest_dataset(layout)).digest
    run_dir = find_run(layout.runs, digest, settings_digest(settings.model, settings.train))
    if run_dir is None:
        raise TrainingError("the newest dataset changed during the sweep: run the sweep again")
    best = read_best(run_dir)
    return {"run": run_dir.name, "best_step": best["step"], "val_accuracy_10": best["score"]}
