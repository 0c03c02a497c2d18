"""Print the output of commands as lines, tables, named values or JSON."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hubbleclip.core.errors import without_control

PIPED_WIDTH = 100_000
"""Width of tables that are not printed to a terminal; it is large, so that no id is truncated or wrapped."""
LABEL = 9
"""Width of the labels of `print_wrapped`, with the space after them."""
console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def print_line(text: str) -> None:
    """Print one line without markup and without wrapping, so that paths can be copied."""
    console.print(without_control(text), highlight=False, markup=False, soft_wrap=True)


def print_wrapped(text: str) -> None:
    """Print a text that begins with a label. All lines after the first are indented by `LABEL` spaces.

    Lines end between words. A path is not broken, so that it can be copied.
    """
    wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
    for line in wrap(without_control(text), console.width, subsequent_indent=" " * LABEL):
        print_line(line)


def print_cut(text: str) -> None:
    """Print one line, truncated to the width of the terminal."""
    console.print(Text(without_control(text)), no_wrap=True, overflow="ellipsis")


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table."""
    # An id is not broken, so that it can be copied; other columns become narrower.
    columns = (
        Column(Text(without_control(name)), overflow="fold", no_wrap=name.endswith("_id"))
        for name in (rows[0] if rows else ())
    )
    table = Table(*columns, highlight=True)
    for row in rows:
        # Text is used instead of str, because rich reads brackets in a str, such as `[O III]`, as markup.
        table.add_row(*(Text("" if value is None else without_control(str(value))) for value in row.values()))
    console.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print named values, one name and value per line."""
    for name, value in facts.items():
        print_line(f"{name:24} {'' if value is None else value}")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_bytes(content: bytes) -> None:
    """Write bytes to standard output: unchanged to a pipe, and without control characters to a terminal."""
    sys.stdout.flush()
    if sys.stdout.isatty():
        content = without_control(content.decode()).encode()
    sys.stdout.buffer.write(content)
