"""Validate the rows that a stage writes. Rows that break their contract become Rejections.

A row that refers to a rejected row is rejected too, so that no dangling references remain. The first foreign key of a
table refers to the item that a row was produced from. If all rows that were produced from an item are rejected, the
item is rejected too, so that later runs do not process it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hubbleclip.contracts.schema import cast_rows, tables
from hubbleclip.core.errors import ContractError
from hubbleclip.core.records import Rejection

Rows = Mapping[str, Sequence[Any]]
"""Records by table name."""
RowKey = tuple[str, tuple[Any, ...]]
"""Identity of a row: table name and key values."""
FAILURE_TABLES = ("rejection", "attempt")
"""Tables of failed items. Their rows are not validated, because they may name items that are not in the catalog."""
MAX_DETAIL = 500
"""Maximum length of a Rejection's detail, in characters."""


class Violation(NamedTuple):
    """The rule that a row breaks, and the value that breaks it."""

    rule: str
    detail: str


def reject_broken_rows(batch: Rows, stage: str, item: str, settings_digest: str) -> dict[str, list[Any]]:
    """Replace the rows of a batch that break their contract by Rejections.

    Raises ContractError if a column is missing or a value cannot be cast to the column's type.
    """
    passed = {name: list(rows) for name, rows in batch.items()}
    names = [name for name, rows in batch.items() if name in tables() and name not in FAILURE_TABLES and len(rows)]
    partition = _Partition({name: batch[name] for name in names}, item)
    for name in names:
        partition.violations.update(contract_violations(name, batch[name]))
    if not partition.violations:
        return passed
    partition.propagate()
    now = datetime.now(UTC)
    rejected = [
        Rejection(
            entity=table,
            entity_id="/".join(map(str, key)),
            stage=stage,
            reason=f"contract:{violation.rule}",
            detail=violation.detail[:MAX_DETAIL],
            settings_digest=settings_digest,
            rejected_at=now,
        )
        for (table, key), violation in partition.violations.items()
    ]
    # One Rejection is kept per key. If the stage rejected the same item itself, the violation replaces that Rejection.
    known = [*batch.get("rejection", ()), *rejected]
    rejections = {(row.entity, row.entity_id, row.stage): row for row in known}
    return {**passed, **partition.valid_rows(), "rejection": list(rejections.values())}


def whole(batch: Rows) -> Rows:
    """Check rows that are usable only together, such as the rows of a dataset, and raise an error if one is invalid."""
    for name, rows in batch.items():
        for (table, key), violation in contract_violations(name, rows).items():
            raise ContractError(f"table {table}, row {key}: breaks {violation.rule}: {violation.detail}")
    return batch


def contract_violations(table_name: str, rows: Sequence[Any]) -> dict[RowKey, Violation]:
    """Check the column rules of a table."""
    table, typed = tables()[table_name], cast_rows(table_name, rows)
    violations: dict[RowKey, Violation] = {}
    for column in table.columns:
        for rule in column.rules:
            for index in rule.broken_rows(typed[column.name]):
                value = getattr(rows[index], column.name)
                violation = Violation(f"{table_name}.{column.name}.{rule.name}", f"{column.name} is {value!r}")
                violations.setdefault(_row_key(table_name, rows[index]), violation)
    return violations


@dataclass(slots=True)
class _Partition:
    """Division of a batch into valid and invalid rows. `violations` may also contain items outside the batch."""

    rows: Rows
    item: str
    violations: dict[RowKey, Violation] = field(default_factory=dict)

    def propagate(self) -> None:
        """Reject the rows and items that depend on rejected rows, until no further rows or items are found."""
        num = 0
        while len(self.violations) > num:
            num = len(self.violations)
            for key, violation in [*self._dependants(), *self._emptied_parents()]:
                self.violations.setdefault(key, violation)

    def valid_rows(self) -> dict[str, list[Any]]:
        """Return the rows without a violation, by table name."""
        return {
            name: [row for row in rows if _row_key(name, row) not in self.violations]
            for name, rows in self.rows.items()
        }

    def _dependants(self) -> Iterator[tuple[RowKey, Violation]]:
        """Yield the rows that refer to a rejected row of this batch."""
        for name, rows in self.rows.items():
            for reference in tables()[name].references:
                parents = self.rows.get(reference.to_table, ())
                rejected = {
                    _values(parent, reference.to_columns)
                    for parent in parents
                    if _row_key(reference.to_table, parent) in self.violations
                }
                rule = f"{name}.{'_'.join(reference.columns)}.in_{reference.to_table}"
                for row in rows if rejected else ():
                    value = _values(row, reference.columns)
                    if value in rejected:
                        yield _row_key(name, row), Violation(rule, f"{reference.to_table} {value} was rejected")

    def _emptied_parents(self) -> Iterator[tuple[RowKey, Violation]]:
        """Yield the items and rows whose dependent rows are all rejected, with the violation of the first such row."""
        for name, rows in self.rows.items():
            origin = next(iter(tables()[name].references), None)
            if origin is None or origin.to_table not in {self.item, *self.rows}:
                continue
            by_parent: dict[RowKey, list[Violation | None]] = defaultdict(list)
            for row in rows:
                parent = (origin.to_table, _values(row, origin.columns))
                by_parent[parent].append(self.violations.get(_row_key(name, row)))
            for parent, (first, *others) in by_parent.items():
                if first is not None and None not in others:
                    yield parent, first


def _row_key(table_name: str, row: Any) -> RowKey:
    """Return the table name and key values of a row, which identify it."""
    return table_name, _values(row, tables()[table_name].keys)


def _values(row: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of several columns of a row."""
    return tuple(getattr(row, column) for column in columns)
