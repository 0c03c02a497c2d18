"""Commands that list the runs, datasets and reports of a profile, newest first; and the completion of a shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from hubbleclip.cli.advice import complete_advice
from hubbleclip.cli.options import Json, Options
from hubbleclip.cli.output import print_json, print_line, print_rows
from hubbleclip.core.layout import Layout

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell, such as bash.")]


def add_listings(app: App) -> None:
    """Add the commands of this module to the command line."""
    for command in (runs, datasets, reports):
        app.command(command)

    @app.command
    def completion(shell: Shell = "bash") -> None:
        """Print a script that completes commands and options; put `source <(hubbleclip completion)` into ~/.bashrc."""
        print_line(app.generate_completion(shell=shell))


def runs(options: Options = Options(), *, json: Json = False) -> None:
    """List all runs with their dates, their state and the headline on the test split."""
    from hubbleclip.pipeline.history import list_runs

    show(list_runs, options, json=json, hint="there is no run yet: run `hubbleclip train`")


def datasets(options: Options = Options(), *, json: Json = False) -> None:
    """List all datasets with their dates and sizes."""
    from hubbleclip.pipeline.history import list_datasets

    show(list_datasets, options, json=json, hint="there is no dataset yet: run `hubbleclip dataset`")


def reports(options: Options = Options(), *, json: Json = False) -> None:
    """List all reports with their dates, the headline on the test split, and the page to open in a browser."""
    from hubbleclip.pipeline.history import list_reports

    show(list_reports, options, json=json, hint="there is no report yet: run `hubbleclip evaluate`")


def show(read: Callable[[Layout], list[dict[str, Any]]], options: Options, *, json: bool, hint: str) -> None:
    """Print rows as a table or as JSON."""
    rows = read(Layout(options.settings().root))
    if json:
        print_json(rows)
    elif rows:
        print_rows(rows)
    else:
        print_line(complete_advice(hint, options.flags().strip()))
