"""Content-addressed store of fetched files: check free space, check content, move to the path that the hash names."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.archives.http.client import DamagedError
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.io import sha256_file, sync_folder, writing
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.fits.integrity import content_problem

SMALL_BYTES = 1 << 20
"""A file of at most this size is held in memory as a whole."""
BYTES_PER_GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file at its final path, or in memory as `data`. `etag` is the server's ETag, without quotes."""

    path: Path | None
    sha256: str
    size_bytes: int
    etag: str | None = None
    data: bytes | None = None


def check_free_space(layout: Layout, needed_bytes: int, min_free_gb: float) -> None:
    """Check that the profile's disk has room for a file.

    Parameters
    ----------
    layout
        Folders of the profile; the root is created if missing.
    needed_bytes
        Bytes about to be written.
    min_free_gb
        Space that must stay free afterwards (10^9 bytes).

    Raises
    ------
    DiskFullError
        If there is too little space.

    """
    if not layout.root.is_dir():
        layout.root.mkdir(parents=True, exist_ok=True)
    free_gb, needed_gb = shutil.disk_usage(layout.root).free / BYTES_PER_GB, needed_bytes / BYTES_PER_GB
    if free_gb < needed_gb + min_free_gb:
        raise DiskFullError(
            f"{free_gb:.1f} GB are free at {layout.root}, {needed_gb:.3f} GB are to be written and fetch.min_free_gb ="
            f" {min_free_gb:g} must stay free: make room, lower it, or set fetch.keep_fits = false; then run it again"
        )


def check_content(content: Path | bytes, file_name: str, size_bytes: int | None) -> None:
    """Check that a file is complete and of the type that its name says.

    Parameters
    ----------
    content
        Path of the file, or its bytes.
    file_name
        The archive's name for it; the suffix gives the expected type.
    size_bytes
        Size that the archive lists (bytes); None if it lists none.

    Raises
    ------
    DamagedError
        If the content is not what was expected.

    """
    problem = content_problem(content, product_suffix(file_name), size_bytes)
    if problem is not None:
        raise DamagedError(problem.words, problem.reason)


def store_file(part: Path, file_name: str, layout: Layout, *, etag: str | None = None) -> FetchedFile:
    """Sync a checked partial file and rename it to its content-addressed path.

    Parameters
    ----------
    part
        The complete file at its temporary path, on the same file system.
    file_name
        The archive's name; only its suffix is used.
    layout
        Folders of the profile.
    etag
        The server's ETag, without quotes.

    Returns
    -------
    FetchedFile
        The file at its final path, safe against a power failure.

    Raises
    ------
    DiskFullError
        If the disk is full.

    """
    sha256 = sha256_file(part)
    final = layout.product(sha256, file_name)
    with writing(final):
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
        # data first, then the name, then the folder's entry: a crash in between leaves no incomplete file under `final`
        with part.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            size_bytes = os.fstat(file.fileno()).st_size
        part.replace(final)
        sync_folder(final.parent)
    return FetchedFile(path=final, sha256=sha256, size_bytes=size_bytes, etag=etag)


def store_bytes(body: bytes, sha256: str, file_name: str, layout: Layout) -> Path:
    """Write a small checked file to its content-addressed path.

    Parameters
    ----------
    body
        The whole content.
    sha256
        Its hash.
    file_name
        The archive's name; only its suffix is used.
    layout
        Folders of the profile.

    Returns
    -------
    Path
        The final path. Readers see the whole file or none, but it survives a power failure only after
        `core.io.sync_files`: one sync of many small files takes a fraction of the time of many syncs.

    Raises
    ------
    DiskFullError
        If the disk is full.

    """
    final = layout.product(sha256, file_name)
    # named by thread: two threads may fetch equal content at the same time
    temporary = f"{final.parent}/.{final.name}.{threading.get_ident()}.tmp"
    with writing(final):
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:  # noqa: PTH123 - a Path per file costs more than the call
                file.write(body)
            os.replace(temporary, final)  # noqa: PTH105 - as above
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    return final
