"""The flow `ingest`: query the archive and fetch files to the disk."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.scheduled import run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.ingest import run


@flow(name="ingest", flow_run_name=run_name)
def ingest(
    profile: str = "demo", overrides: dict[str, Any] | None = None, *, retry: bool = False, is_polled: bool = False
) -> None:
    """Update the catalog from the archive, see `hubbleclip.pipeline.ingest.run.ingest`."""
    run.ingest(read_settings(profile, overrides or {}), PREFECT, retry=retry, is_polled=is_polled)
