"""The flow `train`: a training on the newest dataset, and an event when it has finished."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.artifacts import record_asset
from flows.scheduled import FINISHED, emit
from flows.tasks import PREFECT
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.pipeline import train as stage
from hubbleclip.pipeline.engine.execution import Execution


@flow(name="train")
def train(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Train the model on the newest dataset, and the shuffled-pairs baseline where the evaluation asks for one.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    facts = run_train(read_settings(profile, overrides or {}))
    emit(FINISHED, f"run.{facts['run_id']}", {"profile": profile, "overrides": overrides or {}}, **facts)


def run_train(settings: Settings, execution: Execution = PREFECT) -> dict[str, str]:
    """Train, and record the run as an asset made from its dataset.

    Parameters
    ----------
    settings
        All settings.
    execution
        Where the training runs.

    Returns
    -------
    dict
        `run_id` and `dataset_digest`.

    """
    trained = stage.train(settings, execution)
    facts = {"run_id": trained.run_dir.name, "dataset_digest": trained.dataset_dir.name}
    record_asset(settings.profile, "run", "dataset", facts)
    return facts
