"""The flow `dataset`: ingest, tiles, shards, and an event when the dataset has grown."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.artifacts import counted, record_asset, show_tiles
from flows.scheduled import GROWN, emit, without_heartbeat
from flows.tasks import PREFECT
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.pipeline import dataset as stages
from hubbleclip.pipeline.engine.execution import Execution
from hubbleclip.pipeline.engine.stage import layout_of


@flow(name="dataset")
def dataset(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Ask the archive what is new, cut it into tiles, build the dataset. Only what is new is done.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"fetch": {"connections": 4}}.

    """
    settings = read_settings(profile, overrides or {})
    growth = run_dataset(settings)
    if growth and growth["num_new"] >= settings.flows.train_min_new_samples:
        parameters = {"profile": profile, "overrides": overrides or {}}
        emit(GROWN, f"dataset.{growth['digest']}", parameters, **growth)


def run_dataset(settings: Settings, execution: Execution = PREFECT) -> dict[str, Any]:
    """Run the stages as flows of their own, with tables and pictures on the page of this flow.

    Parameters
    ----------
    settings
        All settings.
    execution
        Where the stages run.

    Returns
    -------
    dict
        `digest` of the newest dataset and `num_new` samples since the last training; empty without a dataset.

    """
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
