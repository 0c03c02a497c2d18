"""Compare two versions of a contract, and say how far its version number must rise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

from open_data_contract_standard.model import OpenDataContractStandard

from hubbleclip.contracts.schema import Column, contract_tables


class Change(IntEnum):
    """Kinds of change, by their effect on readers and writers of the tables."""

    SAME = 0
    WORDING = 1  # descriptions only
    ADDITIVE = 2  # existing code still works
    BREAKING = 3  # readers or writers need new code


Difference = tuple[str, Change]
"""Name of the changed part, such as `tile.ra_deg: unit`, and the kind of the change."""
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
    "pattern": lambda old, new: True,  # two regular expressions cannot be compared
}
"""For each kind of rule, a function that returns whether the new bound refuses values that the old bound allowed."""


def differences(old: OpenDataContractStandard, new: OpenDataContractStandard) -> Iterator[Difference]:
    """List the differences between the tables of two versions of a contract."""
    for name, was, now in _pairs(_by_name(contract_tables(old)), _by_name(contract_tables(new))):
        if was is None or now is None:
            yield name, Change.ADDITIVE if was is None else Change.BREAKING
            continue
        if was.keys != now.keys:
            yield f"{name}: key", Change.BREAKING
        if was.description != now.description:
            yield f"{name}: description", Change.WORDING
        for column, before, after in _pairs(_by_name(was.columns), _by_name(now.columns)):
            yield from _column_differences(f"{name}.{column}", before, after)
        for rule, before, after in _pairs(_by_name(was.row_rules()), _by_name(now.row_rules())):
            if before != after:
                yield f"{name}: rule {rule}", Change.ADDITIVE


def _column_differences(place: str, old: Column | None, new: Column | None) -> Iterator[Difference]:
    if new is None:
        yield f"{place} is removed", Change.BREAKING
    elif old is None:
        yield f"{place} is new", Change.BREAKING if new.required else Change.ADDITIVE
    else:
        if (old.sql_type, old.required) != (new.sql_type, new.required):
            yield f"{place}: type or null", Change.BREAKING
        if old.unit != new.unit:
            # Stating a unit for the first time only documents the values.
            yield f"{place}: unit", Change.BREAKING if old.unit else Change.WORDING
        if (old.description, old.sources) != (new.description, new.sources):
            yield f"{place}: description or source", Change.WORDING
        bounds = ({rule.name: rule.bound for rule in column.rules} for column in (old, new))
        for rule, was, now in _pairs(*bounds):
            if was != now:
                yield f"{place}: {rule}", Change.BREAKING if _is_tighter(rule, was, now) else Change.ADDITIVE


def _is_tighter(rule: str, old: Any, new: Any) -> bool:
    """Return whether both versions have the bound and the new one refuses values that the old one allowed."""
    return old is not None and new is not None and IS_TIGHTER[rule.removeprefix("items.")](old, new)


def _by_name(parts: Any) -> dict[str, Any]:
    return {part.name: part for part in parts}


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Pair the entries of two mappings by name; an entry that one mapping lacks is None."""
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)


def is_sufficient_bump(old: str, new: str, change: Change) -> bool:
    """Return whether a version number rises as far as a change requires, by Semantic Versioning (https://semver.org)."""
    before, after = ([int(part) for part in version.split(".")] for version in (old, new))
    if change is Change.SAME:
        return before == after
    num_parts = {Change.BREAKING: 1, Change.ADDITIVE: 2, Change.WORDING: 3}[change]
    return after[:num_parts] > before[:num_parts]
