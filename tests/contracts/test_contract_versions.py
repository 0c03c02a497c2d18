"""The version of a contract rises as far as its changes since the last release require."""

from pathlib import Path

import pytest
from contract_changes import IS_TIGHTER, Change, differences, is_sufficient_bump
from open_data_contract_standard.model import OpenDataContractStandard

from hubbleclip.contracts.schema import REQUIRED, RULE_PREDICATES, read_contract

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
CHANGES: dict[str, tuple[Change, str, str]] = {
    "a version alone": (Change.SAME, "1.0.0", "9.0.0"),
    "a column's words": (Change.WORDING, "description: Phase", "description: Time"),
    "a column's source": (Change.WORDING, "computed clock", "CAOM s_ra"),
    "a table's words": (Change.WORDING, "All stars", "Stars"),
    "a unit where none was": (Change.WORDING, PHASE, PHASE + ", customProperties: [{property: unit, value: s}]"),
    "a new table": (Change.ADDITIVE, "  - name: planet", "  - name: planet\n  - name: moon"),
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


def kind_of(old: OpenDataContractStandard, new: OpenDataContractStandard) -> Change:
    return max((change for _, change in differences(old, new)), default=Change.SAME)


def test_each_contract_has_a_version_that_its_changes_since_the_last_release_require() -> None:
    for path in RELEASED.glob("*.odcs.yaml"):
        old, new = parsed(path.read_text(encoding="utf-8")), read_contract(path.name.split(".")[0])
        changes = list(differences(old, new))
        assert is_sufficient_bump(str(old.version), str(new.version), kind_of(old, new)), (path.name, changes)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_has_its_kind(name: str) -> None:
    kind, text, other = CHANGES[name]
    assert MADE.count(text) == 1
    assert kind_of(parsed(MADE), parsed(MADE.replace(text, other))) is kind


def test_every_kind_of_bound_can_be_compared_and_tightens_one_way() -> None:
    assert set(IS_TIGHTER) == set(RULE_PREDICATES) - {REQUIRED}
    for kind in IS_TIGHTER.keys() - {"pattern"}:
        low, high = (["a"], ["a", "b"]) if kind == "validValues" else (1, 2)
        tight, loose = (high, low) if "min" in kind.lower() else (low, high)
        assert (IS_TIGHTER[kind](loose, tight), IS_TIGHTER[kind](tight, loose)) == (True, False), kind


@pytest.mark.parametrize(
    ("change", "enough", "too_little"),
    [
        (Change.BREAKING, "2.0.0", "1.3.0"),
        (Change.ADDITIVE, "1.3.0", "1.2.4"),
        (Change.WORDING, "1.2.4", "1.2.3"),
        (Change.SAME, "1.2.3", "1.2.4"),
    ],
)
def test_a_version_rises_as_far_as_the_change_requires(change: Change, enough: str, too_little: str) -> None:
    assert is_sufficient_bump("1.2.3", enough, change)
    assert not is_sufficient_bump("1.2.3", too_little, change)
