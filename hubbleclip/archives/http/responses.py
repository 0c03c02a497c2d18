"""Limits on the size of responses, and exceptions for responses that cannot be used.

Every response is limited before it is parsed, because a small compressed body can unpack to gigabytes, and the objects
parsed from a JSON text can be thirty times as large as the text. The archives convert the exceptions to errors of
`core.errors`.

The codes in `ResponseError.reason` and `DownloadError.reason` are:

missing
    The archive has no such file (404, 410).
denied
    The archive does not allow access to the file (401, 403).
html
    A web page or a JSON response arrived instead of the file.
truncated
    The file is incomplete.
damaged
    The content is not valid for the file's type.
checksum
    A checksum in the file does not match.
too_large
    The file is larger than the settings allow, or larger than the size that the archive lists.
stalled
    Too few bytes arrived within a minute.
timeout
    The response, or the whole file, did not arrive in time.
redirect
    The archive redirects to an address that is not followed.
refused
    The archive rejects the request as invalid (all other 4xx).
busy
    The archive asked to try again later, or another run is fetching the same file.
server_error
    The archive failed (5xx).
connection
    The connection broke.

Queries of MAST have further codes: bad_json, empty, partial, null_columns and error.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hubbleclip.core.errors import without_control
from hubbleclip.core.io import from_json

PAGE_BYTES = 20_000_000
"""Maximum size (bytes) of a web page, an APT file, a listing, or any other response about a single item."""
LIST_BYTES = 100_000_000
"""Maximum size of a list of proposals."""
ROW_BYTES, ENVELOPE_BYTES, ROWS_BYTES = 16_000, 1_000_000, 128_000_000
"""Maximum size of a response to a query: `ROW_BYTES` per row plus `ENVELOPE_BYTES`, but at most `ROWS_BYTES`."""
VALUE_BYTES, CONTAINER_BYTES, PARSED_BYTES = 120, 240, 500_000_000
"""Upper estimates of the memory (bytes) of a JSON value and of a JSON list or object; memory limit of a response."""


class ResponseError(Exception):
    """A response that cannot be used; `reason` is a code that the module's docstring lists."""

    default_reason: ClassVar[str]

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(without_control(message))  # the message may quote the response
        self.reason = reason or self.default_reason


class DamagedError(ResponseError):
    """A response that is damaged or does not match its request. A retry may give a valid response."""

    default_reason = "damaged"


class IncompleteError(DamagedError):
    """A response that did not arrive completely. This error counts as a failure of the host."""

    default_reason = "truncated"


class RefusedError(ResponseError):
    """A response that is not used, for a reason that a retry would not change."""

    default_reason = "redirect"


def rows_limit(num_rows: int) -> int:
    """Compute the maximum size (bytes, unpacked) of a response to a query, from the number of rows requested."""
    return min(ENVELOPE_BYTES + num_rows * ROW_BYTES, ROWS_BYTES)


def parse_json(body: bytes) -> Any:
    """Parse JSON; ValueError if it is not JSON, RefusedError if it may take too much memory."""
    check_memory(body)
    return from_json(body)


def check_memory(body: bytes) -> None:
    """Raise RefusedError if a body of JSON, once parsed, may take more than `PARSED_BYTES` of memory."""
    num_containers = body.count(b"[") + body.count(b"{")
    needed = len(body) + VALUE_BYTES * body.count(b",") + CONTAINER_BYTES * num_containers
    if needed > PARSED_BYTES:
        raise RefusedError(f"the response would take {needed / 1e9:.1f} GB of memory", "too_large")
