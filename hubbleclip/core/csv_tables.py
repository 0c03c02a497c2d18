"""Write tables as CSV in which no text is a formula for a spreadsheet or a control sequence for a terminal."""

from __future__ import annotations

import io
import re

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hubbleclip.core.errors import CONTROL, without_control

FORMULA = r"^([=+@\t-])"
"""Matches the start of a text that a spreadsheet would run as a formula."""


def csv_bytes(table: pa.Table, *, has_header: bool = True) -> bytes:
    """Write a table as CSV; control characters become U+FFFD, and a formula gets an apostrophe as first character."""
    for index, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            plain = pc.replace_substring_regex(table[index].cast(pa.string()), CONTROL.pattern, "\ufffd")
            table = table.set_column(index, field.name, pc.replace_substring_regex(plain, FORMULA, r"'\1"))
    table = table.rename_columns([re.sub(FORMULA, r"'\1", without_control(name)) for name in table.column_names])
    content = io.BytesIO()
    csv.write_csv(table, content, csv.WriteOptions(include_header=has_header))
    return content.getvalue()
