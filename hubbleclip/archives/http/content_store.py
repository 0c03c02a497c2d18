"""Content-addressed store of fetched files: each checked file is stored under a path made from its SHA-256."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.archives.http.response_errors import DamagedError
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.io import sha256_file, writing
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.fits.integrity import content_problem

SMALL_BYTES = 1 << 20
"""Size of the largest file that is held in memory as a whole."""
BYTES_PER_GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A fetched file, either on disk at its final `path` or in memory as `data`.

    `etag` is the server's ETag, without quotes.
    """

    path: Path | None
    sha256: str
    size_bytes: int
    etag: str | None = None
    data: bytes | None = None


def check_free_space(layout: Layout, needed_bytes: int, min_free_gb: float) -> None:
    """Check that `min_free_gb` stay free on the profile's disk after a write; DiskFullError otherwise."""
    layout.root.mkdir(parents=True, exist_ok=True)
    free_gb, needed_gb = shutil.disk_usage(layout.root).free / BYTES_PER_GB, needed_bytes / BYTES_PER_GB
    if free_gb < needed_gb + min_free_gb:
        raise DiskFullError(
            f"{free_gb:.1f} GB are free at {layout.root}, {needed_gb:.3f} GB are to be written and fetch.min_free_gb ="
            f" {min_free_gb:g} must stay free: free some disk space, lower fetch.min_free_gb, or set"
            " fetch.keep_fits = false; then run the same command again"
        )


def check_content(content: Path | bytes, file_name: str, size_bytes: int | None) -> None:
    """Check that a file has the size that the archive lists and the type that its name implies; DamagedError if not."""
    problem = content_problem(content, product_suffix(file_name), size_bytes)
    if problem is not None:
        raise DamagedError(problem.words, problem.reason)


def store_file(part: Path, file_name: str, layout: Layout, *, etag: str | None = None) -> FetchedFile:
    """Move a complete, checked file from its temporary path to its content-addressed path."""
    # not yet synced to the disk: the caller calls `core.io.sync_files` once for many files, which is much faster
    sha256 = sha256_file(part)
    final = layout.product(sha256, file_name)
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        part.replace(final)
    return FetchedFile(path=final, sha256=sha256, size_bytes=final.stat().st_size, etag=etag)
