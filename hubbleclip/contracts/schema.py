"""Tables, columns, keys and rules, read from `data_contracts/*.odcs.yaml`, their single source.

From a contract come the Arrow schema (unit and description as field metadata), the DuckDB DDL, and the check that
rows must pass before they are written. Format: Open Data Contract Standard 3.1, https://bitol-io.github.io/open-data-contract-standard/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pyarrow as pa
import pyarrow.compute as pc
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

from hubbleclip.contracts.rules import REQUIRED, ColumnRule
from hubbleclip.core.errors import ContractError
from hubbleclip.core.records import Record, to_row

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
    """One column: `sql_type` is DuckDB's, `unit` an astropy unit string or None, `sources` where its values come from
    (their words: `data_contracts/README.md`).
    """

    name: str
    sql_type: str
    required: bool
    unit: str | None
    description: str
    sources: tuple[str, ...]
    rules: tuple[ColumnRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Columns whose values, where none of them is null, must stand in columns of another table."""

    columns: tuple[str, ...]
    to_table: str
    to_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A quality rule: `sql` counts the rows that break it."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a contract. The first of its `references` names what a row was made from."""

    name: str
    description: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    references: tuple[Reference, ...]
    rules: tuple[Rule, ...]

    def row_rules(self) -> tuple[Rule, ...]:
        """Rules that look at more than one value: the key is unique, references lead somewhere, then the written
        ones.
        """
        return (_unique(self), *(_found(self, reference) for reference in self.references), *self.rules)

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
    return {table.name: table for name in NAMES for table in contract_tables(read_contract(name))}


def contract_tables(contract: OpenDataContractStandard) -> list[Table]:
    """The tables of one contract."""
    return [_table(schema) for schema in contract.schema_ or ()]


def _table(schema: SchemaObject) -> Table:
    properties = schema.properties or []
    keys = sorted((p for p in properties if p.primaryKey), key=lambda p: p.primaryKeyPosition or 0)
    return Table(
        name=str(schema.name),
        description=schema.description or "",
        columns=tuple(_column(p) for p in properties),
        keys=tuple(str(p.name) for p in keys),
        references=tuple(_references(schema)),
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
        sources=tuple(prop.transformSourceObjects or ()),
        rules=tuple(_column_rules(prop)),
    )


def _column_rules(prop: SchemaProperty) -> Iterator[ColumnRule]:
    if prop.required:
        yield ColumnRule(kind=REQUIRED, bound=True)
    for kind, bound in (prop.logicalTypeOptions or {}).items():
        yield ColumnRule(kind=kind, bound=bound)
    for kind, bound in ((prop.items and prop.items.logicalTypeOptions) or {}).items():
        yield ColumnRule(kind=kind, bound=bound, of_items=True)
    for check in prop.quality or ():
        if check.metric == "invalidValues":
            yield ColumnRule(kind="validValues", bound=tuple((check.arguments or {})["validValues"]))


def _references(schema: SchemaObject) -> Iterator[Reference]:
    for prop in schema.properties or ():
        for relationship in prop.relationships or ():
            yield _reference([f"{schema.name}.{prop.name}"], [str(relationship.to)])
    for relationship in schema.relationships or ():
        yield _reference(list(relationship.from_ or ()), list(relationship.to or ()))


def _reference(columns: list[str], to: list[str]) -> Reference:
    return Reference(
        columns=tuple(name.split(".")[1] for name in columns),
        to_table=to[0].split(".")[0],
        to_columns=tuple(name.split(".")[1] for name in to),
    )


def _unique(table: Table) -> Rule:
    keys = ", ".join(f'"{key}"' for key in table.keys)
    sql = f'SELECT count(*) FROM (SELECT 1 FROM "{table.name}" GROUP BY {keys} HAVING count(*) > 1)'  # noqa: S608
    return Rule(name="key.unique", sql=sql)


def _found(table: Table, reference: Reference) -> Rule:
    pairs = list(zip(reference.columns, reference.to_columns, strict=True))
    same = " AND ".join(f'child."{child}" = parent."{parent}"' for child, parent in pairs)
    given = " AND ".join(f'child."{child}" IS NOT NULL' for child in reference.columns)
    sql = f'SELECT count(*) FROM "{table.name}" child ANTI JOIN "{reference.to_table}" parent ON {same} WHERE {given}'  # noqa: S608
    return Rule(name=f"{'_'.join(reference.columns)}.in_{reference.to_table}", sql=sql)


def to_arrow(table_name: str, rows: Sequence[Record] | pa.Table) -> pa.Table:
    """Rows cast to the contract's schema.

    Raises ContractError naming table, column, rule and rows when a column is missing, a type does not fit, a required
    value is null or a key comes twice.
    """
    table, cast = tables()[table_name], cast_rows(table_name, rows)
    _check_nulls(table, cast)
    _check_keys(table, cast)
    return cast


def cast_rows(table_name: str, rows: Sequence[Record] | pa.Table) -> pa.Table:
    """Rows with the contract's columns and types, whatever their values. Raises ContractError as `to_arrow`."""
    table = tables()[table_name]
    arrow = rows if isinstance(rows, pa.Table) else _from_records(table, rows)
    missing = [c.name for c in table.columns if c.name not in arrow.column_names]
    if missing:
        raise ContractError(f"table {table.name}: rows lack the column {missing[0]}")
    return pa.table([_cast(table, c, arrow[c.name]) for c in table.columns], schema=table.schema())


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
            at = pc.indices_nonzero(pc.is_null(rows[column.name]))[:NUM_NAMED_ROWS]
            keys = [_key(table, rows, i) for i in at.to_pylist()]
            raise ContractError(f"table {table.name}, column {column.name}: required, but null in rows {keys}")


def _check_keys(table: Table, rows: pa.Table) -> None:
    counts = rows.select(table.keys).group_by(list(table.keys)).aggregate([([], "count_all")])
    if counts.num_rows < rows.num_rows:
        twice = counts.filter(pc.greater(counts["count_all"], 1)).select(table.keys).slice(0, NUM_NAMED_ROWS)
        named = [tuple(row.values()) for row in twice.to_pylist()]
        raise ContractError(f"table {table.name}: key {table.keys} comes twice in one batch: {named}")


def _key(table: Table, rows: pa.Table, index: int) -> str:
    return json.dumps([rows[key][index].as_py() for key in table.keys])
