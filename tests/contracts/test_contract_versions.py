"""A released version never changes, and a version number rises as far as the change requires."""

import copy
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from contract_changes import IS_TIGHTER, Change, compare, differences, is_sufficient_bump, version_parts

from hubbleclip.contracts.rules import REQUIRED, RULE_PREDICATES
from hubbleclip.contracts.schema import CONTRACT_NAMES, contract_version, read_contract
from hubbleclip.contracts.snapshot import snapshot

RELEASED = Path(__file__).parent / "released"
Json = dict[str, Any]


def released(name: str) -> list[Json]:
    """Snapshots of a contract, oldest first."""
    snapshots = [json.loads(path.read_text(encoding="utf-8")) for path in RELEASED.glob(f"{name}-*.json")]
    return sorted(snapshots, key=lambda one: version_parts(one["version"]))


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_a_changed_contract_needs_a_new_version(name: str) -> None:
    """Once it has one: `python -m hubbleclip.cli.check_contracts release data_contracts/NAME.odcs.yaml tests/contracts/released`."""
    newest = released(name)[-1]
    assert (newest["version"], list(differences(newest, snapshot(read_contract(name))))) == (contract_version(name), [])


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_released_versions_rise_as_far_as_their_changes_ask_for(name: str) -> None:
    for old, new in pairwise(released(name)):
        assert is_sufficient_bump(old["version"], new["version"], compare(old, new)), list(differences(old, new))


@pytest.fixture
def snapshot_json() -> Json:
    return copy.deepcopy(snapshot(read_contract("catalog")))


def column(snapshot_json: Json, name: str) -> Json:
    return snapshot_json["tables"]["observation"]["columns"][name]


def add_column(snapshot_json: Json, **changes: Any) -> None:
    snapshot_json["tables"]["observation"]["columns"]["new"] = column(snapshot_json, "visit") | changes


CHANGES: dict[str, tuple[Change, Callable[[Json], Any]]] = {
    "nothing": (Change.SAME, lambda snapshot_json: None),
    "a version alone": (Change.SAME, lambda snapshot_json: snapshot_json.update(version="9.0.0")),
    "a column's words": (
        Change.WORDING,
        lambda snapshot_json: column(snapshot_json, "visit").update(description="Other words"),
    ),
    "a column's source": (
        Change.WORDING,
        lambda snapshot_json: column(snapshot_json, "visit").update(sources=["CAOM visit"]),
    ),
    "a table's words": (
        Change.WORDING,
        lambda snapshot_json: snapshot_json["tables"]["tile"].update(description="Other words"),
    ),
    "a unit where none was": (
        Change.WORDING,
        lambda snapshot_json: column(snapshot_json, "calib_level").update(unit="s"),
    ),
    "a new table": (
        Change.ADDITIVE,
        lambda snapshot_json: snapshot_json["tables"].update(new=snapshot_json["tables"]["tile"]),
    ),
    "a new column": (Change.ADDITIVE, lambda snapshot_json: add_column(snapshot_json, required=False)),
    "a new rule": (
        Change.ADDITIVE,
        lambda snapshot_json: snapshot_json["tables"]["tile"]["rules"].update(new="SELECT 0"),
    ),
    "a new bound": (
        Change.ADDITIVE,
        lambda snapshot_json: column(snapshot_json, "ra_deg")["rules"].update(maximum=360),
    ),
    "a looser bound": (
        Change.ADDITIVE,
        lambda snapshot_json: column(snapshot_json, "dec_deg")["rules"].update(maximum=91),
    ),
    "a removed bound": (
        Change.ADDITIVE,
        lambda snapshot_json: column(snapshot_json, "dec_deg")["rules"].pop("maximum"),
    ),
    "a tighter bound": (
        Change.BREAKING,
        lambda snapshot_json: column(snapshot_json, "dec_deg")["rules"].update(maximum=89),
    ),
    "another pattern": (
        Change.BREAKING,
        lambda snapshot_json: column(snapshot_json, "fingerprint")["rules"].update(pattern="^x"),
    ),
    "a removed column": (
        Change.BREAKING,
        lambda snapshot_json: snapshot_json["tables"]["observation"]["columns"].pop("visit"),
    ),
    "a removed table": (Change.BREAKING, lambda snapshot_json: snapshot_json["tables"].pop("tile")),
    "a new required column": (Change.BREAKING, lambda snapshot_json: add_column(snapshot_json, required=True)),
    "null forbidden": (Change.BREAKING, lambda snapshot_json: column(snapshot_json, "visit").update(required=True)),
    "null allowed": (Change.BREAKING, lambda snapshot_json: column(snapshot_json, "instrument").update(required=False)),
    "another type": (Change.BREAKING, lambda snapshot_json: column(snapshot_json, "exposure_s").update(type="BIGINT")),
    "another unit": (Change.BREAKING, lambda snapshot_json: column(snapshot_json, "exposure_s").update(unit="min")),
    "another key": (Change.BREAKING, lambda snapshot_json: snapshot_json["tables"]["tile"].update(keys=["path"])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_has_its_kind(snapshot_json: Json, name: str) -> None:
    kind, change = CHANGES[name]
    before = copy.deepcopy(snapshot_json)
    change(snapshot_json)
    assert compare(before, snapshot_json) is kind


@pytest.mark.parametrize(
    ("kind", "old", "tighter"),
    [
        ("minimum", 0, 1),
        ("exclusiveMinimum", 0, 1),
        ("minLength", 1, 2),
        ("minItems", 1, 2),
        ("maximum", 1, 0),
        ("exclusiveMaximum", 1, 0),
        ("maxLength", 2, 1),
        ("maxItems", 2, 1),
        ("validValues", ["a", "b"], ["a"]),
    ],
)
def test_a_bound_tightens_one_way_and_loosens_the_other(snapshot_json: Json, kind: str, old: Any, tighter: Any) -> None:
    loose, tight = copy.deepcopy(snapshot_json), copy.deepcopy(snapshot_json)
    column(loose, "visit")["rules"] = {f"items.{kind}": old}
    column(tight, "visit")["rules"] = {f"items.{kind}": tighter}
    assert compare(loose, tight) is Change.BREAKING
    assert compare(tight, loose) is Change.ADDITIVE


def test_every_kind_of_bound_can_be_compared() -> None:
    assert set(IS_TIGHTER) == set(RULE_PREDICATES) - {REQUIRED}


@pytest.mark.parametrize(
    ("change", "enough", "too_little"),
    [
        (Change.BREAKING, "2.0.0", "1.3.0"),
        (Change.ADDITIVE, "1.3.0", "1.2.4"),
        (Change.WORDING, "1.2.4", "1.2.3"),
        (Change.SAME, "1.2.3", "1.2.4"),
    ],
)
def test_a_version_rises_as_far_as_the_change_asks_for(change: Change, enough: str, too_little: str) -> None:
    assert is_sufficient_bump("1.2.3", enough, change)
    assert not is_sufficient_bump("1.2.3", too_little, change)
