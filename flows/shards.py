"""The flow `shards`: build an immutable dataset from the tiles."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.tasks import PREFECT
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.shards import run


@flow(name="shards")
def shards(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """See `hubbleclip.pipeline.shards.run.shards`."""
    run.shards(read_settings(profile, overrides or {}), PREFECT)
