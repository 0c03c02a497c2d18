"""Check a whole catalog against every rule of the contracts, and join the contracts for datacontract-cli."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from open_data_contract_standard.model import Server

from hubbleclip.contracts.schema import CONTRACT_NAMES, Table, read_contract, tables

Query = Callable[[str], pa.Table]
"""Function that runs SQL on the catalog and returns the rows."""


class RuleResult(NamedTuple):
    """Result of one rule: the number of rows in the table, and the number of rows that break the rule."""

    table: str
    rule: str
    num_rows: int
    num_broken: int


def check_rules(query: Query) -> Iterator[RuleResult]:
    """Check every rule of every table, with one column in memory at a time."""
    for table in tables().values():

        def read(column: str, name: str = table.name) -> pa.ChunkedArray:
            return query(f'SELECT "{column}" FROM "{name}"')[0]  # noqa: S608

        yield from check_columns(table, read)
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


def joined_contract(catalog: Path) -> str:
    """Join all contracts to one YAML text whose server is a catalog.

    One file is needed because datacontract-cli does not follow references from one file to another.
    """
    contracts = [read_contract(name) for name in CONTRACT_NAMES]
    database = str(catalog.resolve())
    server = Server.model_validate({"server": "local", "type": "duckdb", "database": database, "schema": "main"})
    schemas = [schema for contract in contracts for schema in contract.schema_ or ()]
    changes = {"id": "hubbleclip", "name": "Catalog", "servers": [server], "schema_": schemas}
    return contracts[0].model_copy(update=changes).to_yaml()
