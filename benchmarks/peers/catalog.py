"""Bare duckdb: rows inserted unchecked into the same table; a cone search by the haversine formula over all rows."""

from __future__ import annotations

import duckdb
import pyarrow as pa

NAME = "duckdb INSERT ... SELECT"
HAVERSINE_NAME = "haversine over all rows"
HAVERSINE = """
SELECT tile_id FROM tile WHERE degrees(2 * asin(sqrt(
  sin(radians(dec_deg + 5.39) / 2) ** 2
  + cos(radians(dec_deg)) * cos(radians(5.39)) * sin(radians(ra_deg - 83.82) / 2) ** 2))) <= 1
"""


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Insert an Arrow table whose columns are those of the table, in order."""
    connection.register("incoming", rows)
    connection.execute(f'INSERT INTO "{table}" SELECT * FROM incoming')
    connection.unregister("incoming")
