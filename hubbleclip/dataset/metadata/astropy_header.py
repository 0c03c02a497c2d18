"""File metadata with which astropy reads a Parquet file that has null or nested texts, with units."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import yaml

MIN_CHARACTERS = len("None")
"""astropy shows a null text as `None`."""


def with_astropy_header(table: pa.Table) -> pa.Table:
    """Add the metadata that astropy's Parquet reader needs to a table."""
    metadata = {f"table::len::{field.name}": str(_max_characters(table[field.name])) for field in table.schema}
    columns = []
    for field in table.schema:
        described = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
        columns.append({"name": field.name, "datatype": str(field.type)} | described)
    return table.replace_schema_metadata(metadata | {"table_meta_yaml": yaml.safe_dump({"datatype": columns})})


def _max_characters(column: pa.ChunkedArray) -> int:
    """Return the length of the longest text of a column; `MIN_CHARACTERS` for columns of other types."""
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    longest = pc.max(pc.utf8_length(column)).as_py() if pa.types.is_string(column.type) else None
    return max(longest or 0, MIN_CHARACTERS)
