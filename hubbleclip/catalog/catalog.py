"""The catalog is one DuckDB file with all metadata. One process at a time writes it; readers open a published snapshot.

A DuckDB file can be opened by one writer or by many readers, but not by both. A flow therefore locks and writes a
separate working copy. Every few minutes, and when the flow ends, a copy of the working copy replaces `catalog.duckdb`
by an atomic rename. `catalog.duckdb` can be read at any time, and both files stay intact if the flow is killed.
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
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from hubbleclip.catalog.migrations import migrate, pending_migrations, read_sql, schema_version
from hubbleclip.contracts.schema import tables, to_arrow
from hubbleclip.core.errors import (
    DISK_FULL_ERRNOS,
    CatalogError,
    CatalogLockedError,
    DamagedCatalogError,
    DiskFullError,
)
from hubbleclip.core.io import atomic_write, make_folder, writing
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Record

log = logging.getLogger(__name__)

WORD_SOURCES = {"forget_abstracts": "proposal", "forget_summaries": "abstract_summary"}
"""Tables whose texts are in the word index, by the script that removes the old words of changed rows."""

STORAGE_VERSION = "v1.2.0"
"""Version of the DuckDB file format. It is fixed, so that older DuckDB releases can read files that newer releases
write.
"""
ATTACH = "ATTACH '{path}' AS catalog (STORAGE_VERSION '{version}')"
PUBLISH_EVERY_S = 300.0
MEMORY_MB, THREADS = 1024, 1
READER_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "2GiB"}
"""Memory limit of readers; DuckDB spills what exceeds it to disk. All readers of a process need the same limit."""
REOPEN_EVERY = 64
"""Number of transactions after which the file is reopened. Until the file is closed, DuckDB keeps in memory the pages
that it has read, and some KiB for each write.
"""
CHECKPOINT_AT = "4MiB"
"""Size of the write-ahead log at which DuckDB moves the log's rows to the database file. Until then, the rows are also
in memory.
"""
DAMAGE = duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException
"""Errors of DuckDB for a file whose content is damaged."""
DAMAGE_TEXT = "Corrupt database file"
"""Text of an error without a class of its own, for a block whose checksum differs."""
VIEWS = "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal"
# Parametrised searches are table macros, such as `search_abstracts(text)`.
SEARCHES = """
SELECT function_name AS name, comment FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro'
"""


class Catalog:
    """An open catalog, created by `read_catalog` and `writing_catalog`.

    Parameters
    ----------
    connection
        DuckDB connection whose default database is the catalog.
    path
        File of the catalog, which messages name.
    after_write
        Function that is called with the catalog after every transaction, and that may replace the connection.

    Attributes
    ----------
    changed : bool
        Whether anything was written since the catalog was opened.
    connection_lock : threading.Lock
        Lock that is held while the connection is replaced, and while other threads read.

    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        after_write: Callable[[Catalog], None] = lambda _: None,
    ) -> None:
        self.connection = connection
        self.path = path
        self.changed = False
        self.connection_lock = threading.Lock()
        self._after_write = after_write
        self._is_writing = False

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()  # `after_write` may have replaced the constructor's connection

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
        """Run a query.

        Parameters
        ----------
        sql
            One statement, with `?` or `$name` for parameters.
        parameters
            Values of the parameters, by position or by name; times with a time zone are converted to UTC.

        Returns
        -------
        pyarrow.Table
            Rows of the result; empty for a statement without a result.

        Raises
        ------
        CatalogError
            The query fails; the message is the first line of DuckDB's message.

        """
        try:
            relation = self.connection.sql(sql, params=_bound(parameters) or None)
            return pa.table({}) if relation is None else relation.to_arrow_table()
        except duckdb.Error as error:
            raise _catalog_error(error, self.path) from error

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Run a query and convert its rows to dicts.

        Parameters
        ----------
        sql, parameters
            The statement and its parameters, as for `query`.

        Returns
        -------
        list of dict
            Values by column name.

        """
        rows: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return rows

    def named_query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a query that is an SQL file of this package.

        Parameters
        ----------
        name
            File name without suffix: `sql/<name>.sql`.
        **parameters
            Parameter values by name.

        Returns
        -------
        list of dict
            Values by column name.

        """
        return self.rows(read_sql(name), parameters)

    def thread_query(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query that is an SQL file of this package, from a thread other than the writing thread.

        Parameters
        ----------
        name
            File name without suffix: `sql/<name>.sql`.
        **parameters
            Parameter values by name.

        Returns
        -------
        list of tuple
            Rows of the result, as of the last committed transaction.

        Raises
        ------
        CatalogError
            The query fails; the message is the first line of DuckDB's message.

        """
        try:
            # A cursor has its own connection, which is needed because DuckDB connections are not thread-safe.
            with self.connection_lock, self.connection.cursor() as cursor:
                return cursor.execute("USE catalog").execute(read_sql(name), _bound(parameters)).fetchall()
        except duckdb.Error as error:
            raise _catalog_error(error, self.path) from error

    def upsert(self, batch: Mapping[str, Sequence[Record] | pa.Table]) -> None:
        """Insert or update the rows of several tables in one transaction.

        Parameters
        ----------
        batch
            Rows by table name; each table is cast to its contract.

        Notes
        -----
        Raises ContractError if rows do not fit their contract, and DiskFullError if the disk is full. In both cases
        nothing is written.

        """
        arrows = {name: to_arrow(name, rows) for name, rows in batch.items() if len(rows)}
        if not arrows:
            return
        with self.transaction():
            for name, arrow in arrows.items():
                self._upsert_table(name, arrow)
            changed = [script for script, table in WORD_SOURCES.items() if table in arrows]
            for script in changed:  # keep the word index of the abstracts up to date
                self.run(script, {WORD_SOURCES[script]: arrows[WORD_SOURCES[script]]})
            if changed:
                self.run("index_abstracts")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements of the block, or none if the block raises an error.

        Yields
        ------
        None
            No value. A nested transaction is part of the outer transaction.

        """
        if self._is_writing:
            yield
            return
        with _typed_errors(self.path), ExitStack() as undo:
            self.connection.begin()
            self._is_writing = True
            undo.callback(setattr, self, "_is_writing", False)
            undo.push(self._end)
            yield
        self.changed = True
        with self.connection_lock:
            self._after_write(self)

    def _end(self, error: type[BaseException] | None, *_: object) -> None:
        """Commit, or roll back after an error."""
        if error is None:
            self.connection.commit()
        else:
            with suppress(duckdb.Error):  # after a failed commit there is nothing to roll back
                self.connection.rollback()

    def run(
        self, name: str, incoming: Mapping[str, Sequence[Record] | pa.Table] | None = None, **parameters: Any
    ) -> None:
        """Run a script that is an SQL file of this package, in one transaction.

        Parameters
        ----------
        name
            File name without suffix: `sql/<name>.sql`.
        incoming
            Rows by table name, cast to their contracts; the script reads them as the views `new_<table>`.
        **parameters
            Parameter values by name.

        """
        arrows = {f"new_{table}": to_arrow(table, rows) for table, rows in (incoming or {}).items()}
        bound = _bound(parameters)
        with self.transaction(), ExitStack() as views:
            for view, arrow in arrows.items():
                self.connection.register(view, arrow)
                views.callback(self.connection.unregister, view)
            # DuckDB refuses parameters that a statement does not use, so each statement gets only its own.
            for statement in self.connection.extract_statements(read_sql(name)):
                self.connection.execute(statement, {key: bound[key] for key in statement.named_parameters})

    def changed_rows(self, name: str, rows: Sequence[Record]) -> pa.Table:
        """Select the rows that are new or differ from the row with the same key in the catalog.

        Parameters
        ----------
        name
            A table of the contracts.
        rows
            Records of the table.

        Returns
        -------
        pyarrow.Table
            New and changed rows; times of writing (columns that end in `_at`) are not compared.

        """
        columns = (column.name for column in tables()[name].columns if not column.name.endswith("_at"))
        same = " AND ".join(f'known."{column}" IS NOT DISTINCT FROM incoming."{column}"' for column in columns)
        self.connection.register("incoming", to_arrow(name, rows))
        changed = self.query(f'SELECT incoming.* FROM incoming ANTI JOIN "{name}" known ON {same}')  # noqa: S608
        self.connection.unregister("incoming")
        return changed

    def counts(self) -> dict[str, int]:
        """Count the rows of every table.

        Returns
        -------
        dict
            Number of rows by table name, in the order of the contracts.

        """
        selects = (f"SELECT '{name}' AS name, count(*) AS num FROM \"{name}\"" for name in tables())  # noqa: S608
        sql = " UNION ALL ".join(selects)
        return {row["name"]: row["num"] for row in self.rows(sql)}

    def views(self) -> list[dict[str, Any]]:
        """List the views, and the table macros for searches, that are meant for users' queries.

        Returns
        -------
        list of dict
            `name` and `comment` of each, views first.

        """
        return self.rows(f"({VIEWS} ORDER BY name) UNION ALL ({SEARCHES} ORDER BY name)")

    def _upsert_table(self, name: str, arrow: pa.Table) -> None:
        """Insert the rows, or update those whose key exists."""
        table = tables()[name]
        keys = ", ".join(f'"{key}"' for key in table.keys)
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        rest = [f'"{column.name}"' for column in table.columns if column.name not in table.keys]
        action = f"UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in rest)}" if rest else "NOTHING"
        self.connection.register("incoming", arrow)
        self.connection.execute(
            f'INSERT INTO "{name}" ({columns}) SELECT {columns} FROM incoming ON CONFLICT ({keys}) DO {action}'  # noqa: S608
        )
        self.connection.unregister("incoming")


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    """Convert DuckDB's errors for a full disk to DiskFullError, and those for a damaged file to CatalogError.

    A full disk is recognised by the operating system's text in the message.
    """
    try:
        yield
    except duckdb.Error as error:
        reason = next((text for text in map(os.strerror, DISK_FULL_ERRNOS) if text in str(error)), None)
        if reason is not None:
            message = f"{path} cannot be written ({reason}): make room and run again; rows written earlier are kept"
            raise DiskFullError(message) from error
        if _is_damage(error):
            raise _catalog_error(error, path) from error
        raise


def _is_damage(error: duckdb.Error) -> bool:
    """Check whether an error means that the file is damaged."""
    return isinstance(error, DAMAGE) or DAMAGE_TEXT in str(error)


def _catalog_error(error: duckdb.Error, path: Path) -> CatalogError:
    """Convert an error of DuckDB to a CatalogError whose message is one line."""
    words = str(error).strip().splitlines()[0]
    if _is_damage(error):
        return DamagedCatalogError(f"{path} is damaged: move it away and run again ({words})")
    return CatalogError(words)


def _bound(parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Convert the times among the parameters to UTC without a time zone, the form in which the catalog stores them."""
    if isinstance(parameters, Mapping):
        return {name: _without_zone(value) for name, value in parameters.items()}
    return [_without_zone(value) for value in parameters]


def _without_zone(value: Any) -> Any:
    """Convert a time with a time zone to UTC without a time zone; return other values unchanged."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


@contextmanager
def read_catalog(layout: Layout) -> Iterator[Catalog]:
    """Open the published snapshot read-only.

    Parameters
    ----------
    layout
        Folders of the profile.

    Yields
    ------
    Catalog
        The catalog, which is closed when the block ends.

    Notes
    -----
    Raises CatalogError as `open_catalog` does.

    """
    with closing(open_catalog(layout.root)) as catalog:
        yield catalog


def open_catalog(place: str | Path) -> Catalog:
    """Open the published snapshot of a profile read-only.

    Parameters
    ----------
    place
        Folder of the profile, such as `data/demo`.

    Returns
    -------
    Catalog
        The catalog. It shows the state of now, also while a flow writes. `close` closes it.

    Raises
    ------
    CatalogError
        There is no catalog yet, it is not a DuckDB file, or it has another schema version.

    """
    layout = Layout(Path(place))
    if not layout.catalog.is_file():
        raise CatalogError(f"no catalog at {layout.catalog}: run `hubbleclip dataset` first, or set --data")
    try:
        connection = duckdb.connect(str(layout.catalog), read_only=True, config=READER_LIMITS)
    except duckdb.Error as error:
        message = f"{layout.catalog} cannot be opened as a DuckDB file: move it away and run again ({error})"
        raise CatalogError(message) from error
    with ExitStack() as after_error:
        after_error.callback(connection.close)
        with _typed_errors(layout.catalog):
            is_old = bool(pending_migrations(connection))
        if is_old:
            raise CatalogError(f"{layout.catalog} was written by an older hubbleclip: run `hubbleclip migrate`")
        after_error.pop_all()
    return Catalog(connection, layout.catalog)


@contextmanager
def writing_catalog(
    layout: Layout, *, publish_every_s: float = PUBLISH_EVERY_S, memory_mb: int = MEMORY_MB, threads: int = THREADS
) -> Iterator[Catalog]:
    """Open the working copy for writing: lock it, migrate it, and publish it at intervals and at the end.

    Parameters
    ----------
    layout
        Folders of the profile.
    publish_every_s
        Minimum interval between two snapshots, in seconds. Snapshots are published only after transactions.
    memory_mb
        Memory limit of DuckDB in MiB; larger queries spill to temporary files.
    threads
        Threads of DuckDB.

    Yields
    ------
    Catalog
        The catalog, which is published and closed when the block ends, also after an error.

    Notes
    -----
    Raises CatalogLockedError while another process writes; the message names that process. The database is reopened
    every `REOPEN_EVERY` transactions, so that memory does not grow over hours.

    """
    keeper = _WorkingCopy(layout, publish_every_s, memory_mb, threads)
    with (
        catalog_lock(layout),
        closing(Catalog(keeper.connect(), layout.working_catalog, keeper.after_write)) as catalog,
    ):
        # These temporary files are from a killed process: no other process can be writing while this one has the lock.
        for orphan in layout.root.glob(f".{layout.catalog.stem}*.tmp"):
            orphan.unlink()
        if not layout.working_catalog.exists() and layout.catalog.exists():
            _copy(layout.catalog, layout.working_catalog)
        is_new = _is_newer(layout.working_catalog, layout.catalog)
        is_new |= _open_working(catalog.connection, layout)
        is_damaged = False
        try:
            yield catalog
        except DamagedCatalogError:
            is_damaged = True  # the snapshot is what the next run begins with
            raise
        finally:
            is_due = (catalog.changed or is_new) and not is_damaged
            with catalog.connection_lock:
                if is_due:
                    _count_tiles(catalog.connection, layout.working_catalog)
                _detach(catalog.connection, layout.working_catalog)
            if is_due:
                _copy(layout.working_catalog, layout.catalog)


def _is_newer(working: Path, published: Path) -> bool:
    """Return whether the working copy has unpublished rows, which is the case after a flow was killed."""
    if not published.exists() or _log_of(working).exists():
        return True
    return working.stat().st_mtime_ns > published.stat().st_mtime_ns


@dataclass(slots=True)
class _WorkingCopy:
    """Publishes and reopens the working copy between transactions."""

    layout: Layout
    publish_every_s: float
    memory_mb: int
    threads: int
    published: float = field(default_factory=time.monotonic)
    num_written: int = 0

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open an in-memory database. The caller attaches the working copy to it, so that the file can be closed and
        reopened.
        """
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self.memory_mb}MiB", "threads": self.threads, "checkpoint_threshold": CHECKPOINT_AT,
            "temp_directory": str(self.layout.spill),
        }  # fmt: skip
        return duckdb.connect(config=limits)

    def after_write(self, catalog: Catalog) -> None:
        """Publish a snapshot if it is due; reopen the working copy after a snapshot or `REOPEN_EVERY` transactions.

        Closing the file merges its write-ahead log into it. Only then can the file be copied.
        """
        self.num_written += 1
        is_due = time.monotonic() - self.published >= self.publish_every_s
        if not is_due and self.num_written < REOPEN_EVERY:
            return
        if is_due:
            _count_tiles(catalog.connection, self.layout.working_catalog)
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
    """Attach the working copy, back it up and migrate it if needed; return whether the migration changed it."""
    path = layout.working_catalog
    try:
        with _typed_errors(path):
            _attach(connection, path)
            steps = pending_migrations(connection)
            if steps and schema_version(connection):  # a new, empty file needs no backup
                _detach(connection, path)
                _back_up(layout, steps[0][0])
                _attach(connection, path)
            return migrate(connection)
    except duckdb.Error as error:
        raise CatalogError(f"{path} cannot be opened: move it away and run again ({error})") from error


def _back_up(layout: Layout, version: int) -> None:
    """Back up the closed working copy before it is migrated to `version` or later, and delete older backups."""
    backup = layout.catalog_backup(version)
    _copy(layout.working_catalog, backup)
    for old in set(layout.catalog_backups()) - {backup}:
        old.unlink()
    log.info("the catalog was backed up to %s before its migration", backup)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Open the file under the name `catalog` and make it the default database."""
    quoted = str(path).replace("'", "''")
    connection.execute(ATTACH.format(path=quoted, version=STORAGE_VERSION))
    connection.execute("USE catalog")


def _detach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Close the file. DuckDB then merges the write-ahead log into the file, which then is the whole catalog.

    Raises DiskFullError if the disk is full, and CatalogError if the log still exists afterwards.
    """
    with _typed_errors(path):
        connection.execute("USE memory")
        connection.execute("DETACH DATABASE IF EXISTS catalog")
    if _log_of(path).exists():
        raise CatalogError(f"the write-ahead log of {path} was not merged: make room and run again; no data is lost")


def _count_tiles(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Refresh the counts of a snapshot, so that `status` need not join tables of millions of rows."""
    with _typed_errors(path):
        connection.execute(f"BEGIN; {read_sql('count_tiles')}; COMMIT")


def _log_of(path: Path) -> Path:
    """Return the path of the write-ahead log that DuckDB keeps beside a database file."""
    return path.with_name(f"{path.name}.wal")


def _copy(source: Path, target: Path) -> None:
    """Replace a catalog file by a copy of another catalog file, which must be closed."""
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
        _log_of(target).unlink(missing_ok=True)  # a log left by a killed process does not belong to the new file


@contextmanager
def catalog_lock(layout: Layout) -> Iterator[None]:
    """Hold the exclusive lock that a process needs to write the catalog.

    Parameters
    ----------
    layout
        Folders of the profile.

    Yields
    ------
    None
        No value. The lock is held until the block ends, and the lock file names this process.

    Raises
    ------
    CatalogLockedError
        Another process holds the lock. The kernel releases the lock of a process that dies.
    CatalogError
        The file system does not support locks.
    DiskFullError
        The disk is full or read-only, now or when the block writes to it.

    """
    path = layout.lock
    # an error because of a full disk may be raised by any statement of the block, and when the file is closed
    with writing(path), _opened_lock(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"the catalog is being written by {_holder(file)}: wait for it or stop it"
            raise CatalogLockedError(message) from error
        except OSError as error:
            message = f"the file system of {path} does not support locks ({error.strerror}): set --data to a local disk"
            raise CatalogError(message) from error
        file.seek(0)
        file.truncate()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started_at": started}, file)
        file.flush()
        yield


@contextmanager
def _opened_lock(path: Path) -> Iterator[IO[str]]:
    """Open the lock file for reading and writing; the folder is created if it does not exist."""
    make_folder(path.parent)
    with path.open("a+", encoding="utf-8") as file:
        yield file


def _holder(file: IO[str]) -> str:
    """Describe the process that holds the lock, as recorded in the lock file."""
    file.seek(0)
    try:
        holder = json.load(file)
    except json.JSONDecodeError:  # the other process has not written its entry yet
        return "another process"
    return f"process {holder['pid']} on {holder['host']} since {holder['started_at']}"
