"""The command `sql`, which writes the rows of a query as a stream: on standard output or into a file."""

from __future__ import annotations

import json
import logging
import sys
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from hubbleclip.cli.options import Options
from hubbleclip.cli.output import print_line, print_rows
from hubbleclip.core.errors import CatalogError, HubbleclipError
from hubbleclip.core.io import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

    from hubbleclip.catalog.user_sql import UserRows

log = logging.getLogger("hubbleclip.cli")
TableFormat = Literal["table", "json", "csv", "parquet"]
TABLE_ROWS = 1000
"""Number of rows of one printed table. Longer results are printed as several tables, because rich holds a whole
table in memory."""


def sql(
    query: str = "",
    options: Options = Options(),
    *,
    views: bool = False,
    format: TableFormat = "table",  # noqa: A002
    out: Path | None = None,
    max_rows: int | None = None,
    max_s: float = 60.0,
) -> None:
    """Query the catalog in SQL, read-only and without access to files.

    Parameters
    ----------
    query
        The query, such as 'FROM coverage'.
    views
        List the views and searches with their meaning.
    format
        How the rows are written.
    out
        CSV, JSON or Parquet file to write, such as rows.parquet; an existing file is replaced.
    max_rows
        Maximum number of rows, such as 1000; by default 100,000, and all rows with --out.
    max_s
        Time limit in seconds, such as 60.

    """
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.catalog.user_sql import MAX_ROWS, stream_user_sql

    if not (query or views):
        raise CatalogError('no query given: write `hubbleclip sql "FROM coverage"`, or --views for a list of views')
    layout = options.layout()
    if views:
        with read_catalog(layout) as catalog:
            print_rows(catalog.views())
        return
    limit = MAX_ROWS if max_rows is None and out is None else max_rows
    with stream_user_sql(layout, query, max_rows=limit, max_s=max_s) as rows:
        if out is None:
            print_query(rows, format)
        else:
            write_query(rows, format, out)
            print_line(f"{rows.num_rows} rows are in {out}")
    if rows.is_cut:
        log.warning("sql: only the first %d rows are written: raise --max-rows", rows.num_rows)


def print_query(rows: UserRows, form: TableFormat) -> None:
    """Write the rows of a query on standard output."""
    if form == "table":
        _print_tables(rows)
    elif form == "parquet" and sys.stdout.isatty():
        raise HubbleclipError("Parquet is not text: write `--format parquet --out rows.parquet`")
    else:
        sys.stdout.flush()
        WRITERS[form](rows, sys.stdout.buffer)


def write_query(rows: UserRows, form: TableFormat, path: Path) -> None:
    """Write the rows of a query into a file, which appears when it is complete."""
    if form == "table":
        raise HubbleclipError(f"a table is only printed: add --format csv, json or parquet to write {path}")
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        WRITERS[form](rows, file)


def _print_tables(rows: UserRows) -> None:
    """Print the rows as one or more tables; without rows, an empty table."""
    is_empty = True
    for batch in rows.batches:
        for start in range(0, batch.num_rows, TABLE_ROWS):
            print_rows(batch.slice(start, TABLE_ROWS).to_pylist())
            is_empty = False
    if is_empty:
        print_rows([])


def _write_parquet(rows: UserRows, file: IO[bytes]) -> None:
    """Write the rows as Parquet."""
    from pyarrow import parquet

    with parquet.ParquetWriter(file, rows.schema) as writer:
        for batch in rows.batches:
            writer.write_batch(batch)


def _write_json(rows: UserRows, file: IO[bytes]) -> None:
    """Write the rows as a JSON list with one object per line."""
    start = "[\n"
    for batch in rows.batches:
        lines = ",\n".join(json.dumps(row, default=str) for row in batch.to_pylist())
        file.write(f"{start}{lines}".encode())
        start = ",\n"
    file.write(b"\n]\n" if start == ",\n" else b"[]\n")


def _write_csv(rows: UserRows, file: IO[bytes]) -> None:
    """Write the rows as CSV. CSV has no lists and structs, so these are written as JSON."""
    import pyarrow as pa

    from hubbleclip.core.csv_tables import csv_bytes

    # an empty table comes first, so that the header is written even if there are no rows
    tables = chain([rows.schema.empty_table()], (pa.Table.from_batches([batch]) for batch in rows.batches))
    for number, table in enumerate(tables):
        file.write(csv_bytes(_flat(table), has_header=not number))


def _flat(table: pa.Table) -> pa.Table:
    """Replace the lists and structs of a table by JSON texts."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            texts = [None if value is None else json.dumps(value, default=str) for value in table[index].to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


WRITERS = {"parquet": _write_parquet, "json": _write_json, "csv": _write_csv}
