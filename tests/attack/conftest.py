"""The table of `make attack`."""

import pytest
from rich.table import Table

from tests.attack.table import Attacks


@pytest.fixture(scope="session")
def attacks(tables: list[Table]) -> Attacks:
    table = Table("attack", "outcome", "seconds", "peak MB", title="Attacks")
    tables.append(table)
    return Attacks(table)
