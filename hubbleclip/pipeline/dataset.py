"""Update the dataset from the archive by the stages ingest, tiles, captions and shards.

This module does not import torch, because that import takes seconds and a nightly run often has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import ArchiveError, DatasetError, RejectedShareError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.captions import captions
from hubbleclip.pipeline.engine.stage import log
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.remote_store import pull_runs
from hubbleclip.pipeline.shards import shards
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.pipeline.tiles.run import tiles
from hubbleclip.training.runs import FINISHED, runs_in

RunStage = Callable[..., Any]
"""Function that runs a stage as a part of a larger run; its arguments are the stage, the settings and a label."""


def run_here(stage: Callable[[Settings], Any], settings: Settings, label: str = "", /) -> Any:
    """Run a stage in this process, without Prefect."""
    return stage(settings)


class Growth(NamedTuple):
    """Digest of the newest dataset, and number of its samples that are not in the dataset of the last training."""

    digest: str
    num_new: int


def dataset(settings: Settings, run: RunStage = run_here) -> None:
    """Query the archive, cut new files into tiles and build the dataset. Work of earlier runs is not repeated.

    If the archive fails, or too many items are rejected, the later stages still process the files that were fetched
    before. The first error is raised at the end.
    """
    stages = [ingest, tiles, captions, shards] if settings.captions.backend else [ingest, tiles, shards]
    failed: ArchiveError | RejectedShareError | None = None
    for stage in stages:
        try:
            run(stage, settings)
        except (ArchiveError, RejectedShareError) as error:
            log.warning("%s failed, the other stages process what exists: %s", stage.__name__, error)
            failed = failed or error
        except DatasetError as error:
            if failed is None:
                raise
            # An earlier error probably caused this error: without fetched files, the dataset has no sample.
            log.warning("%s failed: %s", stage.__name__, error)
    if failed is not None:
        raise failed


def read_growth(layout: Layout) -> Growth | None:
    """Count the samples that are new since the last training; trainings of the shuffled-pairs baseline are ignored."""
    with read_catalog(layout) as catalog:
        built = catalog.rows(NEWEST_DATASET)
        if not built:
            return None
        digest = built[0]["digest"]
        pull_runs(layout)
        runs = runs_in(layout.runs, status=FINISHED, is_shuffled=False)
        trained = next((str(facts["dataset_digest"]) for _, facts in runs), None)
        return Growth(digest, catalog.named_query("new_samples", digest=digest, trained=trained)[0]["num"])
