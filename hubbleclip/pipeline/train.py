"""Train on an immutable dataset directory, and write an immutable run directory.

The catalog is only read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings, TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.pipeline.engine.execution import PLAIN, Execution, ShowProgress
from hubbleclip.pipeline.engine.progress import LOG_EVERY_S
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.remote_store import pull_catalog, pull_datasets, pull_runs, push_folder
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.loop import train as train_model

log = logging.getLogger("hubbleclip.pipeline")


class Trained(NamedTuple):
    """The folders of a finished run and of the dataset on which the run was trained."""

    run_dir: Path
    dataset_dir: Path


def train_run(dataset_dir: Path, settings: Settings, train_settings: TrainSettings, show: ShowProgress) -> Path:
    """Start or resume one training, and log the progress at most every ten seconds.

    Parameters
    ----------
    dataset_dir
        Folder of the dataset.
    settings
        All settings of the profile; the section `model` and the data root are used.
    train_settings
        Settings of this training.
    show
        Function that shows progress; called with a percentage (0-100) and a line of text.

    Returns
    -------
    Path
        The finished run directory.

    """
    logged = time.monotonic()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal logged
        if time.monotonic() - logged > LOG_EVERY_S or step == train_settings.steps:
            logged = time.monotonic()
            figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            log.info("train: step %d of %d, %s", step, train_settings.steps, figures)
            show(100 * step / train_settings.steps, f"step {step} of {train_settings.steps}, {figures}")

    runs = Layout(settings.root).runs
    return train_model(
        dataset_dir, runs, settings.model, train_settings, code_version=code_version(), on_progress=report
    )


def train(settings: Settings, execution: Execution = PLAIN) -> Trained:
    """Train the model on the newest dataset, and also the shuffled-pairs baseline if the evaluation needs one.

    Parameters
    ----------
    settings
        All settings of the profile.
    execution
        Executor of the trainings: `PLAIN` (this process) or Prefect.

    Returns
    -------
    Trained
        The folders of the model's run and of the dataset.

    Raises
    ------
    DatasetError
        When there is no dataset.

    """
    layout = layout_of(settings)
    pull_catalog(layout)
    dataset_dir = newest_dataset(layout)
    pull_runs(layout)
    run_dirs = []
    for train_settings in trainings(settings):
        show = execution.show_progress("train: shuffled pairs" if train_settings.shuffled else "train")
        run_dirs.append(execution.call("train-run", train_run, dataset_dir, settings, train_settings, show))
        if os.environ.get("RANK", "0") == "0":
            push_folder(layout, run_dirs[-1])
        log.info("train: %s is ready", run_dirs[-1])
    return Trained(run_dirs[0], dataset_dir)


def trainings(settings: Settings) -> list[TrainSettings]:
    """Return the settings of the trainings of a profile: the model, then the shuffled-pairs baseline if it is wanted.

    Parameters
    ----------
    settings
        All settings of the profile.

    Returns
    -------
    list of TrainSettings
        Settings of one or two trainings.

    """
    wanted = [settings.train]
    if settings.evaluation.shuffled_steps:
        wanted.append(settings.train.model_copy(update={"shuffled": True, "steps": settings.evaluation.shuffled_steps}))
    return wanted


def newest_dataset(layout: Layout) -> Path:
    """Find the folder of the dataset that was built last.

    Parameters
    ----------
    layout
        Paths of the profile's files and folders.

    Returns
    -------
    Path
        The dataset directory.

    Raises
    ------
    DatasetError
        When there is no dataset, or its folder does not exist.

    """
    with read_catalog(layout) as catalog:
        rows = catalog.rows(NEWEST_DATASET)
    pull_datasets(layout, layout.absolute(rows[0]["path"]) if rows else None)
    if not rows or not layout.absolute(rows[0]["path"]).is_dir():
        raise DatasetError("there is no dataset yet: run `hubbleclip dataset` first")
    return layout.absolute(rows[0]["path"])
