"""Read the data contracts, `data_contracts/*.odcs.yaml`, the only definition of tables, columns, keys and rules.

A contract determines the Arrow schema (with units and descriptions as field metadata) and the checks that rows must
pass before they are written. The format is the Open Data Contract Standard 3.1,
https://bitol-io.github.io/open-data-contract-standard/.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hubbleclip.core.errors import ContractError
from hubbleclip.core.records import Record

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

# The contracts are in the order of the stages that write their tables. All lists of tables use this order.
CONTRACT_NAMES = ("catalog", "shards", "run")
ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
}
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast loader, if PyYAML was built with libyaml. The pure Python loader would take a fifth of the run time of
`hubbleclip status`.
"""
NUM_NAMED_ROWS = 3
"""Maximum number of rows that an error message names."""
REQUIRED = "required"
RULE_PREDICATES: dict[str, Callable[[Any, Any], Any]] = {
    REQUIRED: lambda values, _: pc.is_valid(values),
    "minimum": pc.greater_equal,
    "maximum": pc.less_equal,
    "exclusiveMinimum": pc.greater,
    "exclusiveMaximum": pc.less,
    "minLength": lambda values, bound: pc.greater_equal(pc.utf8_length(values), bound),
    "maxLength": lambda values, bound: pc.less_equal(pc.utf8_length(values), bound),
    "pattern": pc.match_substring_regex,
    "minItems": lambda values, bound: pc.greater_equal(pc.list_value_length(values), bound),
    "maxItems": lambda values, bound: pc.less_equal(pc.list_value_length(values), bound),
    "validValues": lambda values, bound: pc.is_in(values, value_set=pa.array(bound)),
}
"""For each kind of rule, the function that checks whether each value of an Arrow column satisfies a bound.

The kinds are terms of the Open Data Contract Standard: `required`, `validValues`, and the keys of `logicalTypeOptions`,
such as `minimum`. A null breaks only the rule `required`. A NaN breaks every rule for a minimum or a maximum.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """One rule on the values of a column or, if `of_items` is true, on the items of the column's lists."""

    kind: str
    bound: Any
    of_items: bool = False

    @property
    def name(self) -> str:
        """Name of the rule, such as `minimum`, or `items.minimum` for the items of lists."""
        return f"items.{self.kind}" if self.of_items else self.kind

    def broken_rows(self, values: pa.ChunkedArray) -> list[int]:
        """Return the indices of the rows that break the rule."""
        if not self.of_items:
            return self._broken(values)
        items = self._broken(pc.list_flatten(values))
        # A row may have several invalid items; dict.fromkeys removes repeated row numbers and keeps the order.
        rows = pc.list_parent_indices(values) if items else pa.array([], pa.int64())
        return list(dict.fromkeys(rows.take(items).to_pylist())) if items else []

    def _broken(self, values: pa.ChunkedArray) -> list[int]:
        """List the positions of values that break the rule."""
        holds = RULE_PREDICATES[self.kind](values, self.bound)
        if pc.all(holds).as_py() is not False:  # all() is None for an empty column
            return []
        broken = pc.and_(pc.invert(holds), pc.is_valid(values)) if self.kind != REQUIRED else pc.invert(holds)
        return list(pc.indices_nonzero(pc.fill_null(broken, fill_value=False)).to_pylist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table. `sql_type` is a DuckDB type. `unit` is an astropy unit string or None. `sources` names the
    origin of the values, in the terms of `data_contracts/README.md`.
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
    """A foreign key: the values of `columns` must exist in `to_columns` of another table.

    A row in which one of the values is null refers to nothing and is valid.
    """

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
    """One table of a contract. The first entry of `references` links a row to its source, such as a tile's product."""

    name: str
    description: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    references: tuple[Reference, ...]
    rules: tuple[Rule, ...]

    def row_rules(self) -> tuple[Rule, ...]:
        """List the rules on whole rows or tables: unique keys, references, and the quality rules in SQL."""
        return (_key_rule(self), *(_reference_rule(self, reference) for reference in self.references), *self.rules)

    def schema(self) -> pa.Schema:
        """Derive the Arrow schema."""
        return pa.schema([_field(column) for column in self.columns])


def _field(column: Column) -> pa.Field:
    """Derive the Arrow field of a column."""
    metadata = {"description": column.description} | ({"unit": column.unit} if column.unit else {})
    return pa.field(column.name, ARROW_TYPES[column.sql_type], nullable=not column.required, metadata=metadata)


@cache
def read_contract(name: str) -> OpenDataContractStandard:
    """Read a contract and validate it against the standard's model."""
    from open_data_contract_standard.model import OpenDataContractStandard  # noqa: PLC0415 - a query of the catalog needs none

    text = files("data_contracts").joinpath(f"{name}.odcs.yaml").read_text(encoding="utf-8")
    return OpenDataContractStandard(**yaml.load(text, Loader=YAML_LOADER))  # noqa: S506 - a safe loader either way


def contract_version(name: str) -> str:
    """Return the version of a contract."""
    return str(read_contract(name).version)


def compatible_version(name: str) -> str:
    """Return a contract's version with the patch number replaced by 0.

    The digest of a dataset's inputs contains this version, because a patch release of the contract changes only
    descriptions and must not change the digest.
    """
    return f"{contract_version(name).rpartition('.')[0]}.0"


@cache
def tables() -> dict[str, Table]:
    """List every table by name, in the order of `CONTRACT_NAMES`."""
    return {table.name: table for name in CONTRACT_NAMES for table in contract_tables(read_contract(name))}


def contract_tables(contract: OpenDataContractStandard) -> list[Table]:
    """List the tables of one contract."""
    return [_table(schema) for schema in contract.schema_ or ()]


def _table(schema: SchemaObject) -> Table:
    """Convert a table from the model of the Open Data Contract Standard."""
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
    """Convert a property of the Open Data Contract Standard to a column; its custom property `unit` holds the unit."""
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
    """List a column's rules on single values, from `required`, `logicalTypeOptions` (also of items) and `quality`."""
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
    """List the references of a table; references of a single column come first."""
    links = [
        ([f"{schema.name}.{prop.name}"], [str(link.to)])
        for prop in schema.properties or ()
        for link in prop.relationships or ()
    ]
    links += [(list(link.from_ or ()), list(link.to or ())) for link in schema.relationships or ()]
    for columns, to in links:  # names of the form `table.column`
        yield Reference(
            columns=tuple(name.split(".")[1] for name in columns),
            to_table=to[0].split(".")[0],
            to_columns=tuple(name.split(".")[1] for name in to),
        )


def _key_rule(table: Table) -> Rule:
    """Make the rule that counts the keys that occur in more than one row."""
    keys = ", ".join(f'"{key}"' for key in table.keys)
    sql = f'SELECT count(*) FROM (SELECT 1 FROM "{table.name}" GROUP BY {keys} HAVING count(*) > 1)'  # noqa: S608
    return Rule(name="key.unique", sql=sql)


def _reference_rule(table: Table, reference: Reference) -> Rule:
    """Make the rule that counts the rows whose referenced row does not exist. Null references are not counted."""
    pairs = list(zip(reference.columns, reference.to_columns, strict=True))
    same = " AND ".join(f'child."{child}" = parent."{parent}"' for child, parent in pairs)
    given = " AND ".join(f'child."{child}" IS NOT NULL' for child in reference.columns)
    sql = f'SELECT count(*) FROM "{table.name}" child ANTI JOIN "{reference.to_table}" parent ON {same} WHERE {given}'  # noqa: S608
    return Rule(name=f"{'_'.join(reference.columns)}.in_{reference.to_table}", sql=sql)


def to_arrow(table_name: str, rows: Sequence[Record] | pa.Table) -> pa.Table:
    """Cast rows to the contract's schema and check nulls and keys.

    Raises ContractError if a column is missing, a type does not fit, a required value is null or a key is repeated. The
    message names the table, the column and the rows.
    """
    table, cast = tables()[table_name], cast_rows(table_name, rows)
    _check_nulls(table, cast)
    _check_keys(table, cast)
    return cast


def cast_rows(table_name: str, rows: Sequence[Record] | pa.Table) -> pa.Table:
    """Cast rows to the columns, order and types of the contract, without checking nulls and keys.

    Raises ContractError if a column is missing or a type does not fit.
    """
    table = tables()[table_name]
    return pa.table([_typed_column(table, column, rows) for column in table.columns], schema=table.schema())


def _typed_column(table: Table, column: Column, rows: Sequence[Record] | pa.Table) -> pa.Array | pa.ChunkedArray:
    """Return the values of one column, cast to the column's type in the contract."""
    sql_type = ARROW_TYPES[column.sql_type]
    try:
        if isinstance(rows, pa.Table):
            return rows[column.name].cast(sql_type)
        return pa.array([getattr(row, column.name) for row in rows], type=sql_type)
    except KeyError as error:
        raise ContractError(f"table {table.name}: rows lack the column {column.name}") from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise ContractError(
            f"table {table.name}, column {column.name}: cannot cast to {column.sql_type}: {error}"
        ) from error


def _check_nulls(table: Table, rows: pa.Table) -> None:
    """Raise ContractError if a required column has a null."""
    for column in table.columns:
        if column.required and rows[column.name].null_count:
            nulls = pc.indices_nonzero(pc.is_null(rows[column.name]))[:NUM_NAMED_ROWS]
            keys = [json.dumps([rows[key][i].as_py() for key in table.keys]) for i in nulls.to_pylist()]
            raise ContractError(f"table {table.name}, column {column.name}: required, but null in rows {keys}")


def _check_keys(table: Table, rows: pa.Table) -> None:
    """Raise ContractError if two rows have the same key."""
    counts = rows.select(table.keys).group_by(list(table.keys)).aggregate([([], "count_all")])
    if counts.num_rows < rows.num_rows:
        repeated = counts.filter(pc.greater(counts["count_all"], 1)).select(table.keys).slice(0, NUM_NAMED_ROWS)
        keys = [tuple(row.values()) for row in repeated.to_pylist()]
        raise ContractError(f"table {table.name}: several rows of a batch have the same key {table.keys}: {keys}")
