"""Check the rows that one stage passes to the next, and reject rows that break their data contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hubbleclip.contracts.validation import Rows, reject_broken_rows

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage


EDGES = {
    "query-observations": ("observations", "archive", "observation"),
    "list-products": ("products", "archive", "observation"),
    "fetch-proposals": ("proposals", "archive", "proposal"),
    "fetch-products": ("fetch", "archive", "product"),
    "fetch-and-cut": ("fetch", "archive", "product"),
    "cut-products": ("tiles", "tiles", "product"),
    "colour-visits": ("colour", "tiles", "visit"),
    "write-captions": ("captions", "captions", "abstract_summary"),
    "assign-splits": ("shards", "splits", "tile"),
    "make-samples": ("shards", "shards", "tile"),
    "pack-shards": ("shards", "shards", "tile"),
    "embed-tiles": ("evaluate", "evaluation", "run"),
    "evaluate-run": ("evaluate", "evaluation", "run"),
    "compare-runs": ("evaluate", "evaluation", "promotion"),
    "index-tiles": ("index", "index", "tile"),
}
"""Values that are recorded when a row is rejected, by the kind of work that makes the row.

The values are the name of the stage, the section of the settings whose digest is recorded, and the kind of the items.
"""


def checked(stage: Stage, batch: Rows, made_by: str) -> dict[str, list[Any]]:
    """Reject the rows of a batch that break their data contract: rows of the table `rejection` replace them."""
    stage_name, section, item = EDGES[made_by]
    return reject_broken_rows(batch, stage_name, item, getattr(stage.settings, section).digest())
