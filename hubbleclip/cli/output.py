"""Print the output of commands as lines, tables, named values or JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hubbleclip.core.errors import HubbleclipError

if TYPE_CHECKING:
    import pyarrow as pa

PIPED_WIDTH = 100_000
"""Largest width of a table that is not printed to a terminal: an id that is cut or wrapped cannot be used."""
console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
TableFormat = Literal["table", "json", "csv", "parquet"]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters except tab and line feed. In a text from outside, they could write over the terminal."""


def print_line(text: str) -> None:
    """Print one line without markup and without wrapping, so that paths can be copied.

    Parameters
    ----------
    text
        Text of the line, without a line break.

    """
    console.print(without_control(text), highlight=False, markup=False, soft_wrap=True)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table.

    Parameters
    ----------
    rows
        Rows as dicts by column name; all rows have the same columns.

    """
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else ())), highlight=True)
    for row in rows:
        # Text is used instead of str, because rich would interpret brackets as in `[O III]`.
        table.add_row(*(Text("" if value is None else without_control(str(value))) for value in row.values()))
    console.print(table)


def without_control(text: str) -> str:
    """Replace the control characters of a text by U+FFFD, so that it cannot send commands to a terminal.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        Text of the same length; tabs and line feeds are kept.

    """
    return CONTROL.sub("\ufffd", text)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print named values, one name and value per line.

    Parameters
    ----------
    facts
        Values by name; None is printed as empty.

    """
    for name, value in facts.items():
        print_line(f"{name:24} {'' if value is None else value}")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output.

    Parameters
    ----------
    value
        Any JSON value; paths and times in it are printed as text.

    """
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_table(table: pa.Table, form: TableFormat) -> None:
    """Write an Arrow table on standard output.

    Parameters
    ----------
    table
        Any table.
    form
        `table` for people, `json` (a list of objects), `csv`, or `parquet` (for a file or a pipe).

    Raises
    ------
    HubbleclipError
        If Parquet would be written to a terminal.

    """
    if form == "table":
        print_rows(table.to_pylist())
    elif form == "json":
        print_json(table.to_pylist())
    elif form == "parquet" and sys.stdout.isatty():
        raise HubbleclipError("Parquet is not text: write `--format parquet > rows.parquet`")
    else:
        print_bytes(as_bytes(table, form))


def print_bytes(content: bytes) -> None:
    """Write a file on standard output: as it is to a pipe, and without control characters to a terminal.

    Parameters
    ----------
    content
        Content of the file; text, or of any kind if standard output is no terminal.

    """
    sys.stdout.flush()
    if sys.stdout.isatty():
        content = without_control(content.decode()).encode()
    sys.stdout.buffer.write(content)


def as_bytes(table: pa.Table, form: Literal["csv", "parquet"]) -> bytes:
    """Write an Arrow table as CSV or Parquet.

    Parameters
    ----------
    table
        Any table. CSV has no lists and structs, so that these are written as JSON.
    form
        The format.

    Returns
    -------
    bytes
        Content of a file.

    """
    import io

    import pyarrow as pa
    from pyarrow import csv, parquet

    content = io.BytesIO()
    if form == "parquet":
        parquet.write_table(table, content)
        return content.getvalue()
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            texts = [None if value is None else json.dumps(value, default=str) for value in table[index].to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    csv.write_csv(table, content)
    return content.getvalue()
