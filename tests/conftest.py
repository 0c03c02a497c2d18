"""Tables that tests leave at the end of the run, by whichever of pytest's processes they were made; no test of drawn cases
that fails since a machine is busy; and no test that writes caches to the folder of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from rich.console import Console
from rich.table import Table

from hubbleclip.cli.running import CACHE_FOLDERS

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
TABLES = pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def _caches() -> Iterator[None]:
    """Unset what a command run in this process sets: pytest deletes the folder of its test when that has passed."""
    unset = CACHE_FOLDERS.keys() - os.environ.keys()
    yield
    for variable in unset & os.environ.keys():
        del os.environ[variable]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A nightly test is slow too, so that `-m "not slow"` omits it."""
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.slow)


def shown(table: Table) -> str:
    console = Console(width=100)
    with console.capture() as text:
        console.print(table)
    return text.get()


@pytest.fixture(scope="session")
def tables(pytestconfig: pytest.Config) -> Iterator[list[Table]]:
    """Tables to be shown at the end."""
    made: list[Table] = []
    yield made
    pytestconfig.stash.setdefault(TABLES, []).extend(map(shown, made))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tables"] = session.config.stash.get(TABLES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash.setdefault(TABLES, []).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for text in config.stash.get(TABLES, []):
        terminalreporter.write_line(text)
