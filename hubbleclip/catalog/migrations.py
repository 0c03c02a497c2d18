"""Steps that bring a catalog to the present schema; all that a catalog lacks are one transaction with their records.

A step is a frozen SQL file `sql/migrations/NNNN_name.sql`: once released it is never edited, since catalogs out there
have run it.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from importlib.resources import files

import duckdb

from hubbleclip.core.errors import CatalogError

log = logging.getLogger(__name__)

CREATE_MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)
"""
SELECT_VERSION = "SELECT coalesce(max(version), 0) FROM migration"
INSERT_MIGRATION = "INSERT INTO migration VALUES (?, ?, now() AT TIME ZONE 'UTC')"
SELECT_DEFINED = "SELECT comment FROM duckdb_tables() WHERE table_name = 'migration'"
DEFINITIONS = ("views", "searches", "index_abstracts")


def read_migrations() -> list[tuple[int, str, str]]:
    """(version, name, sql) of every step, in order."""
    folder = files("hubbleclip.catalog").joinpath("sql/migrations")
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
    newest = read_migrations()[-1][0]
    found = schema_version(connection)
    if found > newest:
        raise CatalogError(
            f"the catalog has schema version {found}, this hubbleclip knows {newest}: upgrade hubbleclip"
        )


def pending_migrations(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
    """The steps that a catalog has still to run. Raises CatalogError for a catalog of a newer hubbleclip."""
    check_version(connection)
    done = schema_version(connection)
    return [step for step in read_migrations() if step[0] > done]


def migrate(connection: duckdb.DuckDBPyConnection) -> bool:
    """Run every step that the catalog has not run and set the views anew, all in one transaction, so that a kill
    leaves the old catalog or the new one. False, and nothing is written, where the catalog stands as it should: a
    comment on the table of steps keeps the hash of the views' text.
    """
    steps = pending_migrations(connection)
    texts = [
        files("hubbleclip.catalog").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8") for name in DEFINITIONS
    ]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    if not steps and connection.execute(SELECT_DEFINED).fetchall() == [(digest,)]:
        return False
    connection.begin()
    try:
        connection.execute(CREATE_MIGRATION)
        for version, name, sql in steps:
            connection.execute(sql)
            connection.execute(INSERT_MIGRATION, [version, name])
        for text in texts:
            connection.execute(text)
        connection.execute(f"COMMENT ON TABLE migration IS '{digest}'")
        connection.commit()
    except duckdb.Error:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction, and its error is to be told
            connection.rollback()
        raise
    for version, name, _ in steps:
        log.debug("catalog migrated to version %d (%s)", version, name)
    return True
