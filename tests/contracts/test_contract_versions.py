"""The version of a contract rises as far as its changes since the last release require."""

from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from open_data_contract_standard.model import OpenDataContractStandard

from hubbleclip.contracts.schema import REQUIRED, RULE_PREDICATES, contract_tables, read_contract


class Change(IntEnum):
    """Kinds of change, by their effect on readers and writers of the tables."""

    SAME = 0
    WORDING = 1  # descriptions only
    ADDITIVE = 2  # existing code still works
    BREAKING = 3  # readers or writers need new code


Place = tuple[str, str, str]
"""Table, column or "", and kind of a fact: its form, words or unit, the name of a bound, or a query."""
RELEASED = Path(__file__).parent / "released"
"""The contracts of the last release; CONTRIBUTING.md says when they are copied there. Before the first, it is empty."""
MADE = """
apiVersion: v3.1.0
kind: DataContract
id: made
version: 1.0.0
status: active
schema:
  - name: star
    description: All stars
    properties:
      - {name: star_id, physicalType: VARCHAR, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: dec_deg, physicalType: DOUBLE, customProperties: [{property: unit, value: deg}]}
      - {name: phase, physicalType: DOUBLE, description: Phase, transformSourceObjects: [computed clock]}
      - {name: words, physicalType: "VARCHAR[]", items: {logicalTypeOptions: {maxLength: 9}}}
      - {name: rank, physicalType: BIGINT, logicalTypeOptions: {minimum: 1, pattern: "^a"}}
    quality: [{name: some_rule, query: SELECT 0}]
  - name: planet
"""
PHASE = "name: phase, physicalType: DOUBLE"
KEY = "name: moon_id, physicalType: VARCHAR, required: true"
CHANGES: dict[str, tuple[Change, str, str]] = {
    "a version alone": (Change.SAME, "1.0.0", "9.0.0"),
    "a column's words": (Change.WORDING, "description: Phase", "description: Time"),
    "a column's source": (Change.WORDING, "computed clock", "CAOM s_ra"),
    "a table's words": (Change.WORDING, "All stars", "Stars"),
    "a unit where none was": (Change.WORDING, PHASE, PHASE + ", customProperties: [{property: unit, value: s}]"),
    "a new table": (
        Change.ADDITIVE,
        "  - name: planet",
        f"  - name: moon\n    properties: [{{{KEY}}}]\n  - name: planet",
    ),
    "a new column": (Change.ADDITIVE, PHASE, f"name: new, physicalType: DOUBLE}}\n      - {{{PHASE}"),
    "a new rule": (Change.ADDITIVE, "quality: [", "quality: [{name: new, query: SELECT 0}, "),
    "a new bound": (Change.ADDITIVE, "minimum: 1", "minimum: 1, maximum: 9"),
    "a looser bound": (Change.ADDITIVE, "minimum: 1", "minimum: 0"),
    "a removed bound": (Change.ADDITIVE, "minimum: 1, ", ""),
    "a tighter bound": (Change.BREAKING, "minimum: 1", "minimum: 2"),
    "a tighter bound of items": (Change.BREAKING, "maxLength: 9", "maxLength: 8"),
    "another pattern": (Change.BREAKING, "^a", "^[ab]"),
    "a removed column": (Change.BREAKING, "name: phase", "name: another"),
    "a removed table": (Change.BREAKING, "  - name: planet", ""),
    "a new required column": (
        Change.BREAKING,
        PHASE,
        f"name: new, physicalType: DOUBLE, required: true}}\n      - {{{PHASE}",
    ),
    "null forbidden": (Change.BREAKING, PHASE, PHASE + ", required: true"),
    "null allowed": (Change.BREAKING, "required: true, ", ""),
    "another type": (Change.BREAKING, PHASE, "name: phase, physicalType: BIGINT"),
    "another unit": (Change.BREAKING, "value: deg", "value: rad"),
    "another key": (Change.BREAKING, ", primaryKey: true, primaryKeyPosition: 1", ""),
}


def parsed(text: str) -> OpenDataContractStandard:
    return OpenDataContractStandard.from_string(text)


def facts_of(contract: OpenDataContractStandard) -> dict[Place, Any]:
    facts: dict[Place, Any] = {}
    for table in contract_tables(contract):
        facts |= {(table.name, "", "form"): table.keys, (table.name, "", "words"): table.description}
        facts |= {(table.name, rule.name, "query"): rule.sql for rule in table.row_rules()}
        for column in table.columns:
            facts[table.name, column.name, "form"] = column.sql_type, column.required
            facts[table.name, column.name, "words"] = column.description, column.sources
            facts[table.name, column.name, "unit"] = column.unit
            facts |= {(table.name, column.name, rule.name): rule.bound for rule in column.rules}
    return facts


def is_tighter(kind: str, old: Any, new: Any) -> bool:
    """Whether a new bound refuses values that the old one allowed; two regular expressions cannot be compared."""
    if kind == "validValues":
        return not set(old) <= set(new)
    return kind == "pattern" or (new > old if "min" in kind.lower() else new < old)


def change_of(place: Place, was: dict[Place, Any], now: dict[Place, Any]) -> Change:
    (table, column, kind), old, new = place, was.get(place), now.get(place)
    if kind == "words" or (kind == "unit" and old is None):  # a unit that is stated for the first time documents values
        return Change.WORDING
    if kind in {"form", "unit"}:
        is_required = bool(column) and new is not None and new[1] and (table, "", "form") in was
        return Change.ADDITIVE if old is None and not is_required else Change.BREAKING
    is_kept = kind != "query" and old is not None and new is not None
    return Change.BREAKING if is_kept and is_tighter(kind.removeprefix("items."), old, new) else Change.ADDITIVE


def differences(old: OpenDataContractStandard, new: OpenDataContractStandard) -> dict[Place, Change]:
    was, now = facts_of(old), facts_of(new)
    return {one: change_of(one, was, now) for one in was.keys() | now.keys() if was.get(one) != now.get(one)}


def kind_of(changes: dict[Place, Change]) -> Change:
    return max(changes.values(), default=Change.SAME)


def is_sufficient_bump(old: str, new: str, change: Change) -> bool:
    """Whether a version number rises as far as a change requires, by Semantic Versioning (https://semver.org)."""
    before, after = ([int(part) for part in version.split(".")] for version in (old, new))
    num_parts = 4 - change
    return before == after if change is Change.SAME else after[:num_parts] > before[:num_parts]


def test_each_contract_has_a_version_that_its_changes_since_the_last_release_require() -> None:
    for path in RELEASED.glob("*.odcs.yaml"):
        old, new = parsed(path.read_text(encoding="utf-8")), read_contract(path.name.split(".")[0])
        changes = differences(old, new)
        assert is_sufficient_bump(str(old.version), str(new.version), kind_of(changes)), (path.name, changes)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_has_its_kind(name: str) -> None:
    kind, text, other = CHANGES[name]
    assert MADE.count(text) == 1
    assert kind_of(differences(parsed(MADE), parsed(MADE.replace(text, other)))) is kind


def test_every_kind_of_bound_tightens_one_way() -> None:
    for kind in RULE_PREDICATES.keys() - {REQUIRED, "pattern"}:
        low, high = (["a"], ["a", "b"]) if kind == "validValues" else (1, 2)
        tight, loose = (high, low) if "min" in kind.lower() else (low, high)
        assert (is_tighter(kind, loose, tight), is_tighter(kind, tight, loose)) == (True, False), kind


def test_a_version_rises_as_far_as_the_change_requires() -> None:
    versions = ("1.2.3", "1.2.4", "1.3.0", "2.0.0")
    allowed = {change: [one for one in versions if is_sufficient_bump("1.2.3", one, change)] for change in Change}
    assert list(allowed.values()) == [["1.2.3"], [*versions[1:]], [*versions[2:]], ["2.0.0"]]
