"""Where rows go from one stage to the next: what breaks its contract is left out there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hubbleclip.contracts.validation import Rows, reject_broken_rows

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage


class Edge(NamedTuple):
    """The `stage` of its rejections, the section of settings that they depend on, the table of the items worked on."""

    stage: str
    section: str
    item: str


EDGES = {
    "query-observations": Edge("observations", "archive", "observation"),
    "list-products": Edge("products", "archive", "observation"),
    "fetch-proposals": Edge("proposals", "archive", "proposal"),
    "fetch-products": Edge("fetch", "archive", "product"),
    "fetch-and-cut": Edge("fetch", "archive", "product"),
    "cut-products": Edge("tiles", "tiles", "product"),
    "colour-visits": Edge("colour", "tiles", "visit"),
    "assign-splits": Edge("shards", "splits", "tile"),
    "make-samples": Edge("shards", "shards", "tile"),
    "pack-shards": Edge("shards", "shards", "tile"),
    "embed-tiles": Edge("evaluate", "evaluation", "run"),
    "evaluate-run": Edge("evaluate", "evaluation", "run"),
    "compare-runs": Edge("evaluate", "evaluation", "promotion"),
}
"""By the name of the task that makes the rows."""


def checked(stage: Stage, batch: Rows, made_by: str) -> dict[str, list[Any]]:
    """The batch of a task without rows that break their contract; each of them becomes a Rejection."""
    edge = EDGES[made_by]
    digest: str = getattr(stage.settings, edge.section).digest()
    return reject_broken_rows(batch, edge.stage, edge.item, digest)
