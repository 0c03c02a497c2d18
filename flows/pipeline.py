"""The pipeline as Prefect flows: a flow for each stage, and flows that run several stages in order.

Stages that need torch are imported when they run, because that import takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prefect import Flow, flow, runtime
from prefect.artifacts import create_table_artifact
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.artifacts import ProgressArtifacts, counted, record_asset, show_report, show_tiles
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.config.toml import Grid
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.records import to_row
from hubbleclip.pipeline import dataset as dataset_stages
from hubbleclip.pipeline.captions import captions as write_captions
from hubbleclip.pipeline.engine.progress import live
from hubbleclip.pipeline.engine.stage import LOCK_WAIT_S, layout_of
from hubbleclip.pipeline.ingest.run import ingest as fetch_from_archive
from hubbleclip.pipeline.shards import shards as build_dataset
from hubbleclip.pipeline.tiles.run import tiles as cut_tiles

RETRIED = ("ingest", "captions")
"""Stages that use the network; a scheduled run retries these when they fail."""
RETRIES, RETRY_S = 2, 600
"""Maximum number of retries of a stage, and pause (s) before each retry. Archives are often down for minutes."""
live.addHandler(ProgressArtifacts())
log = logging.getLogger("hubbleclip.flows")


def run_name() -> str:
    """Return a name for the current flow run: its flow, its profile and its scheduled start time."""
    run = runtime.flow_run
    given = run.parameters
    profile = given["settings"].profile if "settings" in given else Path(given.get("profile", "demo")).stem
    return f"{run.flow_name} {profile} {run.scheduled_start_time:%Y-%m-%d %H:%M}"


def is_scheduled() -> bool:
    """Return whether a deployment started the current flow run, or the outer flow run that contains it."""
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


def stage_flow(stage: Callable[..., Any], label: str = "") -> Flow[..., Any]:
    """Make a flow that runs a stage. The name of a flow run is `label`, or `run_name()` if `label` is empty."""
    return Flow(stage, name=stage.__name__, validate_parameters=False, flow_run_name=label or run_name)


def run_stage(stage: Callable[[Settings], Any], settings: Settings, label: str = "", /) -> Any:
    """Run a stage as a part of the current flow run."""
    part = stage_flow(stage, label)
    if stage.__name__ in RETRIED and is_scheduled():
        part = part.with_options(retries=RETRIES, retry_delay_seconds=RETRY_S)
    return part(settings)


def settings_of(profile: str, overrides: dict[str, Any] | None) -> Settings:
    """Read the settings of a flow run. A scheduled run waits while another process writes the catalog."""
    settings = read_settings(profile, overrides or {})
    LOCK_WAIT_S.set(settings.flows.lock_wait_s if is_scheduled() else 0.0)
    return settings


def parameters() -> dict[str, Any]:
    """Return the current flow run's profile and overrides, which are passed to the flows that this run starts."""
    given = runtime.flow_run.parameters
    return {"profile": given.get("profile", "demo"), "overrides": given.get("overrides") or {}}


def emit(event: str, resource: str, **facts: Any) -> None:
    """Emit an event. A trigger in `prefect.yaml` then starts the next flow with the same parameters.

    The event is emitted only if a deployment started this flow directly. If this flow runs inside another flow, no
    event is emitted, because the outer flow starts the next flow itself.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    emit_event(event, {"prefect.resource.id": f"hubbleclip.{resource}"}, payload={**facts, **parameters()})
    log.info("emitted %s: %s", event, facts)


def without_heartbeat() -> AbstractContextManager[Any]:
    """Disable the heartbeat of flows that are run inside a `with` block.

    The enclosing flow already sends a heartbeat, and every flow with a heartbeat takes one second longer to end.
    """
    return temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


ingest = stage_flow(fetch_from_archive)
tiles = stage_flow(cut_tiles)
captions = stage_flow(write_captions)
shards = stage_flow(build_dataset)


@flow(name="dataset", flow_run_name=run_name)
def dataset(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Query the archive, cut new files into tiles and build the dataset. Finished work is not repeated.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"fetch": {"connections": 4}}.

    """
    settings = settings_of(profile, overrides)
    layout = layout_of(settings)
    with counted(layout), without_heartbeat():
        dataset_stages.dataset(settings, run_stage)
    show_tiles(layout)
    growth = dataset_stages.read_growth(layout)
    facts = {"digest": growth.digest, "num_new": growth.num_new} if growth else {}
    if growth:
        record_asset(settings.profile, "catalog", "archive", {})
        record_asset(settings.profile, "dataset", "catalog", facts)
    emit("hubbleclip.dataset.updated", f"profile.{settings.profile}", **facts)
    if growth and growth.num_new >= settings.flows.train_min_new_samples:
        emit("hubbleclip.dataset.grown", f"dataset.{growth.digest}", **facts)


@flow(name="train", flow_run_name=run_name)
def train(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Train the model on the newest dataset, and also the shuffled-pairs baseline if the settings ask for it.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    from hubbleclip.pipeline.train import train as train_models  # noqa: PLC0415 - torch takes seconds

    settings = settings_of(profile, overrides)
    trained = train_models(settings)
    facts = {"run_id": trained.run_dir.name, "dataset_digest": trained.dataset_dir.name}
    record_asset(settings.profile, "run", "dataset", facts)
    emit("hubbleclip.run.finished", f"run.{facts['run_id']}", **facts)


@flow(name="evaluate", flow_run_name=run_name)
def evaluate(
    profile: str = "demo", overrides: dict[str, Any] | None = None, run: str = "", is_own: bool = False
) -> None:
    """Report on a run, and promote it if it is better on val than the promoted run.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"evaluation": {"bootstrap": 500}}.
        run: Id of the run; if empty, the newest run on the newest dataset is evaluated.
        is_own: If `run` is empty, evaluate the run that was trained with these settings instead of the newest run.

    """
    from hubbleclip.evaluation.report.figures import retrieval_figure, svg_bytes  # noqa: PLC0415 - matplotlib
    from hubbleclip.pipeline.evaluate import evaluate as report_on_run  # noqa: PLC0415 - torch takes seconds

    settings = settings_of(profile, overrides)
    done = report_on_run(settings, run, is_own=is_own)
    if done.decision:
        row = {name: value for name, value in to_row(done.decision).items() if name != "decided_at"}
        create_table_artifact(
            [row], key="promotion", description="The run compared with the promoted run, on the val split"
        )
    show_report(layout_of(settings), done.report_dir, svg_bytes(retrieval_figure(done.metrics)))
    if done.decision and done.decision.is_promoted:
        run_id = done.decision.run_id
        emit("hubbleclip.run.promoted", f"run.{run_id}", run_id=run_id)


@flow(name="index", flow_run_name=run_name)
def index(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Embed the tiles that the promoted model has not embedded yet, and add them to the search index.

    If no run is promoted, the command `index` fails, but a scheduled run ends without an error, because the next
    promotion starts another scheduled run.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"evaluation": {"batch_size": 64}}.

    """
    from hubbleclip.pipeline import index as stage  # noqa: PLC0415 - torch takes seconds

    run = stage.index_promoted if is_scheduled() or runtime.flow_run.parent_flow_run_id else stage.index
    run(settings_of(profile, overrides))


@flow(name="pipeline", flow_run_name=run_name)
def pipeline(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Build the dataset, train the model, evaluate the run and index all tiles with the promoted model.

    If `flows.train_deployment` names a deployment, that deployment runs the training; otherwise the training runs in
    the current process.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.

    """
    from hubbleclip.pipeline.train import check_training  # noqa: PLC0415 - torch takes seconds

    settings = settings_of(profile, overrides)
    deployment = settings.flows.train_deployment
    if not deployment:
        check_training(settings)
    with without_heartbeat():
        dataset(profile, overrides)
        if deployment:
            run = run_deployment(deployment, parameters=parameters())
            if run.state is None or not run.state.is_completed():  # type: ignore[union-attr]
                problem = f"the run of deployment {deployment} did not complete"
                raise TrainingError(f"{problem}: see its page in the Prefect UI")
        else:
            train(profile, overrides)
        evaluate(profile, overrides, is_own=True)
        index(profile, overrides)


@flow(name="sweep", flow_run_name=run_name)
def sweep(profile: str, overrides: dict[str, Any], grid: Grid) -> list[dict[str, Any]]:
    """Train a model on the newest dataset for each combination of values in `grid`; skip combinations already trained.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.
        grid: Values to try for each setting, such as {"train.seed": [1, 2, 3]}.

    """
    from hubbleclip.pipeline.train import sweep as train_grid  # noqa: PLC0415 - torch takes seconds

    return train_grid(profile, overrides, grid, run_stage)
