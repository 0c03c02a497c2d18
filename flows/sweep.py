"""The flow `sweep`: train every combination of a small grid of settings, each training as a flow of its own."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.scheduled import run_name
from flows.tasks import PREFECT
from hubbleclip.config.toml import Grid
from hubbleclip.pipeline import sweep as stage


@flow(name="sweep", flow_run_name=run_name)
def sweep(profile: str, overrides: dict[str, Any], grid: Grid) -> list[dict[str, Any]]:
    """Train each combination on the newest dataset; combinations that are already trained are skipped.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"train": {"steps": 1000}}.
        grid: Values to try for each setting, such as {"train.seed": [1, 2, 3]}.

    """
    return stage.sweep(profile, overrides, grid, PREFECT)
