"""The flow `pipeline`: the dataset, a training, its evaluation."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from flows.dataset import run_dataset
from flows.evaluate import run_evaluate
from flows.scheduled import without_heartbeat
from flows.tasks import PREFECT
from flows.train import run_train
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.errors import TrainingError


@flow(name="pipeline")
def pipeline(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """The dataset, then training (by a deployment where the settings name one, else here), then evaluation.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    settings = read_settings(profile, overrides or {})
    with without_heartbeat():
        PREFECT.run_stage("dataset", run_dataset, settings)
        start_training(settings, {"profile": profile, "overrides": overrides or {}})
        PREFECT.run_stage("evaluate", run_evaluate, settings)


def start_training(settings: Settings, parameters: dict[str, Any]) -> None:
    """Train in this process, or by the deployment on the GPU machine.

    Parameters
    ----------
    settings
        All settings.
    parameters
        Profile and overrides, for the deployment.

    Raises
    ------
    TrainingError
        When the deployment fails.

    """
    deployment = settings.flows.train_deployment
    if not deployment:
        PREFECT.run_stage("train", run_train, settings)
        return
    run = run_deployment(deployment, parameters=parameters)
    if run.state is None or not run.state.is_completed():  # type: ignore[union-attr]
        raise TrainingError(f"the deployment {deployment} did not complete: look at its run in the Prefect UI")
