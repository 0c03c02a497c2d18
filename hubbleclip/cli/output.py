"""What commands show: tables, facts, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hubbleclip.pipeline.status import Status, status_lines

out = Console()


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same columns as a table."""
    table = Table(*(rows[0] if rows else ()), highlight=True)
    for row in rows:
        table.add_row(*(text_cell(value) for value in row.values()))
    out.print(table)


def text_cell(value: Any) -> Text:
    """A value as it is, also one with brackets, such as [O III], which rich would take for markup; None is empty."""
    return Text("" if value is None else str(value))


def print_status(found: Status) -> None:
    """The status for people."""
    for line in status_lines(found):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def print_facts(facts: Mapping[str, Any]) -> None:
    """A name and its value on each line."""
    for name, value in facts.items():
        out.print(f"{name:24} {'' if value is None else value}", highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
