"""`make contracts`: check the published catalog against every rule of the contracts; export and release contracts."""

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
from hubbleclip.contracts.schema import CONTRACT_NAMES, read_contract
from hubbleclip.contracts.snapshot import snapshot
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout

app = App()


@app.default
def check(options: Options = Options()) -> None:
    """List every rule with its numbers of rows and of broken rows. The exit code is 1 if any row breaks a rule."""
    with read_catalog(Layout(options.settings().root)) as catalog:
        results = list(check_rules(catalog.query))
    broken = [result for result in results if result.num_broken]
    console = Console()
    console.print(as_table(results))
    if broken:
        console.print("Broken:", as_table(broken))
    sys.stdout.write(f"{len(results) - len(broken)} of {len(results)} rules hold\n")
    sys.exit(1 if broken else 0)


def as_table(results: list[RuleResult]) -> Table:
    """Format results as a table for the terminal."""
    table = Table("table", "rule", "rows", "broken")
    for result in results:
        # Text is used instead of str, because rich would read brackets in the name of a rule as markup.
        table.add_row(result.table, Text(result.rule), f"{result.num_rows:,}", f"{result.num_broken:,}")
    return table


@app.command
def joined(options: Options = Options(), *, out: Path) -> None:
    """Write all contracts as one file whose server is the profile's catalog.

    One file is needed because datacontract-cli does not follow references from one file to another.
    """
    contracts = [read_contract(name) for name in CONTRACT_NAMES]
    database = str(Layout(options.settings().root).catalog.resolve())
    server = Server.model_validate({"server": "local", "type": "duckdb", "database": database, "schema": "main"})
    schemas = [schema for contract in contracts for schema in contract.schema_ or ()]
    changes = {"id": "hubbleclip", "name": "Catalog", "servers": [server], "schema_": schemas}
    out.write_text(contracts[0].model_copy(update=changes).to_yaml(), encoding="utf-8")


@app.command
def release(contract: Path, folder: Path) -> None:
    """Write the snapshot of a contract, with which later versions of the contract are compared."""
    released = snapshot(OpenDataContractStandard.from_string(contract.read_text(encoding="utf-8")))
    name = contract.name.split(".")[0]
    path = folder / f"{name}-{released['version']}.json"
    path.write_text(json.dumps(released, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        app()
    except HubbleclipError as error:
        sys.exit(f"hubbleclip: {error}")
