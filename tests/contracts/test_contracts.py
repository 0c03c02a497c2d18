"""The contracts are the single source: records, tables and checks follow from them."""

import dataclasses
import re
import types
import typing
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from astropy.units import Unit
from commands import run
from open_data_contract_standard.model import OpenDataContractStandard
from valid_catalog import make, observation, proposal

from hubbleclip.catalog.migrations import migrate, read_migrations
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.contracts import schema
from hubbleclip.contracts.audit import joined_contract
from hubbleclip.contracts.schema import (
    ARROW_TYPES,
    CONTRACT_NAMES,
    Column,
    contract_tables,
    read_contract,
    tables,
    to_arrow,
)
from hubbleclip.core import records
from hubbleclip.core.errors import ContractError
from hubbleclip.core.layout import Layout

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


UNIT_OF_NAME = {
    "deg": "deg",
    "arcsec": "arcsec",
    "px": "pixel",
    "s": "s",
    "mjd": "d",
    "bytes": "byte",
    "y0": "pixel",
    "x0": "pixel",
    "offset": "byte",
    "length": "byte",
}


def test_every_column_is_described_and_has_a_known_type_and_the_unit_of_its_name() -> None:
    assert all(column.description for column in columns().values())
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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([watermark(released_mjd="soon")], "table watermark, column released_mjd: cannot cast"),
        ([watermark(), watermark(archive="b", released_mjd=None)], r"released_mjd: required, but null in rows .*\"b\""),
        ([watermark(), watermark()], "have the same key"),
        (pa.table({"archive": ["a"]}), "lack the column query_digest"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_table_column_and_row(rows: object, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        to_arrow("watermark", rows)


def test_a_patch_of_a_contract_changes_nothing_that_is_derived_from_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "contract_version", lambda name: "2.3.4")
    assert schema.compatible_version("shards") == "2.3.0"


@pytest.mark.slow
def test_the_command_counts_broken_rows_and_writes_all_contracts_as_one(tmp_path: Path) -> None:
    outcomes = []
    for number in ("1", "404"):
        with writing_catalog(Layout(tmp_path / "demo")) as catalog:
            catalog.upsert({"proposal": [proposal("1")]})
            catalog.upsert({"observation": [dataclasses.replace(observation(number), proposal_id=f"hst:{number}")]})
        outcome = run("contracts", data=tmp_path)
        held, _, num_rules, *_ = outcome.out.splitlines()[-1].split()
        outcomes.append((outcome.code, int(num_rules) - int(held)))
    assert outcomes == [(0, 0), (1, 1)]
    assert run("contracts", "--joined", str(tmp_path / "one.yaml"), data=tmp_path).code == 0
    assert (tmp_path / "one.yaml").read_text() == joined_contract(tmp_path / "demo" / "catalog.duckdb")


def test_the_joined_contract_has_all_tables_and_the_place_of_the_catalog() -> None:
    joined = OpenDataContractStandard.from_string(joined_contract(Path("/data/catalog.duckdb")))
    assert contract_tables(joined) == list(tables().values())
    (server,) = joined.servers or ()
    assert (server.type, server.database, server.schema_) == ("duckdb", "/data/catalog.duckdb", "main")
    assert (joined.id, joined.apiVersion) == ("hubbleclip", "v3.1.0")
