"""What commands show: tables, facts, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hubbleclip.pipeline.status import Status

out = Console()


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same columns as a table."""
    table = Table(*(rows[0] if rows else ()), highlight=True)
    for row in rows:
        table.add_row(*(as_cell(value) for value in row.values()))
    out.print(table)


def as_cell(value: Any) -> Text:
    """A value as it is, also one with brackets, such as [O III], which rich would take for markup; None is empty."""
    return Text("" if value is None else str(value))


def print_lines(*lines: str) -> None:
    """Lines as they are, however long."""
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def print_facts(facts: Mapping[str, Any]) -> None:
    """A name and its value on each line."""
    print_lines(*(f"{name:24} {'' if value is None else value}" for name, value in facts.items()))


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_status(found: Status) -> None:
    """Print the status of a profile, one fact per line."""
    from hubbleclip.pipeline.status import status_lines  # noqa: PLC0415 - brings DuckDB

    print_lines(*status_lines(found))
