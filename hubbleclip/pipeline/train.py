"""Train on an immutable dataset directory, and write an immutable run directory.

The catalog is only read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings, TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.pipeline.engine.progress import LOG_EVERY_S, Pace, report_live
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import trainings
from hubbleclip.pipeline.remote_store import pull_catalog, pull_datasets, pull_runs, push_folder
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.loop import train as train_model

log = logging.getLogger("hubbleclip.pipeline")


class Trained(NamedTuple):
    """The folders of a finished run and of the dataset on which the run was trained."""

    run_dir: Path
    dataset_dir: Path


def train_run(dataset_dir: Path, settings: Settings, train_settings: TrainSettings) -> Path:
    """Start or resume one training, and report the progress."""
    report = StepReport(title=title_of(train_settings), total=train_settings.steps)
    runs = Layout(settings.root).runs
    run_dir = train_model(
        dataset_dir, runs, settings.model, train_settings, code_version=code_version(), on_progress=report
    )
    report.end()
    return run_dir


@dataclass(slots=True, kw_only=True)
class StepReport:
    """Reports the steps of a training: a line in the log at most every ten seconds, and a bar on a terminal.

    `logged` is the time of the last log line, in seconds of the monotonic clock.
    """

    title: str
    total: int
    logged: float = field(default_factory=time.monotonic)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        """Begin to measure the rate."""
        self.pace = Pace(total=self.total)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report a step."""
        self.pace.add(step)
        steps = ", ".join(filter(None, (f"step {step} of {self.total}", self.pace.left)))
        report_live(self.title, min(step, self.total - 1), self.total, f"{steps}, loss {metrics.get('loss', 0):.3g}")
        if time.monotonic() - self.logged > LOG_EVERY_S or step == self.total:
            self.logged = time.monotonic()
            figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            log.info("%s: %s, %s", self.title, steps, figures, extra={"is_step": step < self.total})

    def end(self) -> None:
        """Report the end, also of a training that ended before its last step or was finished before."""
        report_live(self.title, self.total, self.total, "finished")


def title_of(settings: TrainSettings) -> str:
    """Name a training for people."""
    return "train: control (shuffled pairs)" if settings.shuffled else "train"


def train(settings: Settings) -> Trained:
    """Train the model on the newest dataset, and also the shuffled-pairs baseline if the evaluation needs one."""
    layout = layout_of(settings)
    pull_catalog(layout)
    dataset_dir = newest_dataset(layout)
    pull_runs(layout)
    run_dirs = []
    for train_settings in trainings(settings):
        title = title_of(train_settings)
        run_dirs.append(train_run(dataset_dir, settings, train_settings))
        if os.environ.get("RANK", "0") == "0":
            push_folder(layout, run_dirs[-1])
        log.info("%s: %s is ready", title, run_dirs[-1])
    return Trained(run_dirs[0], dataset_dir)


def newest_dataset(layout: Layout) -> Path:
    """Find the folder of the dataset that was built last."""
    with read_catalog(layout) as catalog:
        rows = catalog.rows(NEWEST_DATASET)
    pull_datasets(layout, layout.absolute(rows[0]["path"]) if rows else None)
    if not rows or not layout.absolute(rows[0]["path"]).is_dir():
        raise DatasetError("there is no dataset yet: run `hubbleclip dataset` first")
    return layout.absolute(rows[0]["path"])
