"""Steps that bring a catalog to the present schema; a step and its record are one transaction.

A step is a frozen SQL file `sql/migrations/NNNN_name.sql`: once released it is never edited, since catalogs out there
have run it.
"""

from __future__ import annotations

import logging
from importlib.resources import files

import duckdb

from hubbleclip.errors import CatalogError

log = logging.getLogger(__name__)

CREATE_MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)
"""
SELECT_VERSION = "SELECT coalesce(max(version), 0) FROM migration"
INSERT_MIGRATION = "INSERT INTO migration VALUES (?, ?, now()::TIMESTAMP)"


def read_steps() -> list[tuple[int, str, str]]:
    """(version, name, sql) of every step, in order."""
    folder = files("hubbleclip").joinpath("sql/migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name[5:-4], folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The newest step that a catalog has run; 0 for an empty file."""
    if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'migration'").fetchall():
        return 0
    ((version,),) = connection.execute(SELECT_VERSION).fetchall()
    return int(version)


def check_version(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise CatalogError when the catalog was written by a newer hubbleclip."""
    newest = read_steps()[-1][0]
    found = schema_version(connection)
    if found > newest:
        raise CatalogError(
            f"the catalog has schema version {found}, this hubbleclip knows {newest}: upgrade hubbleclip"
        )


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Run every step that the catalog has not run, then set the views anew."""
    check_version(connection)
    connection.execute(CREATE_MIGRATION)
    done = schema_version(connection)
    for version, name, sql in read_steps():
        if version > done:
            connection.begin()
            connection.execute(sql)
            connection.execute(INSERT_MIGRATION, [version, name])
            connection.commit()
            log.debug("catalog migrated to version %d (%s)", version, name)
    connection.execute(files("hubbleclip").joinpath("sql/views.sql").read_text(encoding="utf-8"))
