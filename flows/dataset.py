"""The dataset brought up to the archive: ingest, tiles, shards. No torch here, so that a nightly run starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.artifacts import counted, record_asset, show_tiles
from flows.ingest import ingest
from flows.scheduled import GROWN, patient, tell, without_heartbeat
from flows.shards import shards
from flows.tiles import tiles
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.remote_store import pull_runs
from hubbleclip.pipeline.stage import layout_of
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.runs import FINISHED, RUN, read_facts


@flow(name="dataset")
def dataset(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Ask the archive what is new, cut it into tiles, build the dataset. Only what is new is done.

    Args:
        profile: demo, hubble, local, paper, or the path of a TOML file of settings.
        overrides: Settings to change, section by section, such as {"fetch": {"connections": 4}}.

    """
    settings = read_settings(profile, overrides or {})
    layout = layout_of(settings)
    with counted(layout), without_heartbeat():
        patient(ingest, settings.flows)(profile, overrides)
        tiles(profile, overrides)
        shards(profile, overrides)
    show_tiles(layout)
    tell_growth(settings, layout, {"profile": profile, "overrides": overrides or {}})


def tell_growth(settings: Settings, layout: Layout, parameters: dict[str, Any]) -> None:
    """Record the dataset; where it holds enough that the last trained one had not, say so, so that training starts."""
    with read_catalog(layout) as catalog:
        built = catalog.rows(NEWEST_DATASET)
        if not built:
            return
        digest = built[0]["digest"]
        pull_runs(layout)
        trained = last_trained(layout.runs)
        num_new = catalog.named("new_samples", digest=digest, trained=trained)[0]["num"]
    record_asset(settings.profile, "catalog", "archive", {})
    record_asset(settings.profile, "dataset", "catalog", {"digest": digest, "num_new": num_new})
    if num_new >= settings.flows.train_min_new_samples:
        tell(GROWN, f"dataset.{digest}", parameters, digest=digest, num_new=num_new)


def last_trained(runs_dir: Path) -> str | None:
    """Digest of the dataset of the newest finished run, shuffled baselines aside."""
    runs = [read_facts(path.parent) for path in sorted(runs_dir.glob(f"[!.]*/{RUN}"))]
    digests = [run["dataset_digest"] for run in runs if run["status"] == FINISHED and not run["is_shuffled"]]
    return digests[-1] if digests else None
