"""`make contracts`: every quality rule of the contracts against the published catalog."""

from __future__ import annotations

import sys

from cyclopts import App

from flows.cli import Options
from hubbleclip.catalog import read_catalog
from hubbleclip.contracts import tables
from hubbleclip.errors import HubbleclipError
from hubbleclip.paths import Layout

app = App()


@app.default
def check(options: Options = Options()) -> None:
    """Say which rules are broken and by how many rows; exit code 1 when one is."""
    with read_catalog(Layout(options.settings().root)) as catalog:
        broken = catalog.broken_rules()
    num_rules = sum(len(table.rules) for table in tables().values())
    for table, rule, num in broken:
        sys.stdout.write(f"table {table}, rule {rule}: {num} rows break it\n")
    sys.stdout.write(f"{num_rules - len(broken)} of {num_rules} rules hold\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
