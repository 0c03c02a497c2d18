"""Run SQL that a user or an agent wrote: read-only, without files and network, with a limit of rows, time and memory.

The query runs in a separate process, which the operating system ends at the time limit of the query. DuckDB alone can
neither interrupt the computation of one long value nor limit the memory of this computation.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hubbleclip.catalog.catalog import attach, read_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

MAX_ROWS, MAX_S = 100_000, 60.0
MEMORY, DATA_MB = "1GiB", 1280
"""`MEMORY` is DuckDB's own limit, which ignores the memory of one long value; `DATA_MB` limits the process, in MiB."""
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
    num_rows: int = 0  # number of rows that were read so far
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

    Raises CatalogError if `sql` is not exactly one read-only statement, if DuckDB reports an error, or if the query
    needs more than `max_s` seconds or `DATA_MB` MiB of memory.
    """
    line = [sys.executable, "-P", "-m", "hubbleclip.catalog.user_sql", str(layout.root)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin  # noqa: S101 - a pipe
        try:
            with suppress(BrokenPipeError):  # the process has ended, and its status is reported below
                process.stdin.write(json.dumps([sql, max_rows, max_s]).encode())
                process.stdin.close()
            arrived = _received(process, max_s)
            rows = UserRows(schema=next(arrived))
            rows.batches = _limited(arrived, rows, max_rows)
            yield rows
        finally:
            process.kill()


def _limited(batches: Iterator[pa.RecordBatch], rows: UserRows, max_rows: int | None) -> Iterator[pa.RecordBatch]:
    """Yield the first `max_rows` rows, and count them in `rows`."""
    for batch in batches:
        kept = batch if max_rows is None else batch.slice(0, max_rows - rows.num_rows)
        rows.is_cut = rows.is_cut or kept.num_rows < batch.num_rows
        rows.num_rows += kept.num_rows
        if kept.num_rows:
            yield kept


def _received(process: subprocess.Popen[bytes], max_s: float) -> Iterator[Any]:
    """Yield the schema and then the batches that the process of a query writes; CatalogError if the process fails."""
    fault: Exception | None = None
    try:
        reader = pa.ipc.open_stream(process.stdout)
        yield reader.schema
        yield from reader
    except (OSError, pa.ArrowException) as error:
        fault = error
    lines = (process.stderr.read() if process.stderr else b"").decode(errors="replace").splitlines()
    code = process.wait()  # needed, because a stream that breaks off between two batches raises no error
    if code == -signal.SIGALRM:
        raise CatalogError(f"the query was stopped after {max_s:g} s: ask for less, or raise --max-s") from fault
    if code < 0:  # killed at the memory limit of the process, or by the system for a lack of memory
        raise CatalogError(f"the query was killed, perhaps because it used over {DATA_MB} MiB of memory: ask for less")
    if code or fault:
        raise CatalogError(lines[-1] if lines else f"the process of the query failed ({code})") from fault


@contextmanager
def _reading(layout: Layout, sql: str, max_rows: int | None) -> Iterator[pa.RecordBatchReader]:
    """Run a read-only statement in a separate DuckDB instance, so that its locked settings affect no other reader.

    At most `max_rows` + 1 rows can be read, so that the caller sees whether there are more than `max_rows`.
    """
    with read_catalog(layout):
        pass  # `read_catalog` raises a clear error for a missing, damaged or old catalog
    with closing(duckdb.connect(config={"memory_limit": MEMORY, "threads": 2, "temp_directory": ""})) as connection:
        attach(connection, layout.catalog, "READ_ONLY")
        connection.execute("USE catalog")
        for setting in LOCK:
            connection.execute(setting)
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in READING:
            raise CatalogError("sql is read-only and takes one statement: SELECT, FROM, DESCRIBE, SHOW or EXPLAIN")
        query = connection.sql(sql)
        yield (query if max_rows is None else query.limit(max_rows + 1)).to_arrow_reader(BATCH_ROWS)


def main() -> None:
    """Read a query from standard input, run it, and write its rows to standard output as an Arrow stream."""
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_MB << 20, DATA_MB << 20))
    sql, max_rows, max_s = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_REAL, max(max_s, 0.001))  # the signal ends the process
    try:
        with (
            _reading(Layout(Path(sys.argv[1])), sql, max_rows) as reader,
            pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except (CatalogError, duckdb.Error, OSError, pa.ArrowException, MemoryError) as error:
        sys.exit(str(error).strip().splitlines()[0] if str(error) else "out of memory")


if __name__ == "__main__":
    main()
