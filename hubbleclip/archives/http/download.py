"""Fetching one file so that what lands is whole, is what it claims to be, and stands under the hash of its content.

astroquery's own download writes to the final path, checks neither size nor content, and retries nothing.
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
    settle,
    store_bytes,
)
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.io import sha256_bytes, writing
from hubbleclip.core.layout import Layout

LOG = logging.getLogger(__name__)

REASONS: Mapping[str, str] = {
    "missing": "the archive has no such file (404, 410)",
    "denied": "the archive does not give it to us (401, 403)",
    "html": "a web page or a JSON answer came in its place",
    "truncated": "it ended too early",
    "damaged": "its content is not what its kind has",
    "checksum": "a sum that it carries differs",
    "too_large": "it is larger than allowed, or than it was said to be",
    "stalled": "too few bytes came for too long",
    "timeout": "no answer came, or the whole file did not, in time",
    "redirect": "the archive sent us to a place where we do not go",
    "refused": "the archive calls the request wrong (another 4xx)",
    "busy": "the archive asked us to come later, or another run fetches the same file",
    "server_error": "the archive failed (5xx)",
    "connection": "the connection broke",
}
"""Every `DownloadError.reason` of this module, and what it means."""
STATUS_REASONS = {401: "denied", 403: "denied", 404: "missing", 408: "timeout", 410: "missing", 425: "busy",
                  429: "busy", 503: "busy"}  # fmt: skip
NO_LIMIT_BYTES = 1 << 62
ROOM_CHECKED_BYTES = 1 << 26
ONE_AT_A_TIME = threading.Lock()
"""Held while a small file is written and checked: threads that pass Python's own lock to and fro at each of some twenty
short calls take twice the time. Never held while bytes are waited for, or the disk.
"""
HASH = re.compile(r"[0-9a-f]{32,}")
"""An ETag that is made of a file's content; others (nginx: time and size) two files of one server may share."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to fetch, and where."""

    file_name: str
    size_bytes: int | None
    max_bytes: int
    layout: Layout
    part: Path
    known: Known
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the head of an answer says about its body: where it begins, the whole file's length, its version."""

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
    """Fetch `url` to its content-addressed place, going on with a partial file where the server allows it.

    `size_bytes` is the size that the archive lists, if it does; a file larger than `max_bytes` is not begun. A small
    file that is not kept stays in memory. Raises DownloadError with one of `REASONS`, ArchiveDownError, DiskFullError.
    """
    part = layout.part(uri)
    limit = NO_LIMIT_BYTES if max_bytes is None else max_bytes
    wanted = Wanted(
        file_name=file_name, size_bytes=size_bytes, max_bytes=limit, layout=layout, part=part, known=known,
        is_kept=is_kept,
    )  # fmt: skip
    try:
        for attempt in transport.attempts(url):
            with attempt:
                return _try(transport, url, wanted)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        if is_unreachable(error):
            raise to_archive_error(error, url) from error
        raise DownloadError(reason_of(error), f"{uri}: {to_archive_error(error, url)}") from error
    raise AssertionError("a retry context ends by an answer or an error")


def reason_of(error: Exception) -> str:
    """The code among `REASONS` that says why a request failed."""
    if isinstance(error, RefusedError | DamagedError):
        return error.reason
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return STATUS_REASONS.get(status, "server_error" if status >= 500 else "refused")
    return "timeout" if isinstance(error, requests.Timeout) else "connection"


def _try(transport: Transport, url: str, wanted: Wanted) -> FetchedFile:
    """Bring the file to its place in one request. What arrived before a failure stays for the next try."""
    headers, offset, version = {"Accept-Encoding": "identity"}, 0, ""
    if _validator(wanted.part).exists() and wanted.part.exists():
        offset = wanted.part.stat().st_size
        version = _validator(wanted.part).read_text(encoding="latin-1")
    if offset and version:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    try:
        with transport.open(url, headers) as response:
            head = _read_head(response)
            if head.start not in {0, offset} or (head.start and head.version not in {"", version}):
                _forget(wanted.part)
                raise DamagedError(f"other bytes came than those from {offset} of version {version}")
            return _known_file(head, wanted) or _receive(transport, response, head, wanted)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != requests.codes.range_not_satisfiable:
            raise
        _forget(wanted.part)
        raise DamagedError("the partial file was longer than the whole one", "truncated") from error


def _read_head(response: requests.Response) -> Head:
    """Raises DamagedError for a web page, and for a partial answer that does not say which part it is."""
    headers, start = response.headers, 0
    if "text/html" in headers.get("Content-Type", ""):
        raise DamagedError("a web page came instead of the file", "html")
    length = headers.get("Content-Length", "")
    total = int(length[:18]) if length.isdecimal() else None
    if response.status_code == requests.codes.partial_content:
        match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None:
            raise DamagedError("a partial answer did not say which part it is")
        start, total = int(match[1]), int(match[2])
    etag = headers.get("ETag", "")
    etag = "" if etag.startswith("W/") else etag
    return Head(start=start, total=total, etag=etag, version=etag or headers.get("Last-Modified", ""))


def _known_file(head: Head, wanted: Wanted) -> FetchedFile | None:
    """The file that stands on the disk already, fetched under another name; its body need not come again."""
    etag = head.etag.strip('"')
    sha256 = wanted.known(etag, head.total) if HASH.fullmatch(etag) and head.total else None
    path = wanted.layout.product(sha256, wanted.file_name) if sha256 else None
    if path is None or sha256 is None or not path.is_file() or path.stat().st_size != head.total:
        return None
    _forget(wanted.part)
    return FetchedFile(path=path, sha256=sha256, size_bytes=head.total, etag=etag)


def _receive(transport: Transport, response: requests.Response, head: Head, wanted: Wanted) -> FetchedFile:
    """Write the body behind what is there already, check the whole, and settle it."""
    total = head.total
    if total is not None and total > wanted.max_bytes:
        raise RefusedError(f"{total} bytes would come where {wanted.max_bytes} are allowed", "too_large")
    if total is not None and wanted.size_bytes not in {None, total}:
        raise DamagedError(f"{total} bytes came where the archive lists {wanted.size_bytes}")
    check_free_space(wanted.layout, (total or 0) - head.start, transport.fetch.min_free_gb)
    response.raw.enforce_content_length = response.raw.decode_content = False
    limit = min(wanted.max_bytes, wanted.size_bytes or wanted.max_bytes) if total is None else total
    pieces, failure = transport.iter_chunks(response, limit - head.start), None
    if limit <= SMALL_BYTES and not head.start:
        body, failure = _gathered(pieces)
        if failure is None and total in {None, len(body)}:
            return _settle_small(body, head, wanted)
        pieces = iter([body])
    with _opened(wanted.part, head.start) as file:
        _write_body(file, pieces, failure, head=head, wanted=wanted, min_free_gb=transport.fetch.min_free_gb)
        _check(wanted)
        settled = settle(wanted.part, wanted.file_name, wanted.layout, etag=head.etag.strip('"') or None)
    _validator(wanted.part).unlink(missing_ok=True)
    return settled


def _settle_small(body: bytes, head: Head, wanted: Wanted) -> FetchedFile:
    """Check a small file, and write it in one go where it is kept: it is in memory as a whole."""
    etag = head.etag.strip('"') or None
    with ONE_AT_A_TIME:
        check_content(body, wanted.file_name, wanted.size_bytes)
        sha256 = sha256_bytes(body)
        if not wanted.is_kept:
            return FetchedFile(path=None, sha256=sha256, size_bytes=len(body), etag=etag, data=body)
        path = store_bytes(body, sha256, wanted.file_name, wanted.layout)
    return FetchedFile(path=path, sha256=sha256, size_bytes=len(body), etag=etag)


def _gathered(pieces: Iterator[bytes]) -> tuple[bytes, Exception | None]:
    """What comes of a small body, and what broke it off."""
    body: list[bytes] = []
    try:
        body.extend(pieces)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        return b"".join(body), error
    return b"".join(body), None


def _write_body(
    file: BinaryIO,
    pieces: Iterator[bytes],
    failure: Exception | None,
    *,
    head: Head,
    wanted: Wanted,
    min_free_gb: float,
) -> None:
    """Write a body as it comes. Raises DamagedError when it ends early, with its version kept for the next try."""
    size, room_checked = head.start, head.start
    _keep_version(wanted.part, head.version)
    try:
        for piece in pieces:
            file.write(piece)
            size += len(piece)
            if size - room_checked > ROOM_CHECKED_BYTES:
                check_free_space(wanted.layout, 0, min_free_gb)
                room_checked = size
        file.flush()
        if failure is not None:
            raise failure
    except RefusedError:
        _forget(wanted.part)
        raise
    if head.total is not None and size != head.total:
        raise DamagedError(f"{size} of {head.total} bytes came", "truncated")


def _check(wanted: Wanted) -> None:
    """Refuse content that is not what was listed; the partial file goes, as no continuation could mend it."""
    try:
        check_content(wanted.part, wanted.file_name, wanted.size_bytes)
    except DamagedError as error:
        LOG.info("refused %s: %s", wanted.part.name, error)
        _forget(wanted.part)
        raise


@contextmanager
def _opened(part: Path, start: int) -> Iterator[BinaryIO]:
    """`part`, cut to `start` bytes and locked, so that no other run writes it. Raises RefusedError, DiskFullError."""
    if not part.parent.is_dir():
        part.parent.mkdir(parents=True, exist_ok=True)
    with writing(part), part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here, there = os.fstat(file.fileno()), part.stat()
        except (BlockingIOError, FileNotFoundError) as error:
            raise RefusedError("another run fetches it", "busy") from error
        if here.st_ino != there.st_ino or (start and here.st_size != start):
            raise RefusedError("another run fetches it", "busy")
        if not start:
            _validator(part).unlink(missing_ok=True)
            if here.st_size:
                file.truncate(0)
        yield file


def _validator(part: Path) -> Path:
    """Where the version (ETag) of a partial file stands: without one it is never gone on with."""
    return part.with_suffix(".etag")


def _keep_version(part: Path, version: str) -> None:
    if version:
        _validator(part).write_text(version, encoding="latin-1")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)
