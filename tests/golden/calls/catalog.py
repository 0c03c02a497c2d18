"""A small catalog for the calls in `catalog.json`."""

from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from test_contracts import RECORD_OF
from valid_catalog import make

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.migrations import migrate


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
