"""The flow `index`: embed the tiles that the promoted model has not seen, for the search."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.scheduled import is_scheduled, run_name
from flows.tasks import PREFECT
from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline import index as stage


@flow(name="index", flow_run_name=run_name)
def index(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Embed every tile that the promoted model has not seen, and add it to the search index.

    Without a promoted run a command fails; a scheduled run ends, because the next promotion starts another.

    Args:
        profile: Name of a profile, such as demo, hubble, local or paper, or the path of a TOML file with settings.
        overrides: Settings to change, section by section, such as {"index": {"batch_size": 256}}.

    """
    run = stage.index_promoted if is_scheduled() else stage.index
    run(read_settings(profile, overrides or {}), PREFECT)
