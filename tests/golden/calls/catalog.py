"""Small catalogs for the calls in `catalog.json`."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from test_contracts import RECORD_OF
from valid_catalog import make

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.migrations import migrate
from hubbleclip.catalog.tile_filters import CONDITIONS
from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.catalog.working_copy import STORAGE_VERSION, writing_catalog
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Rejection

TILE = (
    "'hst:1' AS proposal_id, 'M31' AS target_name, 'ACS/WFC' AS instrument, 'F1' AS filter, 'ab' AS tile_id,"
    " 'mast:x' AS product_uri"
)
NOW = datetime(2024, 6, 1)
KILLED = "PRAGMA disable_checkpoint_on_shutdown; INSERT INTO watermark VALUES ('a', 'd', 1, '2024-01-01')"
"""A statement after which the rows are only in the write-ahead log, as of a process that is killed."""


@cache
def empty_catalog() -> tuple[Catalog, str]:
    """A catalog in memory, and the script that deletes its rows."""
    migrate(connection := duckdb.connect(config={"threads": 1}))
    names = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name <> 'migration'").fetchall()
    return Catalog(connection, Path("catalog")), ";".join(f'DELETE FROM "{name}"' for (name,) in names)


def made(**rows: list[dict[str, Any]]) -> Catalog:
    """A catalog of valid rows, of which some columns are given: `made(table=[{column: value}])`."""
    catalog, clear = empty_catalog()
    if catalog.changed:
        catalog.connection.execute(clear)
    catalog.changed = False
    catalog.upsert({table: [make(RECORD_OF[table], **values) for values in found] for table, found in rows.items()})
    return catalog


def passed(columns: str, name: str, **values: Any) -> list[Any]:
    """The values of the first column in the rows of `SELECT columns` that meet a condition."""
    rows = made().rows(f"FROM (SELECT {columns}) WHERE {CONDITIONS[name]}", values)
    return [next(iter(row.values())) for row in rows]


def captioned(written: Iterable[str] = (), rejected: Iterable[str] = (), waiting: Iterable[str] = ()) -> Catalog:
    """Proposals with the abstracts `a` to `e`; of these, some are written by a writer, rejected with a digest, or wait.

    `av` in `written` is the abstract `a` and the writer `v`; those that wait are due at `NOW`.
    """
    one = {name: sha256_bytes(name.encode()) for name in "abcde"}
    item = {"entity": "abstract_summary", "stage": "captions"}
    return made(
        proposal=[{"proposal_id": name, "abstract": name} for name in one],
        abstract_summary=[{"abstract_sha256": one[name], "writer": writer} for name, writer in written],
        rejection=[item | {"entity_id": one[name], "settings_digest": digest} for name, digest in rejected],
        attempt=[item | {"entity_id": one[name], "next_try_at": NOW} for name in waiting],
    )


def retried(*cases: tuple[str, int]) -> list[Any]:
    """When items are tried next that failed at `NOW`, by reason and number of earlier tries; and those given up."""
    catalog = made(attempt=[{"entity_id": f"{why} {num}", "attempts": num} for why, num in cases if num])
    failed = [make(Rejection, entity_id=f"{why} {num}", reason=why) for why, num in cases]
    catalog.run("schedule_retries", {"rejection": failed}, max_runs=3, retry_hours=6.0, open=["busy"], now=NOW)
    next_try_at = {row["entity_id"]: row["next_try_at"] for row in catalog.rows("FROM attempt")}
    return [next_try_at, [row["entity_id"] for row in catalog.rows("FROM rejection")]]


def stored(root: Path, sql: str = "SELECT 1") -> Layout:
    """The places of an empty catalog file, after a statement."""
    as_written = {"storage_compatibility_version": STORAGE_VERSION}
    migrate(connection := duckdb.connect(str(Layout(root).catalog), config=as_written))
    connection.execute(sql)
    connection.close()
    return Layout(root)


def searched(root: Path, *texts: tuple[str, str | None]) -> TileFacts:
    """The search of a catalog of proposals with these numbers and abstracts, without tiles."""
    numbers = [(name, name.partition(":")[2], text) for name, text in texts]
    with writing_catalog(Layout(root)) as catalog:
        rows = [make(RECORD_OF["proposal"], proposal_id=one, number=two, abstract=text) for one, two, text in numbers]
        catalog.upsert({"proposal": rows})
    return TileFacts(Layout(root), pa.array(["a"]))
