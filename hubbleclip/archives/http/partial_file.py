"""Partial file of an interrupted download, with the version of the archive's file to which its bytes belong."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hubbleclip.archives.http.response_errors import RefusedError
from hubbleclip.core.io import writing


def version_path(part: Path, *, is_filtered: bool) -> Path:
    """Return the path of the file that stores a partial file's version, which is an ETag or a date."""
    # a filtered file lacks the extensions that are not read, so its download continues at another offset
    return part.with_suffix(".filtered" if is_filtered else ".etag")


def stored_version(part: Path, *, is_filtered: bool) -> str:
    """Read the version of a partial file; "" if there is no partial file with this `is_filtered`."""
    path = version_path(part, is_filtered=is_filtered)
    return path.read_text(encoding="latin-1") if path.exists() and part.exists() else ""


def delete_partial(part: Path) -> None:
    """Delete a partial file and the file that stores its version."""
    part.unlink(missing_ok=True)
    delete_versions(part)


def delete_versions(part: Path) -> None:
    """Delete the files that store the version of a partial file."""
    for is_filtered in (False, True):
        version_path(part, is_filtered=is_filtered).unlink(missing_ok=True)


@contextmanager
def open_partial(part: Path, size: int, version: str, *, is_filtered: bool) -> Iterator[BinaryIO]:
    """Open a partial file of `size` bytes for appending, and lock it; RefusedError if another run uses it."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with writing(part), part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened_status, path_status = os.fstat(file.fileno()), part.stat()
        except (BlockingIOError, FileNotFoundError) as error:
            raise RefusedError("another run is fetching this file", "busy") from error
        # another run may have renamed or extended the file between the request and the lock
        if opened_status.st_ino != path_status.st_ino or (size and opened_status.st_size != size):
            raise RefusedError("another run is fetching this file", "busy")
        if not size:
            delete_versions(part)
            if opened_status.st_size:
                file.truncate(0)
        if version:  # written first, because a partial file without a version cannot be resumed
            version_path(part, is_filtered=is_filtered).write_text(version, encoding="latin-1")
        yield file
