"""The flows `captions` and `shards`: write captions, split the tiles and pack them into a dataset."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.scheduled import run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline import captions as caption_stage
from hubbleclip.pipeline.shards import run


@flow(name="captions", flow_run_name=run_name)
def captions(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """See `hubbleclip.pipeline.captions.captions`."""
    caption_stage.captions(read_settings(profile, overrides or {}), PREFECT)


@flow(name="shards", flow_run_name=run_name)
def shards(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """See `hubbleclip.pipeline.shards.run.shards`."""
    run.shards(read_settings(profile, overrides or {}), PREFECT)
