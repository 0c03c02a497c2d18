"""The catalog: one DuckDB file with every fact. One writer at a time; readers see a published snapshot.

The flow writes its own working copy under a lock; every few minutes, and when it ends, the copy is published by an
atomic rename. So people and pages read `catalog.duckdb` at any time, and a killed flow leaves both files good.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from hubbleclip.catalog.migrations import migrate, pending_migrations, schema_version
from hubbleclip.contracts.schema import tables, to_arrow
from hubbleclip.core.errors import DISK_FULL_ERRNOS, CatalogError, CatalogLockedError, DiskFullError
from hubbleclip.core.io import atomic_write
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Record

log = logging.getLogger(__name__)

STORAGE_VERSION = "v1.2.0"
ATTACH = "ATTACH '{path}' AS catalog (STORAGE_VERSION '{version}')"
PUBLISH_EVERY_S = 300.0
MEMORY_MB, THREADS = 1024, 1
REOPEN_EVERY = 64
"""Transactions. DuckDB keeps what it has read, and some KiB of every statement that writes, until it is closed."""
CHECKPOINT_AT = "4MiB"
"""Rows are held in memory until their log on the disk has this size; then they go into the file itself."""
BULK_ROWS = 10_000
VIEWS = "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal"
SEARCHES = """
SELECT function_name AS name, comment FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro'
"""


class Catalog:
    """An open catalog. Made by `read_catalog` and `writing_catalog`; `after_write` is called after every transaction
    and may give it another connection. `staying` is held for that, and while other threads read.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, after_write: Callable[[Catalog], None] = lambda _: None
    ) -> None:
        self.connection = connection
        self.changed = False
        self.staying = threading.Lock()
        self._after_write = after_write
        self._is_writing = False

    def close(self) -> None:
        """Close the connection, whichever it is by now."""
        self.connection.close()

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
        """Rows of a query. Raises CatalogError with DuckDB's own message."""
        try:
            relation = self.connection.sql(sql, params=_bound(parameters) or None)
            return pa.table({}) if relation is None else relation.to_arrow_table()
        except duckdb.Error as error:
            raise CatalogError(str(error).strip().splitlines()[0]) from error

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a query as dicts."""
        found: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return found

    def named(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of the query `sql/<name>.sql`."""
        return self.rows(read_sql(name), parameters)

    def thread_query(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the query `sql/<name>.sql`, asked by other threads than the one that writes. Raises CatalogError."""
        try:
            with self.staying, self.connection.cursor() as cursor:
                return cursor.execute("USE catalog").execute(read_sql(name), _bound(parameters)).fetchall()
        except duckdb.Error as error:
            raise CatalogError(str(error).strip().splitlines()[0]) from error

    def upsert(self, batch: Mapping[str, Sequence[Record] | pa.Table]) -> None:
        """Write the rows of several tables in one transaction, each cast to its contract. Raises ContractError, and
        writes nothing.
        """
        arrows = {name: to_arrow(name, rows) for name, rows in batch.items() if len(rows)}
        if not arrows:
            return
        with self.transaction():
            for name, arrow in arrows.items():
                self._upsert_table(name, arrow)
            if "proposal" in arrows:
                self.run("forget_abstracts", {"proposal": arrows["proposal"]})
                self.run("index_abstracts")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing; one that is opened inside another is part of it."""
        if self._is_writing:
            yield
            return
        self.connection.begin()
        self._is_writing = True
        with _full_disk_told(), ExitStack() as undo:
            undo.callback(setattr, self, "_is_writing", False)
            undo.push(self._end)
            yield
        self.changed = True
        with self.staying:
            self._after_write(self)

    def _end(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.connection.commit()
        else:
            with suppress(duckdb.Error):  # one that could not be written has ended, and its error is to be told
                self.connection.rollback()

    def run(
        self, name: str, incoming: Mapping[str, Sequence[Record] | pa.Table] | None = None, **parameters: Any
    ) -> None:
        """Run the statements of `sql/<name>.sql` in one transaction; rows of `incoming`, cast to their contracts, stand
        there as `new_<table>`.
        """
        arrows = {f"new_{table}": to_arrow(table, rows) for table, rows in (incoming or {}).items()}
        bound = _bound(parameters)
        with self.transaction(), ExitStack() as views:
            for view, arrow in arrows.items():
                self.connection.register(view, arrow)
                views.callback(self.connection.unregister, view)
            for statement in self.connection.extract_statements(read_sql(name)):
                self.connection.execute(statement, {key: bound[key] for key in statement.named_parameters})

    def changed_rows(self, name: str, rows: Sequence[Record]) -> pa.Table:
        """Those of the rows that the table does not hold in just this form; times of writing (`_at`) do not count."""
        columns = (column.name for column in tables()[name].columns if not column.name.endswith("_at"))
        same = " AND ".join(f'known."{column}" IS NOT DISTINCT FROM incoming."{column}"' for column in columns)
        self.connection.register("incoming", to_arrow(name, rows))
        found = self.query(f'SELECT incoming.* FROM incoming ANTI JOIN "{name}" known ON {same}')  # noqa: S608
        self.connection.unregister("incoming")
        return found

    def counts(self) -> dict[str, int]:
        """Rows a table."""
        selects = (f"SELECT '{name}' AS name, count(*) AS num FROM \"{name}\"" for name in tables())  # noqa: S608
        sql = " UNION ALL ".join(selects)
        return {row["name"]: row["num"] for row in self.rows(sql)}

    def views(self) -> list[dict[str, Any]]:
        """Name and comment of every view and search that people may ask."""
        return self.rows(f"({VIEWS} ORDER BY name) UNION ALL ({SEARCHES} ORDER BY name)")

    def _upsert_table(self, name: str, arrow: pa.Table) -> None:
        """Insert the rows, or update those whose key is known. The index finds a known key of a small batch; of a large
        one a single join tells those apart that are new, since a plain insert is three times as fast.
        """
        table = tables()[name]
        keys = ", ".join(f'"{key}"' for key in table.keys)
        listed = ", ".join(f'"{column.name}"' for column in table.columns)
        rest = [f'"{column.name}"' for column in table.columns if column.name not in table.keys]
        action = f"UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in rest)}" if rest else "NOTHING"
        insert = f'INSERT INTO "{name}" ({listed}) SELECT {listed} FROM incoming'  # noqa: S608
        is_bulk = len(arrow) >= BULK_ROWS
        self.connection.register("incoming", arrow)
        known = f' SEMI JOIN "{name}" USING ({keys})' if is_bulk else ""
        self.connection.execute(f"{insert}{known} ON CONFLICT ({keys}) DO {action}")
        if is_bulk:
            self.connection.execute(f'{insert} ANTI JOIN "{name}" USING ({keys})')
        self.connection.unregister("incoming")


@contextmanager
def _full_disk_told() -> Iterator[None]:
    """Let a full disk out as DiskFullError, which the system's own words in DuckDB's message tell."""
    try:
        yield
    except duckdb.Error as error:
        words = next((word for word in map(os.strerror, DISK_FULL_ERRNOS) if word in str(error)), None)
        if words is None:
            raise
        message = f"the catalog cannot be written ({words}): make room and run again; what was written before is kept"
        raise DiskFullError(message) from error


def _bound(parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Parameters as the catalog compares them: its times are UTC and carry no zone."""
    if isinstance(parameters, Mapping):
        return {name: _without_zone(value) for name, value in parameters.items()}
    return [_without_zone(value) for value in parameters]


def _without_zone(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def read_sql(name: str) -> str:
    """Text of `sql/<name>.sql`."""
    return files("hubbleclip.catalog").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


@contextmanager
def read_catalog(layout: Layout) -> Iterator[Catalog]:
    """The published snapshot, read-only. Raises CatalogError when there is none yet."""
    if not layout.catalog.is_file():
        raise CatalogError(f"no catalog at {layout.catalog}: run `hubbleclip dataset` first, or set --data")
    try:
        connection = duckdb.connect(str(layout.catalog), read_only=True)
    except duckdb.Error as error:
        message = f"{layout.catalog} cannot be opened as a DuckDB file: move it away and run again ({error})"
        raise CatalogError(message) from error
    with closing(connection):
        if pending_migrations(connection):
            raise CatalogError(f"{layout.catalog} was written by an older hubbleclip: run `hubbleclip migrate`")
        yield Catalog(connection)


@contextmanager
def writing_catalog(
    layout: Layout, *, publish_every_s: float = PUBLISH_EVERY_S, memory_mb: int = MEMORY_MB, threads: int = THREADS
) -> Iterator[Catalog]:
    """The working copy, migrated, under the lock; published after the first transaction that ends `publish_every_s`
    after the last time, and when the block ends, also by an error. What DuckDB cannot keep in `memory_mb` goes through
    files of its own; so that it keeps no more by the hour, its database is opened anew every `REOPEN_EVERY`.

    Raises CatalogLockedError that names the holder when another process writes.
    """
    upkeep = _Upkeep(layout, publish_every_s, memory_mb, threads)
    with catalog_lock(layout), closing(Catalog(upkeep.connect(), upkeep.after_write)) as catalog:
        for orphan in layout.root.glob(f".{layout.catalog.stem}*.tmp"):
            orphan.unlink()
        if not layout.working_catalog.exists() and layout.catalog.exists():
            _copy(layout.catalog, layout.working_catalog)
        is_new = _is_newer(layout.working_catalog, layout.catalog)
        is_new |= _open_working(catalog.connection, layout)
        try:
            yield catalog
        finally:
            with catalog.staying:
                _detach(catalog.connection, layout.working_catalog)
            if catalog.changed or is_new:
                _copy(layout.working_catalog, layout.catalog)


def _is_newer(working: Path, published: Path) -> bool:
    """Whether the working copy holds what was never published: a killed flow may have left it so."""
    if not published.exists() or _log_of(working).exists():
        return True
    return working.stat().st_mtime_ns > published.stat().st_mtime_ns


@dataclass(slots=True)
class _Upkeep:
    """What is done between transactions: publishing, and opening the working copy anew."""

    layout: Layout
    publish_every_s: float
    memory_mb: int
    threads: int
    published: float = field(default_factory=time.monotonic)
    num_written: int = 0

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A database of its own in memory, which the working copy is to be attached to."""
        bounds: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self.memory_mb}MiB", "threads": self.threads, "checkpoint_threshold": CHECKPOINT_AT,
            "temp_directory": str(self.layout.spill),
        }  # fmt: skip
        return duckdb.connect(config=bounds)

    def after_write(self, catalog: Catalog) -> None:
        """Close the working copy and open it anew after so many transactions, and where it is to be published: then
        its log is in it.
        """
        self.num_written += 1
        is_due = time.monotonic() - self.published >= self.publish_every_s
        if not is_due and self.num_written < REOPEN_EVERY:
            return
        _detach(catalog.connection, self.layout.working_catalog)
        catalog.close()
        try:
            if is_due:
                _copy(self.layout.working_catalog, self.layout.catalog)
                self.published = time.monotonic()
        finally:
            catalog.connection = self.connect()
            _attach(catalog.connection, self.layout.working_catalog)
            self.num_written = 0


def _open_working(connection: duckdb.DuckDBPyConnection, layout: Layout) -> bool:
    """Attach the working copy and bring it forward, after a copy of how it was; true when that changed it."""
    path = layout.working_catalog
    try:
        with _full_disk_told():
            _attach(connection, path)
            steps = pending_migrations(connection)
            if steps and schema_version(connection):
                _detach(connection, path)
                _keep_old(layout, steps[0][0])
                _attach(connection, path)
            return migrate(connection)
    except duckdb.Error as error:
        raise CatalogError(f"{path} cannot be opened: move it away and run again ({error})") from error


def _keep_old(layout: Layout, version: int) -> None:
    """Copy the working copy, closed, before the steps from `version` on; older copies go."""
    kept = layout.catalog_backup(version)
    _copy(layout.working_catalog, kept)
    for old in set(layout.catalog_backups()) - {kept}:
        old.unlink()
    log.info("the catalog is brought forward; %s keeps it as it was", kept)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(ATTACH.format(path=quoted, version=STORAGE_VERSION))
    connection.execute("USE catalog")


def _detach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Close the file, which brings its log into it; then the file alone is the whole catalog. Raises DiskFullError,
    CatalogError where a log is left.
    """
    with _full_disk_told():
        connection.execute("USE memory")
        connection.execute("DETACH DATABASE IF EXISTS catalog")
    if _log_of(path).exists():
        raise CatalogError(f"the log of {path} cannot be brought into it: make room and run again; nothing is lost")


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _copy(source: Path, target: Path) -> None:
    """Copy a closed catalog over another, whose log, if a killed session left one, fits no more."""
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
        _log_of(target).unlink(missing_ok=True)


@contextmanager
def catalog_lock(layout: Layout) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when the holder dies, so a dead process never blocks."""
    path = layout.lock
    layout.root.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"the catalog is being written by {_holder(file)}: wait for it or stop it"
            raise CatalogLockedError(message) from error
        except OSError as error:
            message = f"the file system of {path} locks no files ({error.strerror}): set --data to a local disk"
            raise CatalogError(message) from error
        file.seek(0)
        file.truncate()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started_at": started}, file)
        file.flush()
        yield


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        held = json.load(file)
    except json.JSONDecodeError:
        return "another process"
    return f"process {held['pid']} on {held['host']} since {held['started_at']}"
