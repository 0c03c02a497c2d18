"""Tables that tests leave at the end of the run, by whichever of pytest's processes they were made; no test of drawn cases
that fails since a machine is busy; and no test that writes caches to the folder of another.
Drawn cases are the same in each run, so that no change is refused for a draw of its own; DRAW_CASES=1 draws new ones.
What takes long to make is made once.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, run, servers, until_ended
from hypothesis import HealthCheck, settings
from rich.console import Console
from rich.table import Table

from hubbleclip.cli.running import CACHE_FOLDERS
from hubbleclip.core.io import locked

settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("DRAW_CASES"),
)
settings.load_profile("unhurried")
TABLES = pytest.StashKey[list[str]]()


def pytest_configure() -> None:
    """Switch garbage collection off during the imports (a fifth of their time); make lost sorts and zones visible.

    Tests run far from UTC, and folders are listed in reverse, since no result may depend on either.
    """
    gc.disable()
    os.environ["TZ"] = "Pacific/Chatham"
    time.tzset()
    for name in ("glob", "iterdir", "rglob"):
        listed = getattr(Path, name)
        setattr(Path, name, lambda *args, listed=listed, **more: iter(sorted(listed(*args, **more), reverse=True)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


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


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a folder by name, once for all processes of pytest; such a folder is only copied."""
    base = tmp_path_factory.getbasetemp()

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
        with locked(folder):
            if not (folder / "ended").exists():
                shutil.rmtree(folder / "data", ignore_errors=True)  # of another worker, where it failed
                make(folder / "data")
                (folder / "ended").touch()
        return folder / "data"

    return folder_of


@pytest.fixture(scope="session")
def finished_demo(made_once: Callable[..., Path]) -> Path:
    """Data folder of a whole pipeline with the settings `SMALL`."""

    def make(data: Path) -> None:
        before = servers()
        outcome = run("pipeline", data=data, settings=SMALL)
        assert outcome.code == 0, outcome.err
        assert "Traceback" not in outcome.err + outcome.out
        until_ended(before)

    return made_once("finished-demo", make)


def shown(table: Table) -> str:
    console = Console(width=100)
    with console.capture() as text:
        console.print(table if table.columns else table.title)  # a table without columns prints nothing
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
