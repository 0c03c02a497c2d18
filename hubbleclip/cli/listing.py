"""Commands that show what a profile has: `status`, `runs`, `datasets`, `reports`, `promoted` and `explain`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hubbleclip.cli.options import Json, Options, TileId, complete_advice
from hubbleclip.cli.output import print_facts, print_json, print_line, print_rows, print_wrapped
from hubbleclip.core.layout import Layout

OPENERS = ("xdg-open", "open")
"""Commands that open a file in its default application: the first on Linux, the second on macOS."""


def status(options: Options = Options(), *, json: Json = False) -> None:
    """Show what exists, what was rejected, and what is pending."""
    from hubbleclip.pipeline.status import read_status, status_lines

    found = read_status(options.settings())
    if json:
        print_json(asdict(found))
        return
    for line in status_lines(found):
        print_wrapped(line)
    if found.catalog is None:
        print_line(
            complete_advice("next     run `hubbleclip pipeline`, or `hubbleclip dataset` first", options.flags()[1:])
        )


def runs(options: Options = Options(), *, json: Json = False) -> None:
    """List all runs with their dates, their state and the headline metric on the test split."""
    from hubbleclip.pipeline.history import list_runs

    show(list_runs, options, json=json, hint="there is no run yet: run `hubbleclip train`")


def datasets(options: Options = Options(), *, json: Json = False) -> None:
    """List all datasets with their dates and sizes."""
    from hubbleclip.pipeline.history import list_datasets

    show(list_datasets, options, json=json, hint="there is no dataset yet: run `hubbleclip dataset`")


def reports(options: Options = Options(), *, json: Json = False) -> None:
    """List all reports with their dates, the headline metric on the test split, and the page to open in a browser."""
    from hubbleclip.pipeline.history import list_reports

    show(list_reports, options, json=json, hint="there is no report yet: run `hubbleclip evaluate`")


def show(read: Callable[[Layout], list[dict[str, Any]]], options: Options, *, json: bool, hint: str) -> None:
    """Print rows as a table or as JSON."""
    rows = read(options.layout())
    if json:
        print_json(rows)
    elif rows:
        print_rows(rows)
    else:
        print_line(complete_advice(hint, options.flags().strip()))


def promoted(options: Options = Options(), *, json: Json = False) -> None:
    """Show the best run so far on the validation split, and the comparison that promoted it."""
    from hubbleclip.pipeline.promotion import read_promoted

    (print_json if json else print_facts)(read_promoted(options.layout()))


def explain(tile_id: TileId, options: Options = Options(), *, json: Json = False) -> None:
    """Show the lineage of a tile: shard, product, observation, proposal."""
    from hubbleclip.pipeline.history import explain as explain_tile

    (print_json if json else print_facts)(explain_tile(options.layout(), tile_id))


def print_summary(options: Options, run: str = "", *, is_own: bool = False) -> None:
    """Print the result of the evaluated run, and the commands to run next."""
    from hubbleclip.pipeline.history import newest_result

    result = newest_result(options.settings(), run, is_own=is_own)
    for line in summary_lines(result, options) if result else ():
        print_wrapped(line)


def summary_lines(result: dict[str, str], options: Options) -> list[str]:
    """Format a result and the commands to run next as lines."""
    flags = options.flags()
    searches = [f'next     hubbleclip search "spiral galaxy"{flags}', f"         hubbleclip serve{flags}"]
    return [
        f"run      {result['run']}",
        f"result   {result['headline']} of the test images have their own abstract among the nearest 10 %, "
        f"with the 95 % interval in brackets; chance is {result['chance']}",
        f"report   {result['page']}",
        f"open it  {open_command(Path(result['page']))}",
        *([f"next     {complete_advice(result['problem'], flags.strip())}"] if result["problem"] else searches),
        f"         hubbleclip runs{flags}",
    ]


def open_command(page: Path) -> str:
    """Return the command that opens a page in a browser."""
    opener = next((name for name in OPENERS if shutil.which(name)), None)
    if opener:
        return f"{opener} {shlex.quote(str(page))}"
    return f"{shlex.quote(sys.executable)} -m webbrowser {shlex.quote(page.as_uri())}"
