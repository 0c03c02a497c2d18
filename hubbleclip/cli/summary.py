"""Say at the end what came out: the headline, the report, how to open it, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from hubbleclip.cli.options import Options
from hubbleclip.cli.output import LABEL, console, print_line
from hubbleclip.core.layout import Layout

OPENERS = ("xdg-open", "open")
"""Commands that open a file in the program of the desktop, on Linux and macOS."""


def print_summary(options: Options) -> None:
    """Print the newest result of a profile in a box, or as plain lines if standard output is no terminal."""
    from hubbleclip.pipeline.history import newest_result

    result = newest_result(Layout(options.settings().root))
    if result is None:
        return
    lines = summary_lines(result, options)
    if not console.is_terminal:
        for line in lines:
            print_line(line)
        return
    box = Table.grid("", Column(overflow="fold"))
    for line in lines:
        box.add_row(line[:LABEL], Text(line[LABEL:]))
    console.print(Panel(box, title=f"hubbleclip, profile {options.profile}", expand=False))


def summary_lines(result: dict[str, str], options: Options) -> list[str]:
    """Write the lines of the box."""
    flags = options.flags()
    return [
        f"result   {result['headline']} of the test images have their own abstract among the nearest 10 %, "
        f"with the 95 % interval; chance is {result['chance']}",
        f"report   {result['page']}",
        f"open it  {open_command(Path(result['page']))}",
        f'next     hubbleclip search "spiral galaxy"{flags}',
        f"         hubbleclip serve{flags}",
        f"         hubbleclip runs{flags}",
    ]


def open_command(page: Path) -> str:
    """Write the command that opens a page in a browser."""
    opener = next((name for name in OPENERS if shutil.which(name)), None)
    if opener:
        return f"{opener} {shlex.quote(str(page))}"
    return f"{shlex.quote(sys.executable)} -m webbrowser {shlex.quote(page.as_uri())}"
