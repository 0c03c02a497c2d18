"""All stages in order: the dataset, a training, its evaluation."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from flows.dataset import dataset
from flows.evaluate import evaluate
from flows.scheduled import without_heartbeat
from flows.train import train
from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import TrainingError


@flow(name="pipeline")
def pipeline(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """The dataset, then training (by a deployment where the settings name one, else here), then evaluation.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    with without_heartbeat():
        dataset(profile, overrides)
        start_training(profile, overrides)
        evaluate(profile, overrides)


def start_training(profile: str, overrides: dict[str, Any] | None) -> None:
    """Train here, or hand over to the deployment on the GPU machine and wait. Raises TrainingError when that one
    fails.
    """
    deployment = read_settings(profile, overrides or {}).flows.train_deployment
    if not deployment:
        train(profile, overrides)
        return
    run = run_deployment(deployment, parameters={"profile": profile, "overrides": overrides or {}})
    if run.state is None or not run.state.is_completed():  # type: ignore[union-attr]
        raise TrainingError(f"the deployment {deployment} did not complete: look at its run in the Prefect UI")
