"""Writing files so that a kill at any moment leaves the old file or the new one, never a half."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hubbleclip.core.errors import FULL_DISK, DiskFullError

CHUNK_BYTES = 1 << 20
MANY_FILES = 8


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes | memoryview) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[Path]) -> None:
    """Make files and their places in their folders survive a power cut: what must be done before a row names them.

    Many are synced by one call for the whole file system where the system has one: a hundred times faster than each.
    """
    found = [path for path in paths if path.is_file()]
    if len(found) >= MANY_FILES and _sync_file_systems(found):
        return
    for path in found:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for folder in {path.parent for path in found}:
        sync_folder(folder)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep others who ask for the same out of `folder`; the kernel lets go when we die, and no file is left behind.

    Raises BlockingIOError while another has it, where we do not `wait`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(opened)


def _sync_file_systems(paths: Iterable[Path]) -> bool:
    """Whether the system can sync those that hold these files, and has. Raises OSError."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    for folder in {path.stat().st_dev: path.parent for path in paths}.values():
        handle = os.open(folder, os.O_RDONLY)
        try:
            if syncfs(handle):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        finally:
            os.close(handle)
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let the system's word that no more can be written out as a DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise DiskFullError(
            f"no more can be written at {path.parent} ({error.strerror}): make room or set --data, then run it again"
        ) from error


@contextmanager
def replacing(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it over `path`, on failure remove it.

    Of many files that are not synced each, a power cut may leave halves until `sync_files` has been called for all.
    Raises DiskFullError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with writing(path), ExitStack() as left:
        path.parent.mkdir(parents=True, exist_ok=True)
        left.callback(temporary.unlink, missing_ok=True)
        yield temporary
        if is_synced:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_synced:
            sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a whole file, atomically; see `replacing`."""
    with replacing(path, is_synced=is_synced) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file, atomically."""
    write_bytes(path, text.encode("utf-8"))
