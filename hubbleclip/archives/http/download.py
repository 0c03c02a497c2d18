"""Download of one file into the content store, with resuming of partial files and checks of size and content.

If the server supports ranges, FITS extensions that no stage reads are not downloaded (see `fits.sieve`).

astroquery's download function is not used, because it writes directly to the final path, checks neither size nor
content, and never retries.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import requests

from hubbleclip.archives.http.client import Transport, failure_reason, is_unreachable, to_archive_error
from hubbleclip.archives.http.responses import DamagedError, IncompleteError, RefusedError, ResponseError
from hubbleclip.core.errors import ArchiveError, DiskFullError, DownloadError
from hubbleclip.core.io import sha256_bytes, sha256_file, write_bytes, writing
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.fits.cards import UnsoundError
from hubbleclip.fits.integrity import content_problem
from hubbleclip.fits.sieve import FitsSieve, is_sieved

LOG = logging.getLogger(__name__)

MAX_DAMAGED = 3
"""Number of complete but damaged responses after which a file is no longer requested in this run."""
NO_LIMIT_BYTES = 1 << 62
SPACE_CHECK_BYTES = 1 << 26
"""Number of written bytes after which the free disk space is checked again."""
SMALL_BYTES = 1 << 20
"""Size of the largest file that is held in memory as a whole."""
BYTES_PER_GB = 1_000_000_000
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """A file to download and where to store it.

    The name of the partial file is derived from the archive's `uri`; only the suffix of `file_name` is used.
    `size_bytes` is the size that the archive lists, or None. At most `max_bytes` are stored. If `is_kept` is False, a
    file of at most `SMALL_BYTES` may stay in memory. `is_waited_for` is passed to `Transport.retried`.
    """

    uri: str
    file_name: str
    size_bytes: int | None
    layout: Layout
    max_bytes: int = NO_LIMIT_BYTES
    is_kept: bool = True
    is_waited_for: bool = True

    @property
    def part(self) -> Path:
        """Path of the partial file."""
        return self.layout.part(self.uri)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyInfo:
    """Facts from the response headers about the body.

    `is_part` is whether the server has answered with a range (status 206). `start` is the offset of the body's first
    byte in the file. `total` is the size of the whole file in bytes, or None if it is unknown. `etag` is the ETag
    without quotes, or None for a weak ETag. `version` is the value for the header If-Range: the ETag as received, or
    the Last-Modified date if there is no ETag.
    """

    is_part: bool
    start: int
    total: int | None
    etag: str | None
    version: str


def fetch_file(transport: Transport, url: str, request: DownloadRequest) -> FetchedFile:
    """Download a file to its content-addressed path. A partial file is resumed if the server supports it.

    Raises DownloadError for a failure of this file, ArchiveDownError if the archive is down, and DiskFullError.
    """
    try:
        send = partial(_try, transport, url, request)
        return transport.retried(url, send, MAX_DAMAGED, is_waited_for=request.is_waited_for)
    except (requests.RequestException, ResponseError) as error:
        if is_unreachable(error):
            raise to_archive_error(error, url) from error
        raise DownloadError(failure_reason(error), f"{request.uri}: {to_archive_error(error, url)}") from error


def request_etag(transport: Transport, url: str) -> str | None:
    """Request the ETag of a file; "" if there is no ETag, None if a later request may succeed."""

    def send() -> str:
        headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
        with transport.open(url, headers, is_waited_for=False) as response:
            response.raise_for_status()
            return _read_headers(response).etag or ""

    try:
        return transport.retried(url, send, is_waited_for=False)
    except (requests.RequestException, ResponseError, ArchiveError) as error:
        LOG.info("%s: no ETag (%s)", url, error)
        return "" if failure_reason(error) in {"missing", "denied", "refused"} else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a download continues: at byte `offset` of the archive's file.

    `part_bytes` is the size of the partial file, which is smaller than `offset` if extensions were skipped. `version`
    is the version of the partial file, or empty if there is no partial file. `sieve` chooses the bytes to keep; it is
    None if the whole file is downloaded.
    """

    offset: int = 0
    part_bytes: int = 0
    version: str = ""
    sieve: FitsSieve | None = None


def _try(transport: Transport, url: str, request: DownloadRequest) -> FetchedFile:
    """Try once to download the file; after a failure, the bytes received are kept for the next try.

    For each FITS extension that is skipped, another request is sent for the bytes after the extension.
    """
    may_skip = is_sieved(request.file_name, request.size_bytes) and not transport.fetch.whole_files
    while True:
        try:
            start = _find_start(request, may_skip=may_skip)
            with transport.open(url, _headers(start), is_waited_for=request.is_waited_for) as response:
                response.raise_for_status()
                info = _read_headers(response)
                file = _receive(transport, response, info, start=start, request=request)
            if file is not None:
                return file
        except UnsoundError as error:
            LOG.info("%s is downloaded as a whole: %s", request.part.name, error)
            delete_partial(request.part)
            may_skip = False
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != requests.codes.range_not_satisfiable:
                raise
            delete_partial(request.part)
            raise DamagedError("the partial file was longer than the complete one", "truncated") from error


def _headers(start: Start) -> dict[str, str]:
    """Make the headers of a request for the bytes from `start`."""
    # a compressed transfer could not be resumed, and its length could not be compared with the listed size
    headers = {"Accept-Encoding": "identity"}
    if start.sieve is not None or start.offset:
        headers["Range"] = f"bytes={start.offset}-"
    if start.version:
        # If-Range makes the server send the whole file (status 200) if its version has changed
        headers["If-Range"] = start.version
    return headers


def _find_start(request: DownloadRequest, *, may_skip: bool) -> Start:
    """Find where the download continues. A partial file is used only if it was made with the same `may_skip`."""
    version = stored_version(request.part, is_filtered=may_skip)
    size = request.part.stat().st_size if version else 0
    if not may_skip:
        return Start(offset=size, part_bytes=size, version=version if size else "")
    sieve = FitsSieve()
    if size:
        with request.part.open("rb") as file:
            sieve.resume(file, size)
        sieve.skip()
    return Start(offset=sieve.offset, part_bytes=size, version=version if size else "", sieve=sieve)


def _read_headers(response: requests.Response) -> BodyInfo:
    """Read the facts about the body from the response headers.

    Raises DamagedError for a web page, and for partial content without a valid Content-Range.
    """
    headers, start = response.headers, 0
    is_part = response.status_code == requests.codes.partial_content
    if "text/html" in headers.get("Content-Type", ""):
        raise DamagedError("a web page arrived instead of the file", "html")
    length = headers.get("Content-Length", "")
    # the text is cut off, because int() raises an error for very long numbers
    total = int(length[:18]) if length.isdecimal() else None
    if is_part:
        match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None:
            raise DamagedError("a partial response has no valid Content-Range")
        start, total = int(match[1]), int(match[2])
    etag = headers.get("ETag", "")
    etag = "" if etag.startswith("W/") else etag  # a weak ETag does not identify the bytes (RFC 9110, section 8.8.1)
    version = etag or headers.get("Last-Modified", "")
    return BodyInfo(is_part=is_part, start=start, total=total, etag=etag.strip('"') or None, version=version)


def _check_headers(transport: Transport, info: BodyInfo, start: Start, request: DownloadRequest) -> int:
    """Check offset and size before a body is read, and return the maximum size of the file in bytes.

    Raises RefusedError, DamagedError or DiskFullError.
    """
    total = info.total
    # a range without a version (ETag or date) is accepted only if no extension is skipped
    versions = {start.version} if start.sieve else {"", start.version}
    if info.start and (info.start != start.offset or info.version not in versions):
        delete_partial(request.part)
        raise DamagedError(f"the response does not continue from byte {start.offset} of version {start.version}")
    is_sieved_here = info.is_part and info.version and start.sieve  # `_write` limits how much of the file is stored
    if total is not None and total > request.max_bytes and not is_sieved_here:
        raise RefusedError(f"the file has {total} bytes, but only {request.max_bytes} are allowed", "too_large")
    if total is not None and request.size_bytes not in {None, total}:
        raise DamagedError(f"the file has {total} bytes, but the archive lists {request.size_bytes}")
    check_free_space(request.layout, min((total or 0) - info.start, request.max_bytes), transport.fetch.min_free_gb)
    return min(request.max_bytes, request.size_bytes or request.max_bytes) if total is None else total


def _receive(
    transport: Transport, response: requests.Response, info: BodyInfo, *, start: Start, request: DownloadRequest
) -> FetchedFile | None:
    """Receive a body, check and store the file; None if data after a skipped extension must still be requested."""
    limit = _check_headers(transport, info, start, request)
    # the length is checked below; a decoded body could not be resumed at a byte offset
    response.raw.enforce_content_length = response.raw.decode_content = False
    # extensions are skipped only if the server sends ranges, and a version that shows whether the file has changed
    sieve = start.sieve if info.is_part and info.start == start.offset and info.version else None
    chunks: Iterable[bytes] = transport.iter_chunks(response, limit - info.start)
    if limit <= SMALL_BYTES and not info.start:
        body = bytearray()
        try:
            for chunk in chunks:
                body += chunk
        except (requests.RequestException, ResponseError) as error:
            chunks = _replay(bytes(body), error)  # the next try resumes after the received bytes
        else:
            if info.total in {None, len(body)}:
                return _store_small(bytes(body), info, request)
            chunks = [bytes(body)]
    part_bytes = start.part_bytes if info.start else 0
    with open_partial(request.part, part_bytes, info.version, is_filtered=sieve is not None) as file:
        try:
            num_bytes = _write(file, chunks, sieve, request, transport.fetch.min_free_gb)
        except RefusedError:
            delete_partial(request.part)
            raise
        return _finish(info.start + num_bytes, info, sieve, request)


def _write(
    file: BinaryIO, chunks: Iterable[bytes], sieve: FitsSieve | None, request: DownloadRequest, min_free_gb: float
) -> int:
    """Write chunks to a partial file, up to an extension that is to be skipped; returns the number of bytes read."""
    num_bytes = checked_bytes = 0
    for chunk in chunks:
        file.writelines(sieve.feed(chunk) if sieve else [chunk])
        num_bytes += len(chunk)
        if file.tell() > request.max_bytes:
            raise RefusedError(f"more than {request.max_bytes} bytes of the file are needed", "too_large")
        if sieve and sieve.must_skip:
            break
        if num_bytes - checked_bytes > SPACE_CHECK_BYTES:
            check_free_space(request.layout, 0, min_free_gb)
            checked_bytes = num_bytes
    file.flush()
    return num_bytes


def _finish(offset: int, info: BodyInfo, sieve: FitsSieve | None, request: DownloadRequest) -> FetchedFile | None:
    """Check and store a file read up to `offset`; None if data after a skipped extension must still be requested."""
    size_bytes = request.size_bytes
    if sieve:
        is_at_skip = sieve.must_skip
        sieve.skip()
        offset = sieve.offset
        if is_at_skip and offset < (info.total or 0):
            return None
        size_bytes = request.part.stat().st_size  # a sieved file may be smaller than the listed size
    if info.total not in {None, offset}:
        raise IncompleteError(f"{offset} of {info.total} bytes arrived")
    if sieve and not sieve.is_complete:
        raise UnsoundError("truncated", "the file does not end at the end of an extension")
    try:
        check_content(request.part, request.file_name, size_bytes)
    except DamagedError as error:
        LOG.info("rejected %s: %s", request.part.name, error)
        delete_partial(request.part)  # resuming the download could not repair the file
        raise
    # not yet synced to the disk: the caller calls `core.io.sync_files` once for many files, which is much faster
    sha256 = sha256_file(request.part)
    path = request.layout.product(sha256, request.file_name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        request.part.replace(path)
    delete_versions(request.part)
    return FetchedFile(path=path, sha256=sha256, size_bytes=offset, etag=info.etag)


def _store_small(body: bytes, info: BodyInfo, request: DownloadRequest) -> FetchedFile:
    """Check a file that is in memory, and write it to its final path if it is to be kept."""
    check_content(body, request.file_name, request.size_bytes)
    file = FetchedFile(path=None, sha256=sha256_bytes(body), size_bytes=len(body), etag=info.etag, data=body)
    if not request.is_kept:
        return file
    path = request.layout.product(file.sha256, request.file_name)
    write_bytes(path, body, is_synced=False)  # the caller syncs many files at once, as in `_finish`
    return replace(file, path=path, data=None)


def _replay(body: bytes, error: Exception) -> Iterator[bytes]:
    """Yield the beginning of a body, then raise the error that interrupted it."""
    yield body
    raise error


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


def version_path(part: Path, *, is_filtered: bool) -> Path:
    """Return the path of the file that stores a partial file's version, which is an ETag or a date."""
    # a download with skipped extensions has its own suffix, because it does not continue at the partial file's size
    return part.with_suffix(".filtered" if is_filtered else ".etag")


def stored_version(part: Path, *, is_filtered: bool) -> str:
    """Read the version of a partial file; "" if there is no partial file of this kind (filtered or not)."""
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
