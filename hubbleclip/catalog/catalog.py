"""The catalog is one DuckDB file with all metadata. One process at a time writes it; readers open a published snapshot.

A DuckDB file can be opened by one writer or by many readers, but not by both. A flow therefore locks and writes a
separate working copy; see `hubbleclip.catalog.working_copy`. Every few minutes, and when the flow ends, a copy of the
working copy replaces `catalog.duckdb` by an atomic rename. `catalog.duckdb` can be read at any time, and both files
stay intact if the flow is killed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from hubbleclip.catalog.migrations import pending_migrations, read_sql
from hubbleclip.contracts.schema import tables, to_arrow
from hubbleclip.core.errors import CatalogError, DamagedCatalogError, machine_error
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Record

WORD_SOURCES = {"proposal": "forget_abstracts", "abstract_summary": "forget_summaries"}
"""Tables whose texts are in the word index, with the script that removes the words of changed rows from the index."""
READER_LIMITS: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "2GiB"}
"""Memory limit of a reader. DuckDB spills larger data to disk. All readers of a process must have the same limit."""
READER_S = 120.0
"""Time limit of a reader's query in seconds; a catalog from another person may have a view whose query never ends."""
VIEWS = "SELECT view_name AS name, comment FROM duckdb_views() WHERE NOT internal"
# Parametrised searches are table macros, such as `search_abstracts(text)`.
SEARCHES = """
SELECT function_name AS name, comment FROM duckdb_functions()
WHERE NOT internal AND function_type = 'table_macro'
"""

DAMAGE = duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException
"""Errors of DuckDB for a file whose content is damaged."""
DAMAGE_TEXT = "Corrupt database file"
"""Text by which DuckDB's error for a block with a wrong checksum is recognised; the error has no class of its own."""


class Catalog:
    """An open catalog, created by `read_catalog` and `writing_catalog`.

    Parameters
    ----------
    connection
        DuckDB connection whose default database is the catalog.
    path
        File of the catalog. Error messages contain this path.
    after_write
        Function that is called with the catalog after every transaction, and that may replace the connection.
    max_s
        Time after which a query is interrupted, in seconds.

    Attributes
    ----------
    changed : bool
        Whether anything was written since the catalog was opened.

    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        after_write: Callable[[Catalog], None] = lambda _: None,
        max_s: float = math.inf,
    ) -> None:
        self.connection = connection
        self.max_s = max_s
        self.path = path
        self.changed = False
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
        timer = threading.Timer(self.max_s, self.connection.interrupt)
        try:
            if self.max_s < math.inf:
                timer.start()
            relation = self.connection.sql(sql, params=_bound(parameters) or None)
            return pa.table({}) if relation is None else relation.to_arrow_table()
        except duckdb.InterruptException as error:
            advice = "narrow the query, or move the file away if another program changed its views"
            raise CatalogError(f"a query of {self.path} took more than {self.max_s:g} s: {advice}") from error
        except duckdb.Error as error:
            raise to_catalog_error(error, self.path) from error
        finally:
            timer.cancel()

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
        return list(self.query(sql, parameters).to_pylist())

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
                self.connection.register("incoming", arrow)
                self.connection.execute(f'INSERT OR REPLACE INTO "{name}" BY NAME FROM incoming')
                self.connection.unregister("incoming")
            changed = [table for table in WORD_SOURCES if table in arrows]
            for table in changed:  # keep the word index of the abstracts up to date
                self.run(WORD_SOURCES[table], {table: arrows[table]})
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
        with typed_errors(self.path):
            self.connection.begin()
            self._is_writing = True
            try:
                yield
                self.connection.commit()
            finally:
                self._is_writing = False
                with suppress(duckdb.Error):  # after a commit, even a failed one, there is nothing to roll back
                    self.connection.rollback()
        self.changed = True
        self._after_write(self)

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
            # DuckDB refuses unused parameters, so each statement gets only the parameters that its text contains.
            for statement in self.connection.extract_statements(read_sql(name)):
                self.connection.execute(statement, {key: bound[key] for key in statement.named_parameters})

    def changed_rows(self, name: str, rows: Sequence[Record]) -> pa.Table:
        """Select the rows that are new or differ from the row with the same key in the catalog.

        Parameters
        ----------
        name
            Name of a table.
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


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Convert DuckDB's errors in a `with` block to MachineError or DamagedCatalogError; do not change other errors."""
    try:
        yield
    except duckdb.Error as error:
        if failure := machine_error(error, path):
            raise failure from error
        if _is_damage(error):
            raise to_catalog_error(error, path) from error
        raise


def to_catalog_error(error: duckdb.Error, path: Path) -> CatalogError:
    """Convert an error of DuckDB to a CatalogError with a one-line message."""
    words = str(error).strip().splitlines()[0]
    if _is_damage(error):
        return DamagedCatalogError(f"{path} is damaged: move it away and run again ({words})")
    return CatalogError(words)


def _is_damage(error: duckdb.Error) -> bool:
    """Check whether an error means that the file is damaged."""
    return isinstance(error, DAMAGE) or DAMAGE_TEXT in str(error)


def _bound(parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Convert the times among the parameters to UTC without a time zone, the form in which the catalog stores them."""
    if isinstance(parameters, Mapping):
        return {name: _without_zone(value) for name, value in parameters.items()}
    return [_without_zone(value) for value in parameters]


def _without_zone(value: Any) -> Any:
    """Convert a time with a time zone to UTC without a time zone; return other values unchanged."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def attach(connection: duckdb.DuckDBPyConnection, path: Path, options: str) -> None:
    """Attach a file of the catalog to a connection under the name `catalog`."""
    quoted = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS catalog ({options})")


def read_catalog(layout: Layout) -> closing[Catalog]:
    """Open the published snapshot read-only for a `with` block; raises CatalogError like `open_catalog`."""
    return closing(open_catalog(layout.root))


def open_catalog(place: str | Path, *, max_s: float = READER_S) -> Catalog:
    """Open the published snapshot of a profile read-only.

    Parameters
    ----------
    place
        Folder of the profile, such as `data/demo`.
    max_s
        Time after which a query is interrupted, in seconds.

    Returns
    -------
    Catalog
        The last published snapshot, which later writes do not change. Call `close` after use.

    Raises
    ------
    CatalogError
        The file does not exist, is not a DuckDB file, or does not have the current schema version.

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
        with typed_errors(layout.catalog):
            if pending_migrations(connection):
                advice = "run `hubbleclip tiles`, which migrates it"
                raise CatalogError(f"{layout.catalog} was written by an older hubbleclip: {advice}")
        after_error.pop_all()
    return Catalog(connection, layout.catalog, max_s=max_s)
