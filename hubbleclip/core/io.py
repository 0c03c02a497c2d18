"""Write files atomically: if the process is killed, the old or the new file exists, but never a truncated one."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from hubbleclip.core.errors import HubbleclipError, machine_error

PROBE_BYTES, CHUNK_BYTES = 1 << 20, 1 << 18
MAX_JSON_BYTES = 1 << 20
"""Maximum size in bytes of a JSON file, such as a configuration, a run's description or a stored answer."""
SYNCFS_MIN_FILES = 8
"""Minimum number of files that are flushed by `syncfs` (one call per file system), not by `fsync` (one per file)."""


class TooLargeError(ValueError):
    """A file or a stream has more bytes than may be read."""


def make_folder(folder: Path) -> None:
    """Create a folder of the data root, with its parents; HubbleclipError if this is not possible."""
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HubbleclipError(
            f"{folder} cannot be used ({error.strerror}): check its permissions, or set --data"
        ) from error


def check_new(folder: Path) -> None:
    """Raise HubbleclipError if a folder exists and is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise HubbleclipError(f"{folder} is not empty: give a folder that does not exist")


def file_size(path: Path) -> int:
    """Return the size of a regular file in bytes; ValueError for a folder, a FIFO or a device."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a file")
    return status.st_size


def read_bounded(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Read a whole file; ValueError if it is not a regular file, or has more than `max_bytes` bytes."""
    if (num_bytes := file_size(path)) > max_bytes:
        raise TooLargeError(f"{path.name} has {num_bytes} bytes, more than {max_bytes}")
    with path.open("rb") as file:
        return file.read(max_bytes)


def chunks(read: Callable[[int], bytes], max_bytes: int, max_s: float = math.inf) -> Iterator[bytes]:
    """Yield the data of a stream; TooLargeError above `max_bytes` bytes, TimeoutError after `max_s` seconds."""
    num_bytes, deadline = 0, time.monotonic() + max_s
    while data := read(CHUNK_BYTES):
        num_bytes += len(data)
        if num_bytes > max_bytes:
            raise TooLargeError(f"the response has more than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the response did not end within {max_s:g} s")
        yield data


def from_json(text: bytes | str) -> Any:
    """Parse JSON; ValueError if it is not JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ValueError if the file is too large, is not JSON or does not contain an object."""
    values = from_json(read_bounded(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is no object")
    return values


def sha256_file(path: Path) -> str:
    """Compute the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_sha256(path: Path, sha256: str | None) -> bool:
    """Check that a file exists, can be read and has the given hash."""
    try:
        return sha256_file(path) == sha256
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EIO}:
            raise
        return False


def sha256_bytes(data: bytes | memoryview) -> str:
    """Compute the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a rename in the folder survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[Path]) -> None:
    """Flush files and their folder entries to disk. This must be done before the catalog refers to the files.

    If there are at least `SYNCFS_MIN_FILES` files and the operating system has `syncfs`, one `syncfs` call per file
    system flushes them all. This takes about a hundredth of the time of one `fsync` per file.
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
    """Hold an exclusive advisory lock on a folder inside a `with` block.

    The kernel releases the lock when the process ends. If `wait` is false and another process holds the lock,
    BlockingIOError is raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder).open("a") as file:  # closing the file also releases the lock
        if wait:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            lock_at_once(file)
        yield


def lock_file(folder: Path) -> Path:
    """Return the lock file of a folder; on NFS, a lock of the folder itself would be valid on one host only."""
    return folder.with_name(f".{folder.name}.lock")


def lock_at_once(file: IO[str]) -> None:
    """Lock an open file, with one retry after 0.2 s; BlockingIOError if another process still holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.2)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_file_systems(paths: Iterable[Path]) -> bool:
    """Flush the file systems that contain the paths; return False if the operating system has no `syncfs`.

    OSError is raised if a flush fails.
    """
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
    """Convert machine errors, such as a full disk, in a `with` block to a MachineError that names a file or folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError
        if failure := machine_error(error, path.parent):
            raise failure from error
        raise


@contextmanager
def atomic_write(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Write a file atomically: the `with` block writes a temporary file, which then replaces the target.

    If the block raises an exception, the target stays unchanged. For many files it is faster to pass False for
    `is_synced` and to call `sync_files` once; a power failure before this call may truncate the files.
    """
    # The name contains process and thread, because two writers of the same target must not share a temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with writing(path), ExitStack() as cleanup:
        path.parent.mkdir(parents=True, exist_ok=True)
        cleanup.callback(temporary.unlink, missing_ok=True)
        yield temporary
        if is_synced:
            with temporary.open("rb") as file:
                # Flush before the rename: otherwise the target may be an empty file after a power failure.
                os.fsync(file.fileno())
        temporary.replace(path)
        if is_synced:
            sync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Write a folder atomically: the `with` block fills a temporary folder, which then replaces the target."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed
    building.mkdir(parents=True)
    try:
        yield building
        sync_files(building.rglob("*"))
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def write_bytes(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write a whole file atomically."""
    with atomic_write(path, is_synced=is_synced) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def check_writable(folder: Path) -> None:
    """Check that a folder can be written, with a test file of `PROBE_BYTES`; DiskFullError if the disk is full."""
    probe = folder / f"probe-{os.getpid()}"
    write_bytes(probe, bytes(PROBE_BYTES))
    probe.unlink()
