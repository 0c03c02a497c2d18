"""Download one file into the content store: complete, checked, resumable.

astroquery's own download writes to the final path, checks neither size nor content, and never retries.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests

from hubbleclip.archives.base import Known
from hubbleclip.archives.http.client import DamagedError, RefusedError, Transport, is_unreachable, to_archive_error
from hubbleclip.archives.http.content_store import (
    SMALL_BYTES,
    FetchedFile,
    check_content,
    check_free_space,
    store_bytes,
    store_file,
)
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.io import sha256_bytes, writing
from hubbleclip.core.layout import Layout

LOG = logging.getLogger(__name__)

REASONS: Mapping[str, str] = {
    "missing": "the archive has no such file (404, 410)",
    "denied": "the archive does not allow access to it (401, 403)",
    "html": "a web page or a JSON response arrived instead of the file",
    "truncated": "the file is incomplete",
    "damaged": "the content is not valid for the file's type",
    "checksum": "a checksum in the file does not match",
    "too_large": "the file is larger than allowed, or than the archive lists",
    "stalled": "too few bytes arrived for too long",
    "timeout": "the response, or the whole file, did not arrive in time",
    "redirect": "the archive redirects to an address that is not followed",
    "refused": "the archive rejects the request as invalid (another 4xx)",
    "busy": "the archive asked to try again later, or another run is fetching the same file",
    "server_error": "the archive failed (5xx)",
    "connection": "the connection broke",
}
"""Every `DownloadError.reason` of this module, with its meaning."""
STATUS_REASONS = {401: "denied", 403: "denied", 404: "missing", 408: "timeout", 410: "missing", 425: "busy",
                  429: "busy", 503: "busy"}  # fmt: skip
NO_LIMIT_BYTES = 1 << 62
SPACE_CHECK_BYTES = 1 << 26
"""Free space is checked again after each block of this size."""
SMALL_FILE_LOCK = threading.Lock()
"""Held while a small file is checked and written, about twenty short calls: threads that contend for Python's global
lock at each of them take twice the time. Never held while waiting for the network.
"""
HASH = re.compile(r"[0-9a-f]{32,}")
"""An ETag that is a hash of the content. Others (nginx: time and size) may be equal for different files."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """A file to download and where to put it; `part` is the path of the partial file, the rest as in `fetch_file`."""

    file_name: str
    size_bytes: int | None
    max_bytes: int
    layout: Layout
    part: Path
    known: Known
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyInfo:
    """What response headers say of the body: offset of its first byte in the file, the whole file's size, version.

    `etag` is empty for a weak ETag; `version` is the ETag, or else the Last-Modified date.
    """

    start: int
    total: int | None
    etag: str
    version: str


def fetch_file(
    transport: Transport,
    url: str,
    *,
    uri: str,
    file_name: str,
    size_bytes: int | None,
    layout: Layout,
    max_bytes: int | None = None,
    known: Known = lambda etag, size_bytes: None,
    is_kept: bool = True,
) -> FetchedFile:
    """Download a file to its content-addressed path, resuming a partial file if the server supports it.

    Parameters
    ----------
    transport
        The HTTP client.
    url
        Address of the file.
    uri
        The archive's identifier of the file, which names its partial file.
    file_name
        The archive's name for it; only the suffix is used.
    size_bytes
        Size that the archive lists (bytes); None if it lists none.
    layout
        Folders of the profile.
    max_bytes
        A larger file is rejected before its body is read; None for no limit.
    known
        Lookup of files on disk: one with the same ETag and size is not downloaded again.
    is_kept
        False to leave a file of at most `SMALL_BYTES` in memory instead of storing it.

    Returns
    -------
    FetchedFile
        The checked file.

    Raises
    ------
    DownloadError
        If this file cannot be fetched; its reason is one of `REASONS`.
    ArchiveError
        ArchiveUnreachableError or ArchiveDownError if the host does not work at all.
    DiskFullError
        If the disk has no room for the file.

    """
    part = layout.part(uri)
    limit = NO_LIMIT_BYTES if max_bytes is None else max_bytes
    request = DownloadRequest(
        file_name=file_name, size_bytes=size_bytes, max_bytes=limit, layout=layout, part=part, known=known,
        is_kept=is_kept,
    )  # fmt: skip
    try:
        for attempt in transport.attempts(url):
            with attempt:
                return _try(transport, url, request)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        if is_unreachable(error):
            raise to_archive_error(error, url) from error
        raise DownloadError(failure_reason(error), f"{uri}: {to_archive_error(error, url)}") from error
    raise AssertionError("a retry context ends with a response or an error")


def failure_reason(error: Exception) -> str:
    """Classify the exception of a failed request.

    Parameters
    ----------
    error
        The exception.

    Returns
    -------
    str
        One of `REASONS`.

    """
    if isinstance(error, RefusedError | DamagedError):
        return error.reason
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return STATUS_REASONS.get(status, "server_error" if status >= 500 else "refused")
    return "timeout" if isinstance(error, requests.Timeout) else "connection"


def _try(transport: Transport, url: str, request: DownloadRequest) -> FetchedFile:
    """Download the file in one request; bytes that arrive before a failure are kept for the next one."""
    # bytes of a compressed transfer could not be resumed, nor compared with the listed size
    headers, offset, version = {"Accept-Encoding": "identity"}, 0, ""
    if _version_path(request.part).exists() and request.part.exists():
        offset = request.part.stat().st_size
        version = _version_path(request.part).read_text(encoding="latin-1")
    if offset and version:
        # with If-Range the server sends the whole file (200) if the version has changed
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    try:
        with transport.open(url, headers) as response:
            info = _read_headers(response)
            if info.start not in {0, offset} or (info.start and info.version not in {"", version}):
                _delete_partial(request.part)
                raise DamagedError(f"the response does not continue from byte {offset} of version {version}")
            return _find_known_file(info, request) or _receive(transport, response, info, request)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != requests.codes.range_not_satisfiable:
            raise
        _delete_partial(request.part)
        raise DamagedError("the partial file was longer than the complete one", "truncated") from error


def _read_headers(response: requests.Response) -> BodyInfo:
    """Parse the headers. Raises DamagedError for a web page, and for partial content without a valid Content-Range."""
    headers, start = response.headers, 0
    if "text/html" in headers.get("Content-Type", ""):
        raise DamagedError("a web page arrived instead of the file", "html")
    length = headers.get("Content-Length", "")
    total = int(length[:18]) if length.isdecimal() else None  # int() raises for very long numbers
    if response.status_code == requests.codes.partial_content:
        match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None:
            raise DamagedError("a partial response has no valid Content-Range")
        start, total = int(match[1]), int(match[2])
    etag = headers.get("ETag", "")
    etag = "" if etag.startswith("W/") else etag  # a weak ETag does not identify the bytes (RFC 9110, 8.8.1)
    return BodyInfo(start=start, total=total, etag=etag, version=etag or headers.get("Last-Modified", ""))


def _find_known_file(info: BodyInfo, request: DownloadRequest) -> FetchedFile | None:
    """Return the file if it is on disk already, fetched under another name; then its body need not be read."""
    etag = info.etag.strip('"')
    sha256 = request.known(etag, info.total) if HASH.fullmatch(etag) and info.total else None
    path = request.layout.product(sha256, request.file_name) if sha256 else None
    if path is None or sha256 is None or not path.is_file() or path.stat().st_size != info.total:
        return None
    _delete_partial(request.part)
    return FetchedFile(path=path, sha256=sha256, size_bytes=info.total, etag=etag)


def _receive(
    transport: Transport, response: requests.Response, info: BodyInfo, request: DownloadRequest
) -> FetchedFile:
    """Append the body to the partial file, check the whole file, and store it."""
    total = info.total
    if total is not None and total > request.max_bytes:
        raise RefusedError(f"the file has {total} bytes, and {request.max_bytes} are allowed", "too_large")
    if total is not None and request.size_bytes not in {None, total}:
        raise DamagedError(f"the file has {total} bytes, and the archive lists {request.size_bytes}")
    check_free_space(request.layout, (total or 0) - info.start, transport.fetch.min_free_gb)
    # this module checks the length itself, and a Content-Encoding that was not requested is not decoded
    response.raw.enforce_content_length = response.raw.decode_content = False
    limit = min(request.max_bytes, request.size_bytes or request.max_bytes) if total is None else total
    chunks, failure = transport.iter_chunks(response, limit - info.start), None
    if limit <= SMALL_BYTES and not info.start:
        body, failure = _collect(chunks)
        if failure is None and total in {None, len(body)}:
            return _store_small(body, info, request)
        chunks = iter([body])  # incomplete: write it to the partial file, so that the next try resumes
    with _open_partial(request.part, info.start) as file:
        _write_body(file, chunks, failure, info=info, request=request, min_free_gb=transport.fetch.min_free_gb)
        _check(request)
        stored = store_file(request.part, request.file_name, request.layout, etag=info.etag.strip('"') or None)
    _version_path(request.part).unlink(missing_ok=True)
    return stored


def _store_small(body: bytes, info: BodyInfo, request: DownloadRequest) -> FetchedFile:
    """Check a file that is in memory, and write it to its final path if it is to be kept."""
    etag = info.etag.strip('"') or None
    with SMALL_FILE_LOCK:
        check_content(body, request.file_name, request.size_bytes)
        sha256 = sha256_bytes(body)
        if not request.is_kept:
            return FetchedFile(path=None, sha256=sha256, size_bytes=len(body), etag=etag, data=body)
        path = store_bytes(body, sha256, request.file_name, request.layout)
    return FetchedFile(path=path, sha256=sha256, size_bytes=len(body), etag=etag)


def _collect(chunks: Iterator[bytes]) -> tuple[bytes, Exception | None]:
    """Join the chunks of a small body; also return the error that interrupted it, if any."""
    body: list[bytes] = []
    try:
        body.extend(chunks)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        return b"".join(body), error
    return b"".join(body), None


def _write_body(
    file: BinaryIO,
    chunks: Iterator[bytes],
    failure: Exception | None,
    *,
    info: BodyInfo,
    request: DownloadRequest,
    min_free_gb: float,
) -> None:
    """Write a body as it arrives. Raises DamagedError, or `failure`, if it is incomplete; the next try resumes it."""
    size, checked_size = info.start, info.start
    _write_version(request.part, info.version)  # before the body: without a version a partial file is never resumed
    try:
        for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
            if size - checked_size > SPACE_CHECK_BYTES:
                check_free_space(request.layout, 0, min_free_gb)
                checked_size = size
        file.flush()
        if failure is not None:
            raise failure
    except RefusedError:
        _delete_partial(request.part)
        raise
    if info.total is not None and size != info.total:
        raise DamagedError(f"{size} of {info.total} bytes arrived", "truncated")


def _check(request: DownloadRequest) -> None:
    """Check the complete partial file; delete it if its content is wrong, because resuming could not mend it."""
    try:
        check_content(request.part, request.file_name, request.size_bytes)
    except DamagedError as error:
        LOG.info("rejected %s: %s", request.part.name, error)
        _delete_partial(request.part)
        raise


@contextmanager
def _open_partial(part: Path, start: int) -> Iterator[BinaryIO]:
    """Open `part` for appending at byte `start`, locked against other runs. Raises RefusedError, DiskFullError."""
    if not part.parent.is_dir():
        part.parent.mkdir(parents=True, exist_ok=True)
    with writing(part), part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened_status, path_status = os.fstat(file.fileno()), part.stat()
        except (BlockingIOError, FileNotFoundError) as error:
            raise RefusedError("another run is fetching this file", "busy") from error
        # another run may have renamed or extended the file between the request and the lock
        if opened_status.st_ino != path_status.st_ino or (start and opened_status.st_size != start):
            raise RefusedError("another run is fetching this file", "busy")
        if not start:
            _version_path(part).unlink(missing_ok=True)
            if opened_status.st_size:
                file.truncate(0)
        yield file


def _version_path(part: Path) -> Path:
    """Path of the file that holds the version (ETag or date) of a partial file."""
    return part.with_suffix(".etag")


def _write_version(part: Path, version: str) -> None:
    """Note the version of a partial file, if the server gave one."""
    if version:
        _version_path(part).write_text(version, encoding="latin-1")


def _delete_partial(part: Path) -> None:
    """Delete a partial file and its version."""
    part.unlink(missing_ok=True)
    _version_path(part).unlink(missing_ok=True)
