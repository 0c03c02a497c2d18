"""The check where rows pass from one stage to the next: a row that breaks its contract is rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hubbleclip.contracts.validation import Rows, reject_broken_rows

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage


class Edge(NamedTuple):
    """The stage that rejects, the section of settings that this depends on, and the table of the items in work."""

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
    """A batch without the rows that break their contract; each of those becomes a Rejection.

    Parameters
    ----------
    stage
        The stage with its settings.
    batch
        Rows by table.
    made_by
        Kind of work that made the rows, a key of `EDGES`.

    Returns
    -------
    dict
        Rows by table, with a `rejection` entry for each row that was removed.

    """
    edge = EDGES[made_by]
    digest: str = getattr(stage.settings, edge.section).digest()
    return reject_broken_rows(batch, edge.stage, edge.item, digest)
