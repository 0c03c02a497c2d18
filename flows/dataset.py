"""The flow `dataset`: run the stages ingest, tiles and shards, and emit events at the end and when the dataset grew."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.artifacts import counted, record_asset, show_tiles
from flows.scheduled import GROWN, UPDATED, emit, run_name, without_heartbeat
from flows.tasks import PREFECT
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.pipeline import dataset as stages
from hubbleclip.pipeline.engine.execution import Execution
from hubbleclip.pipeline.engine.stage import layout_of


@flow(name="dataset", flow_run_name=run_name)
def dataset(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Query the archive, cut new files into tiles and build the dataset. Finished work is not repeated.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"fetch": {"connections": 4}}.

    """
    settings = read_settings(profile, overrides or {})
    growth = run_dataset(settings)
    parameters = {"profile": profile, "overrides": overrides or {}}
    emit(UPDATED, f"profile.{settings.profile}", parameters, **growth)
    if growth and growth["num_new"] >= settings.flows.train_min_new_samples:
        emit(GROWN, f"dataset.{growth['digest']}", parameters, **growth)


def run_dataset(settings: Settings, execution: Execution = PREFECT) -> dict[str, Any]:
    """Run each stage as a flow of its own, and show tables and pictures on the Prefect page of this flow run."""
    layout = layout_of(settings)
    with counted(layout), without_heartbeat():
        stages.dataset(settings, execution)
    show_tiles(layout)
    growth = stages.read_growth(layout)
    if growth is None:
        return {}
    facts = {"digest": growth.digest, "num_new": growth.num_new}
    record_asset(settings.profile, "catalog", "archive", {})
    record_asset(settings.profile, "dataset", "catalog", facts)
    return facts
