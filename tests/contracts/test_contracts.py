"""The contracts are the single source: records, tables and checks follow from them."""

import dataclasses
import hashlib
import types
import typing
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest

from hubbleclip import records
from hubbleclip.contracts import ARROW_TYPES, NAMES, contract_version, read_contract, tables, to_arrow
from hubbleclip.errors import ContractError
from hubbleclip.migrations import migrate

RECORD_OF = {
    "proposal": records.Proposal, "observation": records.Observation, "product": records.Product, "tile": records.Tile,
    "caption": records.Caption, "split": records.SplitAssignment, "sample": records.Sample, "shard": records.Shard,
    "placement": records.Placement, "attempt": records.Attempt, "listing": records.Listing,
    "product_version": records.ProductVersion, "dataset": records.Dataset, "rejection": records.Rejection, "run": records.Run,
    "watermark": records.Watermark, "checkpoint": records.Checkpoint, "metric": records.Metric, "report": records.Report,
    "promotion": records.Promotion,
}  # fmt: skip
RELEASED = {
    ("catalog", "1.1.0"): "e1beea2f5616b335", ("shards", "1.1.0"): "def56f31af9bd382", ("shards", "1.2.0"): "d16e2dae215f33a4",
    ("run", "1.0.0"): "f006a950dcf2c70c", ("run", "1.1.0"): "3c597efb25f505fd",
}  # fmt: skip
SQL_OF = {
    str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", datetime: "TIMESTAMP",
    list[float]: "DOUBLE[]", list[str]: "VARCHAR[]",
}  # fmt: skip


def watermark(**changes) -> records.Watermark:
    row = {"archive": "a", "query_digest": "q", "released_mjd": 1.0, "updated_at": datetime(2024, 1, 2, tzinfo=UTC)}
    return records.Watermark(**(row | changes))


def test_every_table_has_a_record_and_every_record_a_table() -> None:
    assert set(RECORD_OF) == set(tables())
    assert set(RECORD_OF.values()) == set(typing.get_args(records.Record))


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


def test_migrated_empty_catalog_equals_contract() -> None:
    connection = duckdb.connect()
    migrate(connection)
    for table in tables().values():
        described = connection.execute(f'DESCRIBE "{table.name}"').fetchall()
        found = [(name, sql_type, null == "NO") for name, sql_type, null, *_ in described]
        assert found == [(c.name, c.sql_type, c.required) for c in table.columns]
        keys = connection.execute(
            "SELECT constraint_column_names FROM duckdb_constraints() WHERE table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [table.name],
        ).fetchone()
        assert keys is not None
        assert tuple(keys[0]) == table.keys


def digest_of(name: str) -> str:
    """Hash of the tables and rules of a contract."""
    found = [tables()[str(schema.name)] for schema in read_contract(name).schema_ or ()]
    text = "\n".join(table.ddl() + "".join(f"{rule.name} {rule.sql}\n" for rule in table.rules) for table in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_changed_contract_needs_a_new_version() -> None:
    """A version names one content for ever: add a line for a new one, never change a line."""
    assert {name: RELEASED.get((name, contract_version(name))) for name in NAMES} == {n: digest_of(n) for n in NAMES}


def test_every_column_is_described_and_physical_types_are_known() -> None:
    columns = [c for table in tables().values() for c in table.columns]
    assert all(c.description for c in columns)
    assert {c.sql_type for c in columns} <= set(ARROW_TYPES)


def test_units_travel_with_the_schema() -> None:
    field = tables()["tile"].schema().field("pixel_scale_arcsec")
    assert field.metadata[b"unit"] == b"arcsec"


def test_contracts_are_valid_against_the_standard() -> None:
    assert {read_contract(name).apiVersion for name in NAMES} == {"v3.1.0"}


def test_records_become_typed_rows_in_utc() -> None:
    table = to_arrow("watermark", [watermark()])
    assert table.schema.field("updated_at").type == pa.timestamp("us")
    assert table["updated_at"][0].as_py() == datetime(2024, 1, 2)


def test_wrong_type_names_table_and_column() -> None:
    with pytest.raises(ContractError, match="table watermark, column released_mjd"):
        to_arrow("watermark", [watermark(released_mjd="soon")])


def test_null_in_required_column_names_the_row() -> None:
    with pytest.raises(ContractError, match=r"column released_mjd: required, but null in rows .*\"b\""):
        to_arrow("watermark", [watermark(), watermark(archive="b", released_mjd=None)])


def test_repeated_key_is_refused() -> None:
    with pytest.raises(ContractError, match="comes twice"):
        to_arrow("watermark", [watermark(), watermark()])


def test_missing_column_is_named() -> None:
    with pytest.raises(ContractError, match="lack the column query_digest"):
        to_arrow("watermark", pa.table({"archive": ["a"]}))
