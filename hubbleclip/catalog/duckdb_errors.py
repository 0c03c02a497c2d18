"""Errors of DuckDB as the project's typed errors, whose messages are one line and say what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from hubbleclip.core.errors import CatalogError, DamagedCatalogError, machine_error

DAMAGE = duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException
"""Errors of DuckDB for a file whose content is damaged."""
DAMAGE_TEXT = "Corrupt database file"
"""Text of DuckDB's error for a block with a wrong checksum, which has no class of its own."""


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Raise DuckDB's errors in the block as MachineError or DamagedCatalogError; others are not changed."""
    try:
        yield
    except duckdb.Error as error:
        if failure := machine_error(error, path):
            raise failure from error
        if _is_damage(error):
            raise to_catalog_error(error, path) from error
        raise


def to_catalog_error(error: duckdb.Error, path: Path) -> CatalogError:
    """Convert an error of DuckDB to an error whose message is one line."""
    words = str(error).strip().splitlines()[0]
    if _is_damage(error):
        return DamagedCatalogError(f"{path} is damaged: move it away and run again ({words})")
    return CatalogError(words)


def _is_damage(error: duckdb.Error) -> bool:
    """Check whether an error means that the file is damaged."""
    return isinstance(error, DAMAGE) or DAMAGE_TEXT in str(error)
