"""How a fetched file lands, wherever its bytes came from: room for it, its content checked, its place named by it."""

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
"""A file up to this size is read into memory as a whole."""
BYTES_PER_GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file in its final place, or in memory as `data`. `etag` is its server's version, without quotes."""

    path: Path | None
    sha256: str
    size_bytes: int
    etag: str | None = None
    data: bytes | None = None


def check_free_space(layout: Layout, needed_bytes: int, min_free_gb: float) -> None:
    """Raise DiskFullError unless `min_free_gb` would still be free after so many bytes more."""
    if not layout.root.is_dir():
        layout.root.mkdir(parents=True, exist_ok=True)
    free_gb, needed_gb = shutil.disk_usage(layout.root).free / BYTES_PER_GB, needed_bytes / BYTES_PER_GB
    if free_gb < needed_gb + min_free_gb:
        raise DiskFullError(
            f"{free_gb:.1f} GB are free at {layout.root}, {needed_gb:.3f} GB are to be written and fetch.min_free_gb ="
            f" {min_free_gb:g} must stay: make room, lower it, or set fetch.keep_fits = false; then run it again"
        )


def check_content(content: Path | bytes, file_name: str, size_bytes: int | None) -> None:
    """Raise DamagedError unless a file is whole and of the kind that its name says; `size_bytes` is the listed size."""
    problem = content_problem(content, product_suffix(file_name), size_bytes)
    if problem is not None:
        raise DamagedError(problem.words, problem.reason)


def settle(part: Path, file_name: str, layout: Layout, *, etag: str | None = None) -> FetchedFile:
    """Sync a checked file and rename it to the place that its hash names. Raises DiskFullError."""
    sha256 = sha256_file(part)
    final = layout.product(sha256, file_name)
    with writing(final):
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            size_bytes = os.fstat(file.fileno()).st_size
        part.replace(final)
        sync_folder(final.parent)
    return FetchedFile(path=final, sha256=sha256, size_bytes=size_bytes, etag=etag)


def store_bytes(body: bytes, sha256: str, file_name: str, layout: Layout) -> Path:
    """Write a checked file to the place that its hash names; raises DiskFullError.

    It is whole there for every reader, but safe from a power cut only after `files.sync_files`: one sync of many small
    files takes a fraction of the time of many syncs.
    """
    final = layout.product(sha256, file_name)
    temporary = f"{final.parent}/.{final.name}.{threading.get_ident()}.tmp"
    with writing(final):
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:  # noqa: PTH123 - a Path for each costs more than the call
                file.write(body)
            os.replace(temporary, final)  # noqa: PTH105 - as above
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    return final
