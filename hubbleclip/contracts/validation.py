"""Validation of the rows that one stage hands to the next: rows that break their contract become Rejections.

No dangling references remain. A row that refers to a rejected row is rejected too. The item that rows were produced
from (the first reference of their table) is rejected too when no valid row of it is left in the batch, so that it is
not processed again by every run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hubbleclip.contracts.schema import Reference, cast_rows, tables
from hubbleclip.core.errors import ContractError
from hubbleclip.core.records import Rejection

Rows = Mapping[str, Sequence[Any]]
"""Records by table name."""
RowKey = tuple[str, tuple[Any, ...]]
"""Identity of a row: table name and key values."""
FAILURE_TABLES = ("rejection", "attempt")
"""Tables of failures: what they refer to is not in the catalog, and they cannot be rejected themselves."""
MAX_DETAIL = 500
"""Longest detail of a Rejection, in characters."""


class Violation(NamedTuple):
    """The rule that a row breaks, and the value that breaks it."""

    rule: str
    detail: str


def reject_broken_rows(batch: Rows, stage: str, item: str, settings_digest: str) -> dict[str, list[Any]]:
    """Replace the rows of a batch that break their contract by Rejections.

    Parameters
    ----------
    batch
        Records by table name; entries under other names pass unchanged.
    stage
        Stage of the Rejections.
    item
        Table of the items that the stage processes.
    settings_digest
        Settings that the Rejections depend on: other settings make the rows pending again.

    Returns
    -------
    dict
        The batch with valid rows only, and under `rejection` also the new Rejections, whose reason is
        `contract:<table>.<column>.<rule>`.

    Notes
    -----
    Raises ContractError where a whole column has a wrong type.

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
            entity=table, entity_id="/".join(map(str, key)), stage=stage, reason=f"contract:{violation.rule}",
            detail=violation.detail[:MAX_DETAIL], settings_digest=settings_digest, rejected_at=now,
        )
        for (table, key), violation in partition.violations.items()
    ]  # fmt: skip
    # Keyed as the table is: where the stage rejected the same item itself, the violation wins.
    known = [*batch.get("rejection", ()), *rejected]
    rejections = {(row.entity, row.entity_id, row.stage): row for row in known}
    return {**passed, **partition.valid_rows(), "rejection": list(rejections.values())}


def whole(batch: Rows) -> Rows:
    """Check rows that are only usable together, such as those of a dataset.

    Parameters
    ----------
    batch
        Records by table name.

    Returns
    -------
    Mapping
        The same batch.

    Raises
    ------
    ContractError
        When any row breaks its contract.

    """
    for name, rows in batch.items():
        for (table, key), violation in contract_violations(name, rows).items():
            raise ContractError(f"table {table}, row {key}: breaks {violation.rule}: {violation.detail}")
    return batch


def contract_violations(table_name: str, rows: Sequence[Any]) -> dict[RowKey, Violation]:
    """Check the column rules of a table.

    Parameters
    ----------
    table_name
        A table of the contracts.
    rows
        Its records.

    Returns
    -------
    dict
        The first rule that each invalid row breaks, by the row's key.

    """
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
    """Division of a batch into valid and invalid rows. `violations` also names items outside the batch."""

    rows: Rows
    item: str
    violations: dict[RowKey, Violation] = field(default_factory=dict)

    def propagate(self) -> None:
        """Reject what depends on rejected rows, until a fixed point."""
        num = 0
        while len(self.violations) > num:
            num = len(self.violations)
            for key, violation in [*self._dependants(), *self._emptied_parents()]:
                self.violations.setdefault(key, violation)

    def valid_rows(self) -> dict[str, list[Any]]:
        """Rows without a violation, by table."""
        return {
            name: [row for row in rows if _row_key(name, row) not in self.violations]
            for name, rows in self.rows.items()
        }

    def _dependants(self) -> Iterator[tuple[RowKey, Violation]]:
        """Rows that refer to a rejected row of this batch."""
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
        """Items, and rows of this batch, all of whose rows are rejected; with the violation of the first."""
        for name, rows in self.rows.items():
            origin = next(iter(tables()[name].references), None)
            if origin and origin.to_table in {self.item, *self.rows}:
                for parent, violations in self._violations_by_parent(name, rows, origin).items():
                    yield parent, violations[0]

    def _violations_by_parent(self, name: str, rows: Sequence[Any], origin: Reference) -> dict[RowKey, list[Violation]]:
        """Violations of the rows of each parent, without parents that have a valid row."""
        by_parent: dict[RowKey, list[Violation | None]] = defaultdict(list)
        for row in rows:
            parent = (origin.to_table, _values(row, origin.columns))
            by_parent[parent].append(self.violations.get(_row_key(name, row)))
        return {
            parent: [one for one in violations if one is not None]
            for parent, violations in by_parent.items()
            if None not in violations
        }


def _row_key(table_name: str, row: Any) -> RowKey:
    """Identity of a row."""
    return table_name, _values(row, tables()[table_name].keys)


def _values(row: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    """Values of several columns of a row."""
    return tuple(getattr(row, column) for column in columns)
