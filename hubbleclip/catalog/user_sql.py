"""Run SQL that a user or an agent wrote: read-only, without files and network, with a limit of rows and of time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from hubbleclip.catalog.catalog import attach, read_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

MAX_ROWS, MAX_S, MEMORY_MB = 100_000, 60.0, 1024
BATCH_ROWS = 10_000
READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
"""Types of statement that are run; DuckDB parses FROM, WITH, DESCRIBE, SHOW and SUMMARIZE as SELECT."""
LOCK = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",  # otherwise a table name could read a Python variable
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@dataclass(slots=True, kw_only=True)
class UserRows:
    """Rows of a user's query as a stream, so that they need not fit into memory."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch] = field(default_factory=lambda: iter(()))
    num_rows: int = 0  # read so far
    is_cut: bool = False  # whether there are more rows than the limit; known when all batches have been read


def run_user_sql(layout: Layout, sql: str, *, max_rows: int = MAX_ROWS, max_s: float = MAX_S) -> tuple[pa.Table, bool]:
    """Run one read-only statement; return its rows, and whether it has more rows than the limit."""
    with stream_user_sql(layout, sql, max_rows=max_rows, max_s=max_s) as rows:
        return pa.Table.from_batches(rows.batches, rows.schema), rows.is_cut


@contextmanager
def stream_user_sql(
    layout: Layout, sql: str, *, max_rows: int | None = MAX_ROWS, max_s: float = MAX_S
) -> Iterator[UserRows]:
    """Run one read-only statement on the published catalog; `max_rows=None` means no limit.

    Raises CatalogError for another statement, an error of DuckDB, or a query that takes longer than `max_s` seconds.
    """
    try:
        with _locked(layout) as connection:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in READING:
                raise CatalogError("sql is read-only and takes one statement: SELECT, FROM, DESCRIBE, SHOW or EXPLAIN")
            with _interrupting(connection, max_s):
                query = connection.sql(sql)
                reader = (query if max_rows is None else query.limit(max_rows + 1)).to_arrow_reader(BATCH_ROWS)
                rows = UserRows(schema=reader.schema)
                rows.batches = _limited(reader, rows, max_rows, max_s)
                yield rows
    except duckdb.Error as error:
        raise _to_catalog_error(error, max_s) from error


def _limited(
    reader: pa.RecordBatchReader, rows: UserRows, max_rows: int | None, max_s: float
) -> Iterator[pa.RecordBatch]:
    """Yield the first `max_rows` rows of a reader, and count them in `rows`."""
    try:
        for batch in reader:
            kept = batch if max_rows is None else batch.slice(0, max_rows - rows.num_rows)
            rows.is_cut = rows.is_cut or kept.num_rows < batch.num_rows
            rows.num_rows += kept.num_rows
            if kept.num_rows:
                yield kept
    except (OSError, pa.ArrowException) as error:  # the errors of DuckDB that occur in a stream
        raise _to_catalog_error(error, max_s) from error


def _to_catalog_error(error: Exception, max_s: float) -> CatalogError:
    """Convert an error of a query; in a stream, an interruption is an OSError that only its text identifies."""
    words = str(error).strip().splitlines()[0]
    if isinstance(error, duckdb.InterruptException) or words.startswith("INTERRUPT"):
        return CatalogError(f"the query was stopped after {max_s:g} s: ask for less, or raise --max-s")
    return CatalogError(words)


@contextmanager
def _locked(layout: Layout) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the snapshot in a DuckDB instance of its own, whose locked settings affect no other reader."""
    with read_catalog(layout):
        pass  # reports a missing, damaged or old catalog
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{MEMORY_MB}MiB",
        "threads": 2,
        "temp_directory": "",
    }
    with closing(duckdb.connect(config=limits)) as connection:
        attach(connection, layout.catalog, "READ_ONLY")
        connection.execute("USE catalog")
        for setting in LOCK:
            connection.execute(setting)
        yield connection


@contextmanager
def _interrupting(connection: duckdb.DuckDBPyConnection, max_s: float) -> Iterator[None]:
    """Interrupt the queries of the block after `max_s` seconds."""
    timer = threading.Timer(max_s, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
