"""Rows as one writes them with bare duckdb: into the same table, unchecked, and only once."""

from __future__ import annotations

import duckdb
import pyarrow as pa

NAME = "duckdb INSERT ... SELECT"


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Insert an Arrow table whose columns are those of the table, in order."""
    connection.register("incoming", rows)
    connection.execute(f'INSERT INTO "{table}" SELECT * FROM incoming')
    connection.unregister("incoming")
