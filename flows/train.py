"""The flow `train`: train on the newest dataset, and emit an event when the training has finished."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.artifacts import record_asset
from flows.scheduled import FINISHED, emit, run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.pipeline import train as stage
from hubbleclip.pipeline.engine.execution import Execution


@flow(name="train", flow_run_name=run_name)
def train(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Train the model on the newest dataset, and also the shuffled-pairs baseline if the settings ask for it.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    facts = run_train(read_settings(profile, overrides or {}))
    emit(FINISHED, f"run.{facts['run_id']}", {"profile": profile, "overrides": overrides or {}}, **facts)


def run_train(settings: Settings, execution: Execution = PREFECT) -> dict[str, str]:
    """Run the stage train, and record the run on the Prefect server as an asset made from its dataset."""
    trained = stage.train(settings, execution)
    facts = {"run_id": trained.run_dir.name, "dataset_digest": trained.dataset_dir.name}
    record_asset(settings.profile, "run", "dataset", facts)
    return facts
