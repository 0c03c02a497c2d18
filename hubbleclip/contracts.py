"""Tables, columns, keys and rules, read from `data_contracts/*.odcs.yaml`, their single source.

From a contract come the Arrow schema (unit and description as field metadata), the DuckDB DDL, and the check that
rows must pass before they are written. Format: Open Data Contract Standard 3.1, https://bitol-io.github.io/open-data-contract-standard/.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pyarrow as pa
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

from hubbleclip.errors import ContractError
from hubbleclip.records import Record, to_row

NAMES = ("catalog", "shards", "run")
ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
}
NUM_NAMED_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: `sql_type` is DuckDB's, `unit` an astropy unit string or None."""

    name: str
    sql_type: str
    required: bool
    unit: str | None
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A quality rule: `sql` counts the rows that break it."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a contract."""

    name: str
    description: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    rules: tuple[Rule, ...]

    def schema(self) -> pa.Schema:
        """Arrow schema; each field carries its description and unit."""
        return pa.schema([_field(column) for column in self.columns])

    def ddl(self) -> str:
        """`CREATE TABLE` for DuckDB, without foreign keys (they break upserts of list columns)."""
        lines = [f'  "{c.name}" {c.sql_type}{" NOT NULL" if c.required else ""}' for c in self.columns]
        keys = ", ".join(f'"{key}"' for key in self.keys)
        lines.append(f"  PRIMARY KEY ({keys})")
        return f'CREATE TABLE "{self.name}" (\n' + ",\n".join(lines) + "\n);\n"


def _field(column: Column) -> pa.Field:
    metadata = {"description": column.description} | ({"unit": column.unit} if column.unit else {})
    return pa.field(column.name, ARROW_TYPES[column.sql_type], nullable=not column.required, metadata=metadata)


@cache
def read_contract(name: str) -> OpenDataContractStandard:
    """The contract file `data_contracts/<name>.odcs.yaml`, validated against the standard's model."""
    text = files("data_contracts").joinpath(f"{name}.odcs.yaml").read_text(encoding="utf-8")
    return OpenDataContractStandard.from_string(text)


def contract_version(name: str) -> str:
    """Semantic version of a contract."""
    return str(read_contract(name).version)


@cache
def tables() -> dict[str, Table]:
    """Every table of every contract, by name, in the order of the files."""
    parsed = [_table(schema) for name in NAMES for schema in read_contract(name).schema_ or ()]
    return {table.name: table for table in parsed}


def _table(schema: SchemaObject) -> Table:
    properties = schema.properties or []
    keys = sorted((p for p in properties if p.primaryKey), key=lambda p: p.primaryKeyPosition or 0)
    return Table(
        name=str(schema.name),
        description=schema.description or "",
        columns=tuple(_column(p) for p in properties),
        keys=tuple(str(p.name) for p in keys),
        rules=tuple(Rule(name=str(q.name), sql=str(q.query)) for q in schema.quality or ()),
    )


def _column(prop: SchemaProperty) -> Column:
    units = [str(c.value) for c in prop.customProperties or () if c.property == "unit"]
    return Column(
        name=str(prop.name),
        sql_type=str(prop.physicalType),
        required=bool(prop.required),
        unit=units[0] if units else None,
        description=prop.description or "",
    )


def to_arrow(table_name: str, rows: Sequence[Record] | pa.Table) -> pa.Table:
    """Rows cast to the contract's schema.

    Raises ContractError naming table, column, rule and rows when a column is missing, a type does not fit, a required
    value is null or a key comes twice.
    """
    table = tables()[table_name]
    arrow = rows if isinstance(rows, pa.Table) else _from_records(table, rows)
    missing = [c.name for c in table.columns if c.name not in arrow.column_names]
    if missing:
        raise ContractError(f"table {table.name}: rows lack the column {missing[0]}")
    cast = pa.table([_cast(table, c, arrow[c.name]) for c in table.columns], schema=table.schema())
    _check_nulls(table, cast)
    _check_keys(table, cast)
    return cast


def _from_records(table: Table, rows: Sequence[Record]) -> pa.Table:
    dicts = [to_row(row) for row in rows]
    columns = {}
    for column in table.columns:
        values = [d[column.name] for d in dicts]
        try:
            columns[column.name] = pa.array(values, type=ARROW_TYPES[column.sql_type])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ContractError(f"table {table.name}, column {column.name}: not {column.sql_type}: {error}") from error
    return pa.table(columns)


def _cast(table: Table, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return values.cast(ARROW_TYPES[column.sql_type])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractError(f"table {table.name}, column {column.name}: not {column.sql_type}: {error}") from error


def _check_nulls(table: Table, rows: pa.Table) -> None:
    for column in table.columns:
        if column.required and rows[column.name].null_count:
            at = [i for i, value in enumerate(rows[column.name]) if not value.is_valid][:NUM_NAMED_ROWS]
            keys = [_key(table, rows, i) for i in at]
            raise ContractError(f"table {table.name}, column {column.name}: required, but null in rows {keys}")


def _check_keys(table: Table, rows: pa.Table) -> None:
    counts: Counter[tuple[Any, ...]] = Counter(zip(*(rows[key].to_pylist() for key in table.keys), strict=True))
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise ContractError(f"table {table.name}: key {table.keys} comes twice in one batch: {twice[:NUM_NAMED_ROWS]}")


def _key(table: Table, rows: pa.Table, index: int) -> str:
    return json.dumps([rows[key][index].as_py() for key in table.keys])
