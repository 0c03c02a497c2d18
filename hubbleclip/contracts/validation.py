"""Check rows against the contracts: the rows that a stage writes, and all rows of a catalog.

A row of a stage that breaks its contract is replaced by a Rejection.

A row that refers to a rejected row is rejected too, so that no dangling references remain. The first foreign key of a
table refers to the item that a row was produced from. If all rows that were produced from an item are rejected, the
item is rejected too, so that later runs do not process it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from open_data_contract_standard.model import Server

from hubbleclip.contracts.schema import CONTRACT_NAMES, Table, cast_rows, read_contract, tables
from hubbleclip.core.errors import ContractError
from hubbleclip.core.records import reject

Rows = Mapping[str, Sequence[Any]]
"""Records by table name."""
RowKey = tuple[str, tuple[Any, ...]]
"""Identity of a row: table name and key values."""
Query = Callable[[str], pa.Table]
"""Function that runs SQL on the catalog and returns the rows."""
FAILURE_TABLES = ("rejection", "attempt")
"""Tables of failed items. Their rows are not validated, because they may name items that are not in the catalog."""


class Violation(NamedTuple):
    """The rule that a row breaks, and the value that breaks it."""

    rule: str
    detail: str


def reject_broken_rows(batch: Rows, stage: str, item: str, settings_digest: str) -> dict[str, list[Any]]:
    """Replace each row of a batch that breaks its contract with a Rejection.

    Raises ContractError if a column is missing or a value cannot be cast to the column's type.
    """
    passed = {name: list(rows) for name, rows in batch.items()}
    names = [name for name, rows in batch.items() if name in tables() and name not in FAILURE_TABLES and len(rows)]
    violations: dict[RowKey, Violation] = {}
    for name in names:
        violations |= contract_violations(name, batch[name])
    if not violations:
        return passed
    _propagate({name: batch[name] for name in names}, item, violations)
    for name in names:
        passed[name] = [row for row in passed[name] if _row_key(name, row) not in violations]
    rejected = []
    for (table, key), violation in violations.items():
        about = {"reason": f"contract:{violation.rule}", "detail": violation.detail, "settings_digest": settings_digest}
        rejected.append(reject(table, "/".join(map(str, key)), stage, **about))
    # At most one Rejection per item is kept. A Rejection for a broken contract replaces a Rejection by the stage.
    known = [*batch.get("rejection", ()), *rejected]
    rejections = {(row.entity, row.entity_id, row.stage): row for row in known}
    return {**passed, "rejection": list(rejections.values())}


def whole(batch: Rows) -> Rows:
    """Return the rows unchanged if all of them are valid; raise ContractError otherwise."""
    for name, rows in batch.items():
        for (table, key), violation in contract_violations(name, rows).items():
            raise ContractError(f"table {table}, row {key}: breaks {violation.rule}: {violation.detail}")
    return batch


def contract_violations(table_name: str, rows: Sequence[Any]) -> dict[RowKey, Violation]:
    """Find the rows that break a column rule of their table, each with the first rule that it breaks."""
    table, typed = tables()[table_name], cast_rows(table_name, rows)
    violations: dict[RowKey, Violation] = {}
    for column in table.columns:
        for rule in column.rules:
            for index in rule.broken_rows(typed[column.name]):
                value = getattr(rows[index], column.name)
                violation = Violation(f"{table_name}.{column.name}.{rule.name}", f"{column.name} is {value!r}")
                violations.setdefault(_row_key(table_name, rows[index]), violation)
    return violations


def _propagate(rows: Rows, item: str, violations: dict[RowKey, Violation]) -> None:
    """Add to `violations` the rows that refer to rejected rows, and the parents whose dependent rows are all rejected.

    This is repeated until nothing is added.
    """
    num = 0
    while len(violations) > num:
        num = len(violations)
        for key, violation in [*_dependants(rows, violations), *_emptied_parents(rows, item, violations)]:
            violations.setdefault(key, violation)


def _dependants(rows: Rows, violations: Mapping[RowKey, Violation]) -> Iterator[tuple[RowKey, Violation]]:
    """Yield the rows that refer to a rejected row of the batch."""
    for name, children in rows.items():
        for reference in tables()[name].references:
            rejected = {
                _values(parent, reference.to_columns)
                for parent in rows.get(reference.to_table, ())
                if _row_key(reference.to_table, parent) in violations
            }
            rule = f"{name}.{'_'.join(reference.columns)}.in_{reference.to_table}"
            for row in children if rejected else ():
                value = _values(row, reference.columns)
                if value in rejected:
                    yield _row_key(name, row), Violation(rule, f"{reference.to_table} {value} was rejected")


def _emptied_parents(
    rows: Rows, item: str, violations: Mapping[RowKey, Violation]
) -> Iterator[tuple[RowKey, Violation]]:
    """Yield each item or row whose dependent rows are all rejected, with the violation of its first dependent row."""
    for name, children in rows.items():
        origin = next(iter(tables()[name].references), None)
        if origin is None or origin.to_table not in {item, *rows}:
            continue
        by_parent: dict[RowKey, list[Violation | None]] = defaultdict(list)
        for row in children:
            if None not in (values := _values(row, origin.columns)):  # a null refers to nothing
                by_parent[origin.to_table, values].append(violations.get(_row_key(name, row)))
        for parent, (first, *others) in by_parent.items():
            if first is not None and None not in others:
                yield parent, first


def _row_key(table_name: str, row: Any) -> RowKey:
    """Return the table name and key values of a row, which identify it."""
    return table_name, _values(row, tables()[table_name].keys)


def _values(row: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of several columns of a row."""
    return tuple(getattr(row, column) for column in columns)


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
    """Join all contracts into one YAML text; the text names a catalog file as the database to check.

    One file is needed because datacontract-cli does not follow references from one file to another.
    """
    contracts = [read_contract(name) for name in CONTRACT_NAMES]
    database = str(catalog.resolve())
    server = Server.model_validate({"server": "local", "type": "duckdb", "database": database, "schema": "main"})
    schemas = [schema for contract in contracts for schema in contract.schema_ or ()]
    changes = {"id": "hubbleclip", "name": "Catalog", "servers": [server], "schema_": schemas}
    return contracts[0].model_copy(update=changes).to_yaml()
