"""The exclusive lock of the process that writes the catalog."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import IO

from hubbleclip.core.errors import CatalogError, CatalogLockedError
from hubbleclip.core.io import lock_at_once, make_folder, writing
from hubbleclip.core.layout import Layout


@contextmanager
def catalog_lock(layout: Layout) -> Iterator[None]:
    """Hold the exclusive lock that a process needs to write the catalog.

    Raises CatalogLockedError, which names the holder, if another process holds it.
    """
    path = layout.lock
    # `writing` converts errors of a full disk. It encloses the whole block, because even closing the file may fail.
    with writing(path), ExitStack() as closing:
        make_folder(path.parent)
        file = closing.enter_context(path.open("a+", encoding="utf-8"))
        with _locking(file):
            lock_at_once(file)
        file.seek(0)
        file.truncate()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started_at": started}, file)
        file.flush()
        yield


def check_unlocked(layout: Layout) -> None:
    """Raise CatalogLockedError, which names the holder, if another process writes the catalog now."""
    with suppress(FileNotFoundError), layout.lock.open(encoding="utf-8") as file, _locking(file):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a shared lock, so that simultaneous checks do not conflict


@contextmanager
def _locking(file: IO[str]) -> Iterator[None]:
    """Raise CatalogLockedError if another process has the lock, and CatalogError if the disk does not support locks."""
    try:
        yield
    except BlockingIOError as error:
        raise CatalogLockedError(f"the catalog is being written by {_holder(file)}: wait for it or stop it") from error
    except OSError as error:
        problem = f"the file system of {file.name} does not support locks ({error.strerror})"
        raise CatalogError(f"{problem}: set --data to a local disk") from error


def _holder(file: IO[str]) -> str:
    """Describe the process that holds the lock, as recorded in the lock file."""
    file.seek(0)
    try:
        holder = json.load(file)
    except json.JSONDecodeError:  # the other process has not written its entry yet
        return "another process"
    return f"process {holder['pid']} on {holder['host']} since {holder['started_at']}"
