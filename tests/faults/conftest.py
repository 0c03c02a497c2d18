"""One Prefect server for all storms, and the tables that they leave at the end of the test run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness
from rich.console import Console
from rich.table import Table

TABLES = pytest.StashKey[list[Table]]()


@pytest.fixture(scope="session")
def prefect() -> Iterator[str]:
    """Its address."""
    importlib.import_module("astroquery.mast")  # takes seconds, which no run should be charged with
    quiet = {PREFECT_SERVER_ANALYTICS_ENABLED: False, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=200):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def tables(pytestconfig: pytest.Config) -> list[Table]:
    """Tables to be shown at the end."""
    return pytestconfig.stash.setdefault(TABLES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    console = Console(width=100)
    for table in config.stash.get(TABLES, []):
        with console.capture() as shown:
            console.print(table)
        terminalreporter.write_line(shown.get())
