"""The catalog: one DuckDB file with every fact. One writer at a time; readers see a published snapshot.

The flow writes its own working copy under a lock; when it ends, the copy is published by an atomic rename. So people
and pages read `catalog.duckdb` at any time, and a killed flow leaves both files good.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from hubbleclip.contracts import tables, to_arrow
from hubbleclip.errors import CatalogError, CatalogLockedError
from hubbleclip.files import replacing
from hubbleclip.migrations import check_version, migrate
from hubbleclip.paths import Layout
from hubbleclip.records import Record

log = logging.getLogger(__name__)

STORAGE_VERSION = "v1.2.0"
ATTACH = "ATTACH '{path}' AS catalog (STORAGE_VERSION '{version}')"


class Catalog:
    """An open catalog. Made by `read_catalog` and `writing_catalog`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.changed = False
        self._is_writing = False

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

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing; one that is opened inside another is part of it."""
        if self._is_writing:
            yield
            return
        self.connection.begin()
        self._is_writing = True
        with ExitStack() as undo:
            undo.callback(setattr, self, "_is_writing", False)
            undo.push(self._end)
            yield
        self.changed = True

    def _end(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.connection.commit()
        else:
            self.connection.rollback()

    def run(self, name: str, incoming: Mapping[str, Sequence[Record]] | None = None, **parameters: Any) -> None:
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

    def broken_rules(self) -> list[tuple[str, str, int]]:
        """(table, rule, number of rows) of every contract rule that does not hold."""
        rules = [(table.name, rule) for table in tables().values() for rule in table.rules]
        checked = [(name, rule.name, self.query(rule.sql)[0][0].as_py()) for name, rule in rules]
        return [check for check in checked if check[2]]

    def _upsert_table(self, name: str, arrow: pa.Table) -> None:
        table = tables()[name]
        columns = [f'"{column.name}"' for column in table.columns]
        keys = {f'"{key}"' for key in table.keys}
        updates = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in keys)
        action = f"UPDATE SET {updates}" if updates else "NOTHING"
        listed = ", ".join(columns)
        self.connection.register("incoming", arrow)
        self.connection.execute(
            f'INSERT INTO "{name}" ({listed}) SELECT {listed} FROM incoming '  # noqa: S608
            f"ON CONFLICT ({', '.join(sorted(keys))}) DO {action}"
        )
        self.connection.unregister("incoming")


def _bound(parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Parameters as the catalog compares them: its times are UTC and carry no zone."""
    if isinstance(parameters, Mapping):
        return {name: _without_zone(value) for name, value in parameters.items()}
    return [_without_zone(value) for value in parameters]


def _without_zone(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def read_sql(name: str) -> str:
    """Text of `sql/<name>.sql`."""
    return files("hubbleclip").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


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
    try:
        check_version(connection)
        yield Catalog(connection)
    finally:
        connection.close()


@contextmanager
def writing_catalog(layout: Layout) -> Iterator[Catalog]:
    """The working copy, migrated, under the lock; published when the block ends, also by an error.

    Raises CatalogLockedError that names the holder when another process writes.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    with _locked(layout.lock):
        if not layout.working_catalog.exists() and layout.catalog.exists():
            _copy(layout.catalog, layout.working_catalog)
        connection = _open_working(layout.working_catalog)
        catalog = Catalog(connection)
        try:
            yield catalog
        finally:
            connection.close()
            if catalog.changed or not layout.catalog.exists():
                _copy(layout.working_catalog, layout.catalog)


def _open_working(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    try:
        quoted = str(path).replace("'", "''")
        connection.execute(ATTACH.format(path=quoted, version=STORAGE_VERSION))
        connection.execute("USE catalog")
        migrate(connection)
    except duckdb.Error as error:
        connection.close()
        raise CatalogError(f"{path} cannot be opened: move it away and run again ({error})") from error
    return connection


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel frees it when the holder dies, so a dead process never blocks."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"the catalog is being written by {_holder(file)}: wait for it or stop it"
            raise CatalogLockedError(message) from error
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
