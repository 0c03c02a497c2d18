"""Names for the calls of commands and flows, of which a module has a `fail` of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from flows import artifacts, server
from hubbleclip.core.io import write_text

__all__ = ["Path", "SimpleNamespace", "datetime"]


def throw(error: BaseException) -> None:
    raise error


@contextmanager
def fresh_home(data: Path) -> Iterator[Path]:
    """The home of a Prefect server, in an environment without Prefect's variables."""
    with patch.dict("os.environ", {"PATH": ""}, clear=True):
        server.make_private(home := server.prefect_home(data))
        yield home


@contextmanager
def running_server(data: Path) -> Iterator[Path]:
    """The home of a server that holds its lock."""
    with fresh_home(data) as home:
        lock = server.lock_server(home)
        write_text(home / server.PORT_FILE, "4321")
        yield home
        os.close(lock)


def report_progress(work: str, total: int, *done: int) -> None:
    """Report progress to the page of a flow run."""
    bars = artifacts.ProgressArtifacts()
    for num in done:
        bars.emit(logging.makeLogRecord({"msg": "m", "work": work, "done": num, "total": total}))
