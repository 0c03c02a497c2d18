"""The check between two stages: rows that break a rule of their contract are left out, each with the rule's name; the
rest goes on.

Nothing is left hanging. What refers to a row that was left out goes with it; and the item that rows were made from (the
first reference of their table) is left out too when the batch has nothing else of it, so that it is not worked on again
night after night.
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
Item = tuple[str, tuple[Any, ...]]
"""A row by table and key."""
REPORTS = ("rejection", "attempt")
"""Tables that tell of failures: what they refer to is not in the catalog, and they cannot be rejected themselves."""
MAX_DETAIL = 500


class Fault(NamedTuple):
    """The rule that a row breaks, and the value that does."""

    rule: str
    detail: str


def reject_broken_rows(batch: Rows, stage: str, item: str, settings_digest: str) -> dict[str, list[Any]]:
    """`batch`, its rows that break their contract replaced by Rejections of `stage`, whose reason is
    `contract:<table>.<column>.<rule>`. `item` is the table of what the stage works on.

    Keys of `batch` that are no tables pass as they are. Raises ContractError where a table as a whole has another form.
    """
    passed = {name: list(rows) for name, rows in batch.items()}
    names = [name for name, rows in batch.items() if name in tables() and name not in REPORTS and len(rows)]
    division = _Division({name: batch[name] for name in names}, item)
    for name in names:
        division.faults.update(contract_violations(name, batch[name]))
    if not division.faults:
        return passed
    division.spread()
    now = datetime.now(UTC)
    left_out = [
        Rejection(
            entity=table, entity_id="/".join(map(str, key)), stage=stage, reason=f"contract:{fault.rule}",
            detail=fault.detail[:MAX_DETAIL], settings_digest=settings_digest, rejected_at=now,
        )
        for (table, key), fault in division.faults.items()
    ]  # fmt: skip
    known = [*batch.get("rejection", ()), *left_out]
    rejections = {(item.entity, item.entity_id, item.stage): item for item in known}
    return {**passed, **division.kept(), "rejection": list(rejections.values())}


def whole(batch: Rows) -> Rows:
    """`batch` as it is, of rows that only together make sense, such as a dataset's. Raises ContractError where one
    breaks its contract.
    """
    for name, rows in batch.items():
        for (table, key), fault in contract_violations(name, rows).items():
            raise ContractError(f"table {table}, row {key}: breaks {fault.rule}: {fault.detail}")
    return batch


def contract_violations(table_name: str, rows: Sequence[Any]) -> dict[Item, Fault]:
    """The first rule that each row breaks, by the row's key."""
    table, typed = tables()[table_name], cast_rows(table_name, rows)
    faults: dict[Item, Fault] = {}
    for column in table.columns:
        for rule in column.rules:
            for index in rule.broken_rows(typed[column.name]):
                value = getattr(rows[index], column.name)
                fault = Fault(f"{table_name}.{column.name}.{rule.name}", f"{column.name} is {value!r}")
                faults.setdefault(_item(table_name, rows[index]), fault)
    return faults


@dataclass(slots=True)
class _Division:
    """Rows of a batch by table, and the faults of those, and of what stands behind them, that are left out."""

    rows: Rows
    item: str
    faults: dict[Item, Fault] = field(default_factory=dict)

    def spread(self) -> None:
        """Add what depends on faulty rows, until there is no more of it."""
        num = 0
        while len(self.faults) > num:
            num = len(self.faults)
            for found in [*self._dependants(), *self._bereft()]:
                self.faults.setdefault(*found)

    def kept(self) -> dict[str, list[Any]]:
        """The rows without a fault."""
        return {name: [row for row in rows if _item(name, row) not in self.faults] for name, rows in self.rows.items()}

    def _dependants(self) -> Iterator[tuple[Item, Fault]]:
        """Rows that refer to a row of this batch that is left out."""
        for name, rows in self.rows.items():
            for reference in tables()[name].references:
                parents = self.rows.get(reference.to_table, ())
                gone = {
                    _values(parent, reference.to_columns)
                    for parent in parents
                    if _item(reference.to_table, parent) in self.faults
                }
                rule = f"{name}.{'_'.join(reference.columns)}.in_{reference.to_table}"
                for row in rows if gone else ():
                    value = _values(row, reference.columns)
                    if value in gone:
                        yield _item(name, row), Fault(rule, f"{reference.to_table} {value} was left out")

    def _bereft(self) -> Iterator[tuple[Item, Fault]]:
        """Items, and rows of this batch, of which nothing is left."""
        for name, rows in self.rows.items():
            made_from = next(iter(tables()[name].references), None)
            if made_from and made_from.to_table in {self.item, *self.rows}:
                for item, faults in self._by_parent(name, rows, made_from).items():
                    if all(faults):
                        yield item, faults[0]

    def _by_parent(self, name: str, rows: Sequence[Any], made_from: Reference) -> dict[Item, list[Any]]:
        found: dict[Item, list[Any]] = defaultdict(list)
        for row in rows:
            parent = (made_from.to_table, _values(row, made_from.columns))
            found[parent].append(self.faults.get(_item(name, row)))
        return {item: faults for item, faults in found.items() if None not in item[1]}


def _item(table_name: str, row: Any) -> Item:
    return table_name, _values(row, tables()[table_name].keys)


def _values(row: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, column) for column in columns)
