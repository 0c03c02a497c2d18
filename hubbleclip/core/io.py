"""Atomic file writing: a kill at any moment leaves the old file or the new one, never a truncated one."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hubbleclip.core.errors import DISK_FULL_ERRNOS, DiskFullError

SYNCFS_MIN_FILES = 8
"""From this number of files on, one `syncfs` per file system replaces one `fsync` per file."""


def sha256_file(path: Path) -> str:
    """Hash a file's content.

    Parameters
    ----------
    path
        An existing file.

    Returns
    -------
    str
        64 hex digits.

    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes | memoryview) -> str:
    """Hash bytes.

    Parameters
    ----------
    data
        Any number of bytes.

    Returns
    -------
    str
        64 hex digits.

    """
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut.

    Parameters
    ----------
    folder
        An existing folder.

    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[Path]) -> None:
    """Flush files and their folder entries to disk. Call it before a catalog row names the files.

    Parameters
    ----------
    paths
        Files to flush; missing ones are skipped.

    Notes
    -----
    Many files are flushed by one `syncfs` call per file system where the system has it, which takes about a hundredth
    of the time of one `fsync` per file.

    """
    files = [path for path in paths if path.is_file()]
    if len(files) >= SYNCFS_MIN_FILES and _sync_file_systems(files):
        return
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for folder in {path.parent for path in files}:
        sync_folder(folder)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive advisory lock on a folder. The kernel releases it when the process ends; no lock file is left.

    Parameters
    ----------
    folder
        Created if it does not exist.
    wait
        Wait for another holder; without, raise BlockingIOError.

    Yields
    ------
    None
        While the lock is held.

    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)  # which also releases the lock


def _sync_file_systems(paths: Iterable[Path]) -> bool:
    """Flush the file systems that hold the paths; False where the system has no `syncfs`. Raises OSError."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # macOS
        return False
    for folder in {path.stat().st_dev: path.parent for path in paths}.values():  # one folder per file system
        handle = os.open(folder, os.O_RDONLY)
        try:
            if syncfs(handle):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        finally:
            os.close(handle)
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of a full disk into a DiskFullError.

    Parameters
    ----------
    path
        File that is written inside the block; the message names its folder.

    Yields
    ------
    None
        Other errors pass unchanged.

    Raises
    ------
    DiskFullError
        When the system reports no space, no quota or a read-only disk.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise DiskFullError(
            f"no more can be written at {path.parent} ({error.strerror}): make room or set --data, then run it again"
        ) from error


@contextmanager
def atomic_write(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Replace a file by one that the block writes: renamed over it on success, removed on failure.

    Parameters
    ----------
    path
        File to replace or create; its folder is created.
    is_synced
        Flush file and folder before returning. Without, a power cut may leave truncated files until `sync_files` has
        been called for them, which is faster for many files.

    Yields
    ------
    Path
        A temporary path in the same folder, to be written by the block.

    Notes
    -----
    Raises DiskFullError, see `writing`.

    """
    # Process and thread in the name: two writers of the same file must not share a temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with writing(path), ExitStack() as cleanup:
        path.parent.mkdir(parents=True, exist_ok=True)
        cleanup.callback(temporary.unlink, missing_ok=True)
        yield temporary
        if is_synced:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # before the rename: else the new name may show an empty file after a power cut
        temporary.replace(path)
        if is_synced:
            sync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a whole file atomically.

    Parameters
    ----------
    path
        File to replace or create.
    data
        Its whole content.
    is_synced
        See `atomic_write`.

    """
    with atomic_write(path, is_synced=is_synced) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file atomically.

    Parameters
    ----------
    path
        File to replace or create.
    text
        Its whole content.

    """
    write_bytes(path, text.encode("utf-8"))
