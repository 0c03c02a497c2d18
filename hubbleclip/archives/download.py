"""Fetching one file so that what lands is whole, is what it claims to be, and stands under the hash of its content.

astroquery's own download writes to the final path, checks neither size nor content, and retries nothing.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import requests

from hubbleclip.archives.transport import DamagedError, RefusedError, Transport, in_words, is_unreachable
from hubbleclip.errors import DownloadError
from hubbleclip.files import CHUNK_BYTES, sha256_file, sync_folder
from hubbleclip.paths import Layout, product_suffix

LOG = logging.getLogger(__name__)
FITS_BLOCK_BYTES = 2880
FITS_START = b"SIMPLE  ="
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file in its final place."""

    path: Path
    sha256: str
    size_bytes: int


def fetch_file(
    transport: Transport, url: str, *, uri: str, file_name: str, size_bytes: int | None, layout: Layout
) -> FetchedFile:
    """Fetch `url` to its content-addressed place, going on with a partial file where the server allows it.

    `size_bytes` is the size that the archive lists, if it does. Raises DownloadError, ArchiveUnreachableError.
    """
    part = layout.part(uri)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in transport.attempts():
            with attempt:
                _continue(transport, url, part)
                _check(part, product_suffix(file_name), size_bytes)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        if is_unreachable(error):
            raise in_words(error, url) from error
        raise DownloadError("failed", f"{uri}: {in_words(error, url)}") from error
    return _settle(part, file_name, layout)


def _settle(part: Path, file_name: str, layout: Layout) -> FetchedFile:
    """Sync the partial file and rename it to the place that its hash names."""
    sha256 = sha256_file(part)
    final = layout.product(sha256, file_name)
    final.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(final)
    _validator(part).unlink(missing_ok=True)
    sync_folder(final.parent)
    return FetchedFile(path=final, sha256=sha256, size_bytes=final.stat().st_size)


def _validator(part: Path) -> Path:
    """Where the version (ETag) of a partial file stands: without one it is never gone on with."""
    return part.with_suffix(".etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _continue(transport: Transport, url: str, part: Path) -> None:
    """Bring `part` to its full length in one request. What arrived before a failure stays for the next try."""
    headers = {"Accept-Encoding": "identity"}
    offset = part.stat().st_size if part.exists() and _validator(part).exists() else 0
    if offset:
        version = _validator(part).read_text(encoding="latin-1")
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    try:
        with transport.open(url, headers) as response:
            _append(response, part, offset)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != requests.codes.range_not_satisfiable:
            raise
        _forget(part)
        raise DamagedError("the partial file was longer than the whole one") from error


def _append(response: requests.Response, part: Path, offset: int) -> None:
    """Write a body to `part` from where the server says that it begins. Raises DamagedError."""
    if "text/html" in response.headers.get("Content-Type", ""):
        _forget(part)
        raise DamagedError("a web page came instead of the file")
    start, total = _span(response)
    if start not in {0, offset}:
        raise DamagedError(f"bytes from {start} came where {offset} was asked for")
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    if start == 0:
        _forget(part)
        if version:
            _validator(part).write_text(version, encoding="latin-1")
    response.raw.enforce_content_length = (
        False  # urllib3 would drop the bytes before a break; the length is checked below
    )
    with part.open("ab" if start else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
    size = part.stat().st_size
    if total is not None and size != total:
        if size > total:
            _forget(part)
        raise DamagedError(f"{size} of {total} bytes came")


def _span(response: requests.Response) -> tuple[int, int | None]:
    """Where a body begins in the file, and the file's length if the server tells it."""
    if response.status_code == requests.codes.partial_content:
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise DamagedError("a partial answer did not say which part it is")
        return int(match[1]), int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _check(part: Path, suffix: str, size_bytes: int | None) -> None:
    """Refuse content that is not what was listed; the partial file goes, as no continuation could mend it."""
    size = part.stat().st_size
    problem = content_problem(part, suffix)
    if problem is None and size_bytes is not None and size != size_bytes:
        problem = f"{size} bytes came where the archive lists {size_bytes}"
    if problem is not None:
        LOG.info("refused %s: %s", part.name, problem)
        _forget(part)
        raise DamagedError(problem)


def content_problem(path: Path, suffix: str) -> str | None:
    """What is wrong with a fetched file of this kind by its own structure; None when nothing is."""
    with path.open("rb") as file:
        start = file.read(len(FITS_START))
    if not start:
        return "an empty file came"
    if start.lstrip()[:1] == b"<":
        return "a web page came instead of the file"
    if suffix.endswith(".gz"):
        return _gzip_problem(path)
    if suffix in {".jpg", ".jpeg"}:
        return _jpeg_problem(path)
    if start != FITS_START:
        return "the file does not begin as FITS does"
    odd = path.stat().st_size % FITS_BLOCK_BYTES
    return f"the FITS file is cut: {odd} bytes beyond whole blocks of {FITS_BLOCK_BYTES}" if odd else None


def _gzip_problem(path: Path) -> str | None:
    """Unpack to nowhere, a chunk at a time, so that a bomb costs time but no memory."""
    try:
        with gzip.open(path, "rb") as file:
            is_fits = file.read(len(FITS_START)) == FITS_START
            while file.read(CHUNK_BYTES):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"the gzip file is damaged ({error})"
    return None if is_fits else "the unpacked file does not begin as FITS does"


def _jpeg_problem(path: Path) -> str | None:
    data = path.read_bytes()
    is_whole = data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")
    return None if is_whole else "the JPEG file is cut"
