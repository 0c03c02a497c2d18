"""The working copy of the catalog: one process writes it, and publishes copies as snapshots, which readers open."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from hubbleclip.catalog.catalog import Catalog, attach, typed_errors
from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.migrations import migrate, pending_migrations, read_sql, schema_version
from hubbleclip.core.errors import CatalogError, DamagedCatalogError
from hubbleclip.core.io import atomic_write
from hubbleclip.core.layout import Layout

log = logging.getLogger(__name__)

STORAGE_VERSION = "v1.2.0"
"""Version of the DuckDB file format. It is fixed, so that older DuckDB releases can read files that newer releases
write.
"""
HEADER_BYTES = 3 * 4096
"""Size of the headers of a DuckDB file; a shorter file has no rows."""
PUBLISH_EVERY_S = 300.0
MEMORY_MB, THREADS = 1024, 1
REOPEN_EVERY = 64
"""Number of transactions after which the file is reopened. Until the file is closed, DuckDB keeps in memory the pages
that it has read, and some KiB for each write.
"""
END_LOG = "CREATE OR REPLACE TABLE log_end (number INTEGER); DROP TABLE log_end"
"""SQL that changes no data, but adds a complete transaction to the write-ahead log. Without a complete transaction,
DuckDB does not merge the log of a killed process into the file.
"""
CHECKPOINT_AT = "4MiB"
"""Size of the write-ahead log at which DuckDB moves the log's rows to the database file. DuckDB also keeps the
rows of the log in memory.
"""


@contextmanager
def writing_catalog(
    layout: Layout, *, publish_every_s: float = PUBLISH_EVERY_S, memory_mb: int = MEMORY_MB
) -> Iterator[Catalog]:
    """Open the working copy for writing: lock it, migrate it, and publish it at intervals and at the end.

    Raises CatalogLockedError while another process writes; the message names that process.
    """
    keeper = _WorkingCopy(layout, publish_every_s, memory_mb)
    with (
        catalog_lock(layout),
        closing(Catalog(keeper.connect(), layout.working_catalog, keeper.after_write)) as catalog,
    ):
        # These temporary files are from a killed process: no other process can be writing while this one has the lock.
        for orphan in layout.root.glob(f".{layout.catalog.stem}*.tmp"):
            orphan.unlink()
        with suppress(FileNotFoundError):
            if layout.working_catalog.stat().st_size < HEADER_BYTES:  # the process that created the file was killed
                layout.working_catalog.unlink()
        if not layout.working_catalog.exists() and layout.catalog.exists():
            _copy(layout.catalog, layout.working_catalog)
        is_new = is_unpublished(layout)
        is_new |= _open_working(catalog.connection, layout)
        is_damaged = False
        try:
            yield catalog
        except DamagedCatalogError:
            is_damaged = True  # a damaged working copy is not published, so that the snapshot stays intact
            raise
        finally:
            is_due = (catalog.changed or is_new) and not is_damaged
            if is_due:
                _count_tiles(catalog.connection, layout.working_catalog)
            _detach(catalog.connection, layout.working_catalog)
            if is_due:
                _copy(layout.working_catalog, layout.catalog)


def is_unpublished(layout: Layout) -> bool:
    """Return whether the snapshot is missing or older than the working copy."""
    working, published = layout.working_catalog, layout.catalog
    if not published.exists() or _log_of(working).exists():
        return True
    return working.exists() and working.stat().st_mtime_ns > published.stat().st_mtime_ns


@dataclass(slots=True)
class _WorkingCopy:
    """Publishes and reopens the working copy between transactions."""

    layout: Layout
    publish_every_s: float
    memory_mb: int
    published: float = field(default_factory=time.monotonic)
    num_written: int = 0

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open an in-memory database, to which the working copy is then attached."""
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self.memory_mb}MiB",
            "threads": THREADS,
            "checkpoint_threshold": CHECKPOINT_AT,
            "temp_directory": str(self.layout.spill),
        }
        return duckdb.connect(config=limits)

    def after_write(self, catalog: Catalog) -> None:
        """Publish a snapshot if it is due; reopen the working copy after a snapshot or `REOPEN_EVERY` transactions."""
        self.num_written += 1
        is_due = time.monotonic() - self.published >= self.publish_every_s
        if not is_due and self.num_written < REOPEN_EVERY:
            return
        if is_due:
            _count_tiles(catalog.connection, self.layout.working_catalog)
        # The file is closed before it is copied, because closing merges the write-ahead log into the file.
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
        with typed_errors(path):
            _attach(connection, path)
            steps = pending_migrations(connection)
            if steps and schema_version(connection):  # a new, empty file needs no backup
                if _log_of(path).exists():
                    connection.execute(END_LOG)
                _detach(connection, path)
                _back_up(layout, steps[0][0])
                _attach(connection, path)
            return migrate(connection)
    except duckdb.Error as error:
        raise CatalogError(f"{path} cannot be opened: move it away and run again ({error})") from error


def _back_up(layout: Layout, version: int) -> None:
    """Back up the closed working copy before the migration with number `version`, and delete all other backups."""
    backup = layout.catalog_backup(version)
    _copy(layout.working_catalog, backup)
    for old in set(layout.catalog_backups()) - {backup}:
        old.unlink()
    log.info("the catalog was backed up to %s before its migration", backup)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Open the file under the name `catalog` and make it the default database."""
    attach(connection, path, f"STORAGE_VERSION '{STORAGE_VERSION}'")
    connection.execute("USE catalog")


def _detach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Close the file. DuckDB then merges the write-ahead log into the file.

    Raises DiskFullError if the disk is full, and CatalogError if the log still exists afterwards.
    """
    with typed_errors(path):
        connection.execute("USE memory")
        connection.execute("DETACH DATABASE IF EXISTS catalog")
    if _log_of(path).exists():
        raise CatalogError(f"the write-ahead log of {path} was not merged: make room and run again; no data is lost")


def _count_tiles(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Update the table `tile_count`, so that `hubbleclip status` need not join tables of millions of rows."""
    with typed_errors(path):
        connection.execute(f"BEGIN; {read_sql('count_tiles')}; COMMIT")


def _log_of(path: Path) -> Path:
    """Return the path of the write-ahead log that DuckDB keeps beside a database file."""
    return path.with_name(f"{path.name}.wal")


def _copy(source: Path, target: Path) -> None:
    """Replace the catalog file `target` by a copy of the catalog file `source`; `source` must be closed."""
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
        _log_of(target).unlink(missing_ok=True)  # a log left by a killed process does not belong to the new file
