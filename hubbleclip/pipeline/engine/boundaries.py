"""Check the rows that one stage passes to the next, and reject rows that break their data contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hubbleclip.contracts.validation import Rows, reject_broken_rows

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage


class Edge(NamedTuple):
    """What is recorded when a row is rejected.

    `stage` is the name of the stage, `section` is the section of the settings whose digest is recorded, and `item` is
    the kind of the items that are processed.
    """

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
    "index-tiles": Edge("index", "index", "tile"),
}
"""One `Edge` for each kind of work, by the name of the task that makes the rows."""


def checked(stage: Stage, batch: Rows, made_by: str) -> dict[str, list[Any]]:
    """Replace the rows of a batch that break their data contract by rows of `rejection`.

    Parameters
    ----------
    stage
        The running stage; only its settings are used.
    batch
        Rows of each table, by table name.
    made_by
        Kind of work that made the rows, a key of `EDGES`.

    Returns
    -------
    dict
        Rows of each table, by table name; `rejection` has a row for each row that was removed.

    """
    edge = EDGES[made_by]
    digest: str = getattr(stage.settings, edge.section).digest()
    return reject_broken_rows(batch, edge.stage, edge.item, digest)
