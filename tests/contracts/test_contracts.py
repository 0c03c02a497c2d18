"""Records, tables and checks follow from the contracts, whose versions rise as far as their changes require."""

import dataclasses
import re
import types
import typing
from datetime import datetime
from enum import IntEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from astropy.units import Unit
from open_data_contract_standard.model import OpenDataContractStandard
from valid_catalog import make

from hubbleclip.catalog.migrations import migrate, read_migrations
from hubbleclip.config.settings import Settings
from hubbleclip.contracts import schema
from hubbleclip.contracts.schema import (
    ARROW_TYPES,
    CONTRACT_NAMES,
    REQUIRED,
    RULE_PREDICATES,
    Column,
    contract_tables,
    read_contract,
    tables,
    to_arrow,
)
from hubbleclip.contracts.validation import joined_contract
from hubbleclip.core import records

NAMES = {name: name.title().replace("_", "") for name in tables()} | {"split": "SplitAssignment"}
RECORD_OF = {table: getattr(records, name) for table, name in NAMES.items()}
SQL_OF = {
    str: "VARCHAR",
    int: "BIGINT",
    float: "DOUBLE",
    bool: "BOOLEAN",
    datetime: "TIMESTAMP",
    list[float]: "DOUBLE[]",
    list[str]: "VARCHAR[]",
}


watermark = partial(make, records.Watermark)


def test_every_table_has_a_record_and_every_record_a_table() -> None:
    classes = [value for value in vars(records).values() if dataclasses.is_dataclass(value)]
    assert len(classes) > 10
    assert set(RECORD_OF.values()) == set(classes)


@pytest.mark.parametrize("name", list(RECORD_OF))
def test_record_equals_contract(name: str) -> None:
    hints = typing.get_type_hints(RECORD_OF[name])
    expected = []
    for field in dataclasses.fields(RECORD_OF[name]):
        hint, required = hints[field.name], True
        if isinstance(hint, types.UnionType):
            (hint,), required = [a for a in hint.__args__ if a is not type(None)], False
        expected.append((field.name, SQL_OF[hint], required))
    assert [(c.name, c.sql_type, c.required) for c in tables()[name].columns] == expected


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    versions = [version for version, _, _ in read_migrations()]
    assert versions == list(range(1, len(versions) + 1))


def test_migrated_empty_catalog_equals_contract() -> None:
    connection = duckdb.connect()
    migrate(connection)
    for table in tables().values():
        described = connection.execute(f'DESCRIBE "{table.name}"').fetchall()
        created = [(name, sql_type, null == "NO") for name, sql_type, null, *_ in described]
        assert created == [(c.name, c.sql_type, c.required) for c in table.columns]
        keys = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [table.name],
        ).fetchone()
        assert keys is not None
        assert tuple(keys[0]) == table.keys


def columns() -> dict[str, Column]:
    return {f"{table.name}.{column.name}": column for table in tables().values() for column in table.columns}


UNIT_OF_NAME = {"deg": "deg", "arcsec": "arcsec", "s": "s", "mjd": "d"}
UNIT_OF_NAME |= dict.fromkeys(("px", "y0", "x0"), "pixel") | dict.fromkeys(("bytes", "offset", "length"), "byte")


def test_every_column_is_described_and_has_a_known_type_and_the_unit_of_its_name() -> None:
    assert all(column.description for column in columns().values())
    fields = {f"{table.name}.{field.name}": field for table in tables().values() for field in table.schema()}
    for name, column in columns().items():
        assert fields[name].metadata.get(b"description", b"").decode() == column.description
        assert (fields[name].metadata.get(b"unit", b"").decode() or None, fields[name].nullable) == (
            column.unit,
            not column.required,
        )
    assert {column.sql_type for column in columns().values()} <= set(ARROW_TYPES)
    assert all(Unit(column.unit) for column in columns().values() if column.unit)
    named = {name: UNIT_OF_NAME.get(re.split(r"[._]", name)[-1]) for name in columns()}
    assert {name: unit for name, unit in named.items() if unit} == {
        name: column.unit for name, column in columns().items() if column.unit
    }


def test_every_value_has_a_source_of_a_known_kind() -> None:
    kinds = {source.split()[0] for column in columns().values() for source in column.sources}
    assert kinds == {"CAOM", "FITS", "STScI", "ADS", "HTTP", "settings", "catalog", "computed"}
    assert [name for name, column in columns().items() if not column.sources] == []


def test_a_source_in_the_catalog_the_settings_or_the_code_is_there() -> None:
    used = {source for column in columns().values() for source in column.sources}
    known = {f"catalog {name}" for name in columns()} | {"computed clock", "settings"}
    fields = Settings.model_fields
    known |= {f"settings {section}" for section in fields}
    known |= {
        f"settings {section}.{name}"
        for section, field in fields.items()
        for name in getattr(field.annotation, "model_fields", ())
    }
    code = [source for source in used - known if source.startswith("computed ")]
    assert [source for source in code if find_spec(source.split()[1]) is None] == []
    assert [s for s in used - known - set(code) if s.startswith(("catalog", "settings"))] == []


def test_contracts_are_valid_against_the_standard() -> None:
    assert {read_contract(name).apiVersion for name in CONTRACT_NAMES} == {"v3.1.0"}


def test_records_become_typed_rows_in_utc() -> None:
    table = to_arrow("watermark", [watermark()])
    assert table.schema.field("updated_at").type == pa.timestamp("us")
    assert table["updated_at"][0].as_py() == datetime(2024, 1, 2)


def test_a_patch_of_a_contract_changes_nothing_that_is_derived_from_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "contract_version", lambda name: "2.3.4")
    assert schema.compatible_version("shards") == "2.3.0"


def test_the_joined_contract_has_all_tables_and_the_place_of_the_catalog() -> None:
    joined = OpenDataContractStandard.from_string(joined_contract(Path("/data/catalog.duckdb")))
    assert contract_tables(joined) == list(tables().values())
    (server,) = joined.servers or ()
    assert (server.type, server.database, server.schema_) == ("duckdb", "/data/catalog.duckdb", "main")
    assert (joined.id, joined.apiVersion) == ("hubbleclip", "v3.1.0")


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
      - {name: dec_deg, physicalType: DOUBLE, customProperties: [{property: note, value: x}, {property: unit, value: deg}]}
      - {name: phase, physicalType: DOUBLE, description: Phase, transformSourceObjects: [computed clock]}
      - {name: words, physicalType: "VARCHAR[]", items: {logicalTypeOptions: {maxLength: 9}}}
      - {name: rank, physicalType: BIGINT, primaryKeyPosition: 0, primaryKey: true, logicalTypeOptions: {minimum: 1, pattern: "^a"}}
    quality: [{name: some_rule, query: SELECT 0}]
  - name: planet
"""
PHASE = "name: phase, physicalType: DOUBLE"
KEY, PLANET = "name: moon_id, physicalType: VARCHAR, required: true", "  - name: planet"
CHANGES: dict[str, tuple[Change, str, str]] = {
    "a version alone": (Change.SAME, "1.0.0", "9.0.0"),
    "a column's words": (Change.WORDING, "description: Phase", "description: Time"),
    "a column's source": (Change.WORDING, "computed clock", "CAOM s_ra"),
    "a table's words": (Change.WORDING, "All stars", "Stars"),
    "a unit where none was": (Change.WORDING, PHASE, PHASE + ", customProperties: [{property: unit, value: s}]"),
    "a new table": (Change.ADDITIVE, PLANET, f"  - name: moon\n    properties: [{{{KEY}}}]\n{PLANET}"),
    "a new column": (Change.ADDITIVE, PHASE, f"name: new, physicalType: DOUBLE}}\n      - {{{PHASE}"),
    "a new rule": (Change.ADDITIVE, "quality: [", "quality: [{name: new, query: SELECT 0}, "),
    "a new bound": (Change.ADDITIVE, "minimum: 1", "minimum: 1, maximum: 9"),
    "a removed bound": (Change.ADDITIVE, "minimum: 1, ", ""),
    "a tighter bound of items": (Change.BREAKING, "maxLength: 9", "maxLength: 8"),
    "another pattern": (Change.BREAKING, "^a", "^[ab]"),
    "a removed table": (Change.BREAKING, PLANET, ""),
    "a new required column": (Change.BREAKING, PHASE, f"{KEY}}}\n      - {{{PHASE}"),
    "null forbidden": (Change.BREAKING, PHASE, PHASE + ", required: true"),
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


def kind_of(old: OpenDataContractStandard, new: OpenDataContractStandard) -> Change:
    was, now = facts_of(old), facts_of(new)
    changes = (change_of(one, was, now) for one in was.keys() | now.keys() if was.get(one) != now.get(one))
    return max(changes, default=Change.SAME)


def is_sufficient_bump(old: str, new: str, change: Change) -> bool:
    """Whether a version number rises as far as a change requires, by Semantic Versioning (https://semver.org)."""
    before, after = ([int(part) for part in version.split(".")] for version in (old, new))
    num_parts = 4 - change
    return before == after if change is Change.SAME else after[:num_parts] > before[:num_parts]


def test_each_contract_has_a_version_that_its_changes_since_the_last_release_require() -> None:
    for path in RELEASED.glob("*.odcs.yaml"):
        old, new = parsed(path.read_text(encoding="utf-8")), read_contract(path.name.split(".")[0])
        assert is_sufficient_bump(str(old.version), str(new.version), kind_of(old, new)), path.name


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_has_its_kind(name: str) -> None:
    kind, text, other = CHANGES[name]
    assert MADE.count(text) == 1
    assert kind_of(parsed(MADE), parsed(MADE.replace(text, other))) is kind


def test_every_kind_of_bound_tightens_one_way() -> None:
    for kind in RULE_PREDICATES.keys() - {REQUIRED, "pattern"}:
        low, high = (["a"], ["a", "b"]) if kind == "validValues" else (1, 2)
        tight, loose = (high, low) if "min" in kind.lower() else (low, high)
        assert (is_tighter(kind, loose, tight), is_tighter(kind, tight, loose)) == (True, False), kind


def test_a_version_rises_as_far_as_the_change_requires() -> None:
    versions = ("1.2.3", "1.2.4", "1.3.0", "2.0.0")
    allowed = {change: [one for one in versions if is_sufficient_bump("1.2.3", one, change)] for change in Change}
    assert list(allowed.values()) == [["1.2.3"], [*versions[1:]], [*versions[2:]], ["2.0.0"]]
