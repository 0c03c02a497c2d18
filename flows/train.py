"""Train on an immutable dataset directory; the result is an immutable run directory. The catalog is only read."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import Task, flow

from flows.artifacts import progress_artifact, record_asset
from flows.batches import LOG_EVERY_S, log
from flows.scheduled import FINISHED, tell
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings, TrainSettings, read_settings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.layout import Layout
from hubbleclip.core.version import code_version
from hubbleclip.pipeline.remote_store import pull_catalog, pull_datasets, pull_runs, push_folder
from hubbleclip.pipeline.stage import layout_of
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.loop import train as train_model


def train_run(dataset_dir: Path, settings: Settings, train_settings: TrainSettings) -> Path:
    """One training, begun or gone on with; a line every ten seconds says how far it is."""
    logged = time.monotonic()
    show = progress_artifact("train: shuffled pairs" if train_settings.shuffled else "train")

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


task_train = Task(train_run, name="train-run", persist_result=False)


@flow(name="train")
def train(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Train the model on the newest dataset, and the shuffled-pairs baseline where the evaluation asks for one.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    settings = read_settings(profile, overrides or {})
    layout = layout_of(settings)
    pull_catalog(layout)
    dataset_dir = newest_dataset(layout)
    pull_runs(layout)
    run_dirs = []
    for train_settings in trainings(settings):
        run_dirs.append(task_train(dataset_dir, settings, train_settings))
        if os.environ.get("RANK", "0") == "0":
            push_folder(layout, run_dirs[-1])
        log.info("train: %s is ready", run_dirs[-1])
    facts = {"run_id": run_dirs[0].name, "dataset_digest": dataset_dir.name}
    record_asset(settings.profile, "run", "dataset", facts)
    parameters = {"profile": profile, "overrides": overrides or {}}
    tell(FINISHED, f"run.{run_dirs[0].name}", parameters, **facts)


def trainings(settings: Settings) -> list[TrainSettings]:
    """Settings of the trainings that a profile asks for: the model first, then its shuffled baseline."""
    wanted = [settings.train]
    if settings.evaluation.shuffled_steps:
        wanted.append(settings.train.model_copy(update={"shuffled": True, "steps": settings.evaluation.shuffled_steps}))
    return wanted


def newest_dataset(layout: Layout) -> Path:
    """Folder of the dataset built last. Raises DatasetError when there is none."""
    with read_catalog(layout) as catalog:
        rows = catalog.rows(NEWEST_DATASET)
    pull_datasets(layout, layout.absolute(rows[0]["path"]) if rows else None)
    if not rows or not layout.absolute(rows[0]["path"]).is_dir():
        raise DatasetError("there is no dataset yet: run `hubbleclip dataset` first")
    return layout.absolute(rows[0]["path"])
