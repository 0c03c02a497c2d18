"""Bring the dataset up to the archive: ingest, tiles, shards. No torch here, so that a nightly run starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.remote_store import pull_runs
from hubbleclip.pipeline.shards.run import shards
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.pipeline.tiles.run import tiles
from hubbleclip.training.runs import FINISHED, RUN, read_facts


class Growth(NamedTuple):
    """The newest dataset, and how many of its samples the last trained dataset lacked."""

    digest: str
    num_new: int


def dataset(settings: Settings, execution: Execution = PLAIN) -> None:
    """Ask the archive what is new, cut it into tiles, build the dataset. Only what is new is done.

    Parameters
    ----------
    settings
        All settings.
    execution
        Where the stages run.

    """
    execution.run_stage("ingest", ingest, settings)
    execution.run_stage("tiles", tiles, settings)
    execution.run_stage("shards", shards, settings)


def read_growth(layout: Layout) -> Growth | None:
    """How far the newest dataset has grown since the last training.

    Parameters
    ----------
    layout
        File names of the profile.

    Returns
    -------
    Growth or None
        None where there is no dataset.

    """
    with read_catalog(layout) as catalog:
        built = catalog.rows(NEWEST_DATASET)
        if not built:
            return None
        digest = built[0]["digest"]
        pull_runs(layout)
        trained = last_trained(layout.runs)
        return Growth(digest, catalog.named_query("new_samples", digest=digest, trained=trained)[0]["num"])


def last_trained(runs_dir: Path) -> str | None:
    """Digest of the dataset of the newest finished run, shuffled baselines excluded.

    Parameters
    ----------
    runs_dir
        Folder of all runs.

    Returns
    -------
    str or None
        None where no run has finished.

    """
    runs = [read_facts(path.parent) for path in sorted(runs_dir.glob(f"[!.]*/{RUN}"))]
    digests = [run["dataset_digest"] for run in runs if run["status"] == FINISHED and not run["is_shuffled"]]
    return digests[-1] if digests else None
