"""Check a whole catalog against every rule of the contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from hubbleclip.contracts.schema import Table, tables

Query = Callable[[str], pa.Table]
"""Function that runs SQL on the catalog and returns the rows."""


class RuleResult(NamedTuple):
    """Result of one rule: the number of rows in the table, and the number of rows that break the rule."""

    table: str
    rule: str
    num_rows: int
    num_broken: int


def check_rules(query: Query) -> Iterator[RuleResult]:
    """Check every rule of every table.

    Only one column is held in memory at a time.
    """
    for table in tables().values():
        yield from check_columns(table, partial(_read, query, table.name))
        num_rows = query(f'SELECT count(*) FROM "{table.name}"')[0][0].as_py()  # noqa: S608
        for rule in table.row_rules():
            yield RuleResult(table.name, rule.name, num_rows, query(rule.sql)[0][0].as_py())


def check_columns(table: Table, read: Callable[[str], pa.ChunkedArray]) -> Iterator[RuleResult]:
    """Check the rules of each column of a table."""
    for column in table.columns:
        if column.rules:
            values = read(column.name)
            for rule in column.rules:
                name = f"{column.name}.{rule.name}"
                yield RuleResult(table.name, name, len(values), len(rule.broken_rows(values)))


def broken_rules(query: Query) -> list[RuleResult]:
    """List the rules that at least one row breaks."""
    return [result for result in check_rules(query) if result.num_broken]


def _read(query: Query, table_name: str, column_name: str) -> pa.ChunkedArray:
    """Read one column of a table."""
    return query(f'SELECT "{column_name}" FROM "{table_name}"')[0]  # noqa: S608
