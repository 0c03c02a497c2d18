"""Limits on the size of an archive's responses: bytes as they are unpacked, and memory when JSON is parsed.

Every response is limited before it is parsed, because a small compressed body can unpack to gigabytes, and a small JSON
text can take thirty times its size as Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from hubbleclip.archives.http.response_errors import RefusedError
from hubbleclip.core.io import from_json

PAGE_BYTES = 20_000_000
"""Maximum size of a web page, an APT file, a listing, or another response about one item."""
LIST_BYTES = 100_000_000
"""Maximum size of a list of proposals."""
ROW_BYTES, ENVELOPE_BYTES, ROWS_BYTES = 16_000, 1_000_000, 128_000_000
"""Maximum size of a response to a query: `ROW_BYTES` per row plus `ENVELOPE_BYTES`, but at most `ROWS_BYTES`."""
VALUE_BYTES, CONTAINER_BYTES, PARSED_BYTES = 120, 240, 500_000_000
"""Upper estimates of the memory of a parsed value and of a parsed list or object; and the limit of their sum."""
LIMIT_BYTES: ContextVar[int] = ContextVar("LIMIT_BYTES", default=PAGE_BYTES)
"""Maximum size (bytes, unpacked) of the response to a query, as set by `expecting_rows`."""


@contextmanager
def expecting_rows(num_rows: int) -> Iterator[None]:
    """Within a `with` block, limit the size of each response in proportion to the number of rows requested."""
    token = LIMIT_BYTES.set(min(ENVELOPE_BYTES + num_rows * ROW_BYTES, ROWS_BYTES))
    try:
        yield
    finally:
        LIMIT_BYTES.reset(token)


def check_json(body: bytes) -> None:
    """Raise RefusedError if a text, valid JSON or not, may take more than `PARSED_BYTES` when it is parsed."""
    num_containers = body.count(b"[") + body.count(b"{")
    needed = len(body) + VALUE_BYTES * body.count(b",") + CONTAINER_BYTES * num_containers
    if needed > PARSED_BYTES:
        raise RefusedError(f"the response would take {needed / 1e9:.1f} GB of memory", "too_large")


def parse_json(body: bytes) -> Any:
    """Parse JSON in a bounded amount of memory; ValueError if it is not JSON."""
    check_json(body)
    return from_json(body)
