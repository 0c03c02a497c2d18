"""Run an experiment as a command, write its results, and put its tables into pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cyclopts import App

from hubbleclip.cli.live import start_logging
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import write_text

ROOT = Path(__file__).parents[1]


def run(app: App) -> None:
    """Run a command of an experiment; an error that the user can correct is printed as one line."""
    with closing(start_logging()):
        try:
            app()
        except HubbleclipError as error:
            sys.stderr.write(f"hubbleclip: {error}\n")
            sys.exit(2)


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    write_text(path, json.dumps(results, indent=1, sort_keys=True) + "\n")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def with_interval(value: float, low: float, high: float, *, digits: int = 1) -> str:
    """Format a value, such as `85.2 (80.1 to 89.0)`."""
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def difference_with_interval(value: float, low: float, high: float, *, digits: int = 1) -> str:
    """Format a difference, such as `**+4.1** (+0.5 to +7.7)`; it is bold if its interval excludes 0."""
    mark = "**" if low > 0 or high < 0 else ""
    return f"{mark}{value:+.{digits}f}{mark} ({low:+.{digits}f} to {high:+.{digits}f})"


def update_page(path: Path, made: Mapping[str, str]) -> None:
    """Replace tables of a Markdown file, by name."""
    write_text(path, replace_tables(path.read_text(encoding="utf-8"), made))


def replace_tables(page: str, made: Mapping[str, str]) -> str:
    """Replace the tables of a page, each between two HTML comments with its name; ValueError if one has no place."""
    for name, table in made.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has no place for the table {name!r}")
        page = f"{page.partition(start)[0]}{start}\n{table}\n{end}{page.partition(end)[2]}"
    return page
