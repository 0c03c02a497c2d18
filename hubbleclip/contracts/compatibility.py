"""What a change of a contract means for those who read and write by it, and which part of its version must rise.

A released contract is kept as a snapshot: its tables, columns and rules as plain JSON. Two snapshots are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

from open_data_contract_standard.model import OpenDataContractStandard

from hubbleclip.contracts.schema import Column, Table, contract_tables

Json = Mapping[str, Any]
Difference = tuple[str, "Change"]
"""What has changed, and what kind of change it is."""


class Change(IntEnum):
    """How much a change asks of readers and writers: nothing, a look at the words, nothing they must do, new code."""

    SAME = 0
    WORDING = 1
    ADDITIVE = 2
    BREAKING = 3


SAME_UNIT = {"MJD": "d"}
"""Units under other names: days that are counted from MJD 0."""
IS_TIGHTER: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda old, new: new > old,
    "exclusiveMinimum": lambda old, new: new > old,
    "minLength": lambda old, new: new > old,
    "minItems": lambda old, new: new > old,
    "maximum": lambda old, new: new < old,
    "exclusiveMaximum": lambda old, new: new < old,
    "maxLength": lambda old, new: new < old,
    "maxItems": lambda old, new: new < old,
    "validValues": lambda old, new: not set(old) <= set(new),
    "pattern": lambda old, new: True,
}
"""Whether a changed bound refuses values that were allowed; of two patterns that cannot be told."""


def snapshot(contract: OpenDataContractStandard) -> dict[str, Any]:
    """A contract as JSON: its name, version and tables."""
    tables = {table.name: _table(table) for table in contract_tables(contract)}
    return {"contract": contract.id, "version": contract.version, "tables": tables}


def _table(table: Table) -> dict[str, Any]:
    return {
        "description": table.description,
        "keys": list(table.keys),
        "columns": {column.name: _column(column) for column in table.columns},
        "rules": {rule.name: rule.sql for rule in table.row_rules()},
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "type": column.sql_type,
        "required": column.required,
        "unit": column.unit,
        "rules": {rule.name: _plain(rule.bound) for rule in column.rules},
        "description": column.description,
        "sources": list(column.sources),
    }


def _plain(bound: Any) -> Any:
    return list(bound) if isinstance(bound, tuple) else bound


def compare(old: Json, new: Json) -> Change:
    """The gravest difference between two snapshots."""
    return max((change for _, change in differences(old, new)), default=Change.SAME)


def differences(old: Json, new: Json) -> Iterator[Difference]:
    """Every difference, by its place. Columns and keys may neither go nor change; a rule may come, go or loosen, but a
    bound that stands may not tighten.
    """
    for name, before, after in _pairs(old["tables"], new["tables"]):
        if before is None or after is None:
            yield name, Change.ADDITIVE if before is None else Change.BREAKING
            continue
        if before["keys"] != after["keys"]:
            yield f"{name}: key", Change.BREAKING
        if before["description"] != after["description"]:
            yield f"{name}: description", Change.WORDING
        for column, was, now in _pairs(before["columns"], after["columns"]):
            yield from _column_differences(f"{name}.{column}", was, now)
        for rule, was, now in _pairs(before["rules"], after["rules"]):
            if was != now:
                yield f"{name}: rule {rule}", Change.ADDITIVE


def _column_differences(place: str, old: Json | None, new: Json | None) -> Iterator[Difference]:
    if new is None:
        yield f"{place} is gone", Change.BREAKING
    elif old is None:
        yield f"{place} is new", Change.BREAKING if new["required"] else Change.ADDITIVE
    else:
        for part in ("type", "required"):
            if old[part] != new[part]:
                yield f"{place}: {part}", Change.BREAKING
        if SAME_UNIT.get(old["unit"], old["unit"]) != SAME_UNIT.get(new["unit"], new["unit"]):
            yield f"{place}: unit", Change.BREAKING if old["unit"] else Change.WORDING
        for part in ("description", "sources"):
            if old[part] != new[part]:
                yield f"{place}: {part}", Change.WORDING
        for rule, was, now in _pairs(old["rules"], new["rules"]):
            if was != now:
                yield f"{place}: {rule}", Change.BREAKING if _is_tighter(rule, was, now) else Change.ADDITIVE


def _is_tighter(rule: str, old: Any, new: Any) -> bool:
    return old is not None and new is not None and IS_TIGHTER[rule.removeprefix("items.")](old, new)


def _pairs(old: Json, new: Json) -> Iterator[tuple[str, Any, Any]]:
    """Name, and what stands under it before and after, None where nothing does."""
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)


def is_sufficient_bump(old: str, new: str, change: Change) -> bool:
    """Whether a version rises enough over another: the major part for what breaks, the minor for what is added, the
    patch for words.
    """
    before, after = version_parts(old), version_parts(new)
    if change is Change.SAME:
        return before == after
    num_parts = {Change.BREAKING: 1, Change.ADDITIVE: 2, Change.WORDING: 3}[change]
    return after[:num_parts] > before[:num_parts]


def version_parts(version: str) -> tuple[int, ...]:
    """Major, minor, patch."""
    return tuple(int(part) for part in version.split("."))
