"""The flow `tiles`: cut the fetched files into tiles."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.scheduled import run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.tiles import run


@flow(name="tiles", flow_run_name=run_name)
def tiles(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """See `hubbleclip.pipeline.tiles.run.tiles`."""
    run.tiles(read_settings(profile, overrides or {}), PREFECT)
