"""Run SQL that a user or an agent wrote: read-only, without files and network, with a limit of rows and of time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

MAX_ROWS, MAX_S, MEMORY_MB = 100_000, 60.0, 1024
READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
"""Types of statement that are run; DuckDB parses FROM, WITH, DESCRIBE, SHOW and SUMMARIZE as SELECT."""
LOCK = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",  # otherwise a table name could read a Python variable
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserResult:
    """Rows of a user's query; `is_cut` says that the query has more rows than the limit."""

    table: pa.Table
    is_cut: bool


def run_user_sql(layout: Layout, sql: str, *, max_rows: int = MAX_ROWS, max_s: float = MAX_S) -> UserResult:
    """Run one reading statement on the published catalog.

    Parameters
    ----------
    layout
        Folders of the profile.
    sql
        One statement, from any source.
    max_rows
        Largest number of rows of the result.
    max_s
        Time limit in seconds.

    Returns
    -------
    UserResult
        The first `max_rows` rows.

    Raises
    ------
    CatalogError
        There is no catalog, the text is not one reading statement, or the statement fails or takes too long.

    """
    try:
        with _locked(layout) as connection:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in READING:
                raise CatalogError("sql is read-only and takes one statement: SELECT, FROM, DESCRIBE, SHOW or EXPLAIN")
            with _interrupting(connection, max_s):
                table = connection.sql(sql).limit(max_rows + 1).to_arrow_table()
    except duckdb.InterruptException as error:
        raise CatalogError(f"the query was stopped after {max_s:g} s: ask for less, or raise --max-s") from error
    except duckdb.Error as error:
        raise CatalogError(str(error).strip().splitlines()[0]) from error
    return UserResult(table=table.slice(0, max_rows), is_cut=len(table) > max_rows)


@contextmanager
def _locked(layout: Layout) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the snapshot in a DuckDB instance of its own, whose locked settings affect no other reader."""
    with read_catalog(layout):
        pass  # reports a missing, damaged or old catalog
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{MEMORY_MB}MiB", "threads": 2, "temp_directory": "",
    }  # fmt: skip
    with closing(duckdb.connect(config=limits)) as connection:
        path = str(layout.catalog).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS catalog (READ_ONLY)")
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
