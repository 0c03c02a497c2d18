"""`make contracts`: every rule of the contracts against the published catalog, by our own checker; and the contracts as
one file for others that check them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cyclopts import App
from open_data_contract_standard.model import OpenDataContractStandard, Server
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.cli.options import Options
from hubbleclip.contracts.audit import RuleResult, check_rules
from hubbleclip.contracts.compatibility import snapshot
from hubbleclip.contracts.schema import CONTRACT_NAMES, read_contract
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout

app = App()


@app.default
def check(options: Options = Options()) -> None:
    """List every rule, the rows that it looked at and how many break it; exit code 1 when any does."""
    with read_catalog(Layout(options.settings().root)) as catalog:
        checked = list(check_rules(catalog.query))
    broken = [item for item in checked if item.num_broken]
    console = Console()
    console.print(as_table(checked))
    if broken:
        console.print("Broken:", as_table(broken))
    sys.stdout.write(f"{len(checked) - len(broken)} of {len(checked)} rules hold\n")
    sys.exit(1 if broken else 0)


def as_table(checked: list[RuleResult]) -> Table:
    """Rules, the rows that they looked at, and how many break them."""
    table = Table("table", "rule", "rows", "broken")
    for item in checked:
        table.add_row(item.table, Text(item.rule), f"{item.num_rows:,}", f"{item.num_broken:,}")
    return table


@app.command
def joined(options: Options = Options(), *, out: Path) -> None:
    """Write all contracts as one whose server is the profile's catalog: datacontract-cli follows no reference from one
    file to another.
    """
    contracts = [read_contract(name) for name in CONTRACT_NAMES]
    database = str(Layout(options.settings().root).catalog.resolve())
    server = Server.model_validate({"server": "local", "type": "duckdb", "database": database, "schema": "main"})
    schemas = [schema for contract in contracts for schema in contract.schema_ or ()]
    changes = {"id": "hubbleclip", "name": "Catalog", "servers": [server], "schema_": schemas}
    out.write_text(contracts[0].model_copy(update=changes).to_yaml(), encoding="utf-8")


@app.command
def release(contract: Path, folder: Path) -> None:
    """Keep a contract's snapshot, which later changes are compared with."""
    told = snapshot(OpenDataContractStandard.from_string(contract.read_text(encoding="utf-8")))
    name = contract.name.split(".")[0]
    path = folder / f"{name}-{told['version']}.json"
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
