"""Fetching one file so that what lands is whole, is what it claims to be, and stands under the hash of its content.

astroquery's own download writes to the final path, checks neither size nor content, and retries nothing.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import requests

from hubbleclip.archives.landing import FetchedFile, check_content, settle
from hubbleclip.archives.transport import DamagedError, RefusedError, Transport, in_words, is_unreachable
from hubbleclip.errors import DownloadError
from hubbleclip.files import CHUNK_BYTES
from hubbleclip.paths import Layout

LOG = logging.getLogger(__name__)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


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
                _check(part, file_name, size_bytes)
    except (requests.RequestException, RefusedError, DamagedError) as error:
        if is_unreachable(error):
            raise in_words(error, url) from error
        raise DownloadError("failed", f"{uri}: {in_words(error, url)}") from error
    file = settle(part, file_name, layout)
    _validator(part).unlink(missing_ok=True)
    return file


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


def _check(part: Path, file_name: str, size_bytes: int | None) -> None:
    """Refuse content that is not what was listed; the partial file goes, as no continuation could mend it."""
    try:
        check_content(part, file_name, size_bytes)
    except DamagedError as error:
        LOG.info("refused %s: %s", part.name, error)
        _forget(part)
        raise
