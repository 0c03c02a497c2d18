"""The flow `pipeline`: build the dataset, train on it, evaluate the run, and index the tiles for the search."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from flows.dataset import run_dataset
from flows.evaluate import run_evaluate
from flows.scheduled import FORMER_NAMES, run_name, without_heartbeat
from flows.tasks import PREFECT
from flows.train import run_train
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.errors import TrainingError
from hubbleclip.pipeline.index import index_promoted


@flow(name="pipeline", flow_run_name=run_name)
def pipeline(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Build the dataset, train the model, evaluate the run and index all tiles by the promoted model.

    If `flows.train_deployment` names a deployment, that deployment runs the training; otherwise the training runs in
    the current process.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    settings = read_settings(profile, overrides or {})
    with without_heartbeat():
        PREFECT.run_stage("dataset", run_dataset, settings)
        start_training(settings, {"profile": profile, "overrides": overrides or {}})
        PREFECT.run_stage("evaluate", run_evaluate, settings)
        PREFECT.run_stage("index", index_promoted, settings)


def start_training(settings: Settings, parameters: dict[str, Any]) -> None:
    """Train in this process, or run the deployment given by `flows.train_deployment` and wait for its end."""
    deployment = settings.flows.train_deployment
    if not deployment:
        PREFECT.run_stage("train", run_train, settings)
        return
    deployment = FORMER_NAMES.get(deployment, deployment)
    run = run_deployment(deployment, parameters=parameters)
    if run.state is None or not run.state.is_completed():  # type: ignore[union-attr]
        raise TrainingError(f"the run of deployment {deployment} did not complete: see its page in the Prefect UI")
