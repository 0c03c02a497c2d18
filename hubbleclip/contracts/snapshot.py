"""Describe a version of a contract as plain JSON: its tables, columns and rules.

Each released version of a contract has such a snapshot in `tests/contracts/released`. The tests compare the
contracts with their snapshots, and check that the version number is raised as much as the changes require.
"""

from __future__ import annotations

from typing import Any

from open_data_contract_standard.model import OpenDataContractStandard

from hubbleclip.contracts.schema import Column, Table, contract_tables


def snapshot(contract: OpenDataContractStandard) -> dict[str, Any]:
    """Describe a contract as JSON."""
    tables = {table.name: _table(table) for table in contract_tables(contract)}
    return {"contract": contract.id, "version": contract.version, "tables": tables}


def _table(table: Table) -> dict[str, Any]:
    """Describe a table of a contract as JSON."""
    return {
        "description": table.description,
        "keys": list(table.keys),
        "columns": {column.name: _column(column) for column in table.columns},
        "rules": {rule.name: rule.sql for rule in table.row_rules()},
    }


def _column(column: Column) -> dict[str, Any]:
    """Describe a column as JSON."""
    return {
        "type": column.sql_type,
        "required": column.required,
        "unit": column.unit,
        "rules": {rule.name: _plain(rule.bound) for rule in column.rules},
        "description": column.description,
        "sources": list(column.sources),
    }


def _plain(bound: Any) -> Any:
    """Convert a tuple to a list, because a JSON array is read back as a list."""
    return list(bound) if isinstance(bound, tuple) else bound
