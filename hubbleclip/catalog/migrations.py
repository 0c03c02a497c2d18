"""Migrate a catalog to the current schema. One transaction runs and records all pending migrations.

A migration is an SQL file `sql/migrations/NNNN_name.sql`. Until the first release is tagged, `0001` makes all tables
and is edited in place; a migration of a tagged release is never edited, because existing catalogs have run it.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from importlib.resources import files

import duckdb

from hubbleclip.core.errors import CatalogError

log = logging.getLogger(__name__)

MIGRATIONS = files("hubbleclip.catalog").joinpath("sql/migrations")
CREATE_MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)
"""
SELECT_VERSION = "SELECT coalesce(max(version), 0) FROM migration"
INSERT_MIGRATION = "INSERT INTO migration VALUES (?, ?, now() AT TIME ZONE 'UTC')"
SELECT_DEFINED = "SELECT comment FROM duckdb_tables() WHERE table_name = 'migration'"
# These scripts only define views, macros and the word index, so they may run repeatedly.
DEFINITIONS = ("schedule", "views", "searches", "word_search", "index_abstracts")


def read_migrations() -> list[tuple[int, str, str]]:
    """Read the version, name and SQL of every migration."""
    scripts = sorted((entry.name, entry) for entry in MIGRATIONS.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name[5:-4], entry.read_text(encoding="utf-8")) for name, entry in scripts]


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Read the schema version of a catalog; it is 0 for an empty file."""
    if not connection.execute(SELECT_DEFINED).fetchall():
        return 0
    ((version,),) = connection.execute(SELECT_VERSION).fetchall()
    return int(version)


def pending_migrations(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
    """List the migrations that a catalog has not run.

    Raises CatalogError if the catalog has run migrations that this release does not have.
    """
    steps, version = read_migrations(), schema_version(connection)
    newest = steps[-1][0]
    if version > newest:
        raise CatalogError(
            f"the catalog has schema version {version}, but this release supports at most {newest}: "
            "use the hubbleclip that wrote it, or set --data to a new folder"
        )
    return [step for step in steps if step[0] > version]


def read_sql(name: str) -> str:
    """Read a query or script of the package."""
    return files("hubbleclip.catalog").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


def migrate(connection: duckdb.DuckDBPyConnection) -> bool:
    """Run all pending migrations and redefine the views, in one transaction; return whether anything changed."""
    steps = pending_migrations(connection)
    texts = [read_sql(name) for name in DEFINITIONS]
    # The definitions run again if this hash differs from the hash in the comment on the table `migration`.
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
        with suppress(duckdb.Error):  # after a failed commit there is nothing to roll back
            connection.rollback()
        raise
    for version, name, _ in steps:
        log.debug("catalog migrated to version %d (%s)", version, name)
    return True
