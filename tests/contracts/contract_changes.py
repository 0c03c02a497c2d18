"""Compare two snapshots of a contract, and check that the version number is raised as much as the changes require."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

Json = Mapping[str, Any]
Difference = tuple[str, "Change"]
"""Name of the changed part, and the kind of the change."""


class Change(IntEnum):
    """Kinds of change, by their effect on readers and writers of the tables."""

    SAME = 0
    WORDING = 1  # descriptions only
    ADDITIVE = 2  # existing code still works
    BREAKING = 3  # readers or writers need new code


SAME_UNIT = {"MJD": "d"}
"""Names of units that are treated as another name of the same unit. An MJD is a number of days."""
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


def compare(old: Json, new: Json) -> Change:
    """Find the most severe change between two snapshots.

    Parameters
    ----------
    old, new
        Snapshots of the old and the new version, as returned by `snapshot`.

    Returns
    -------
    Change
        The most severe change; `SAME` if the snapshots are equal.

    """
    return max((change for _, change in differences(old, new)), default=Change.SAME)


def differences(old: Json, new: Json) -> Iterator[Difference]:
    """List the differences between two snapshots.

    Parameters
    ----------
    old, new
        Snapshots of the old and the new version, as returned by `snapshot`.

    Yields
    ------
    tuple of (str, Change)
        Name of the changed part, such as `tile.ra_deg: unit`, and the kind of the change.

    Notes
    -----
    Breaking changes: a removed table or column, a new required column, a changed key, type or unit, a tightened bound.
    Additive changes: other new tables and columns, and rules that are added, removed or loosened.

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
    """List the differences of one column; `old` or `new` is None if that version lacks the column."""
    if new is None:
        yield f"{place} is removed", Change.BREAKING
    elif old is None:
        yield f"{place} is new", Change.BREAKING if new["required"] else Change.ADDITIVE
    else:
        for part in ("type", "required"):
            if old[part] != new[part]:
                yield f"{place}: {part}", Change.BREAKING
        if SAME_UNIT.get(old["unit"], old["unit"]) != SAME_UNIT.get(new["unit"], new["unit"]):
            # Stating a unit for the first time only documents the values.
            yield f"{place}: unit", Change.BREAKING if old["unit"] else Change.WORDING
        for part in ("description", "sources"):
            if old[part] != new[part]:
                yield f"{place}: {part}", Change.WORDING
        for rule, was, now in _pairs(old["rules"], new["rules"]):
            if was != now:
                yield f"{place}: {rule}", Change.BREAKING if _is_tighter(rule, was, now) else Change.ADDITIVE


def _is_tighter(rule: str, old: Any, new: Any) -> bool:
    """Return whether both versions have the bound and the new one refuses values that the old one allowed."""
    return old is not None and new is not None and IS_TIGHTER[rule.removeprefix("items.")](old, new)


def _pairs(old: Json, new: Json) -> Iterator[tuple[str, Any, Any]]:
    """Pair the entries of two mappings by name; an entry that one mapping lacks is None."""
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)


def is_sufficient_bump(old: str, new: str, change: Change) -> bool:
    """Return whether a version number is raised as much as a change requires.

    Parameters
    ----------
    old, new
        Version numbers, such as `1.4.0`.
    change
        The most severe change between the two versions.

    Returns
    -------
    bool
        True if the major part is raised for a breaking change, at least the minor part for an additive change, and at
        least the patch part for a change of wording. Without a change, true if the versions are equal.

    Notes
    -----
    The rules are those of Semantic Versioning 2.0.0, https://semver.org.

    """
    before, after = version_parts(old), version_parts(new)
    if change is Change.SAME:
        return before == after
    num_parts = {Change.BREAKING: 1, Change.ADDITIVE: 2, Change.WORDING: 3}[change]
    return after[:num_parts] > before[:num_parts]


def version_parts(version: str) -> tuple[int, ...]:
    """Split a version number.

    Parameters
    ----------
    version
        Version number, such as `1.4.0`.

    Returns
    -------
    tuple of int
        Major, minor and patch part.

    """
    return tuple(int(part) for part in version.split("."))
