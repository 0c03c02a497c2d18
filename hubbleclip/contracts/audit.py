"""Every rule of the contracts on a whole catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from hubbleclip.contracts.schema import Table, tables

Query = Callable[[str], pa.Table]
"""Asks the catalog: SQL to rows."""


class Checked(NamedTuple):
    """One rule, the rows of its table, and how many of them break it."""

    table: str
    rule: str
    num_rows: int
    num_broken: int


def check_rules(query: Query) -> Iterator[Checked]:
    """The outcome of every rule, in the order of the contracts. One column at a time is read into memory."""
    for table in tables().values():
        yield from check_columns(table, partial(_read, query, table.name))
        num_rows = query(f'SELECT count(*) FROM "{table.name}"')[0][0].as_py()  # noqa: S608
        for rule in table.row_rules():
            yield Checked(table.name, rule.name, num_rows, query(rule.sql)[0][0].as_py())


def check_columns(table: Table, read: Callable[[str], pa.ChunkedArray]) -> Iterator[Checked]:
    """The outcome of the rules of each column of a table; `read` gives a column's values by its name."""
    for column in table.columns:
        if column.rules:
            values = read(column.name)
            for rule in column.rules:
                name = f"{column.name}.{rule.name}"
                yield Checked(table.name, name, len(values), len(rule.broken_rows(values)))


def broken_rules(query: Query) -> list[Checked]:
    """The rules that do not hold."""
    return [checked for checked in check_rules(query) if checked.num_broken]


def _read(query: Query, table_name: str, column_name: str) -> pa.ChunkedArray:
    return query(f'SELECT "{column_name}" FROM "{table_name}"')[0]  # noqa: S608
