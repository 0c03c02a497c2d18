"""Answers about bytes with a version: whole, in part, unchanged, or headers only (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

MJD_OF_UNIX_EPOCH = 40587.0
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def versioned(
    request: Request,
    read: Callable[[], Awaitable[bytes]],
    *,
    size: int,
    etag: str,
    modified_mjd: float,
    media_type: str,
    headers: dict[str, str] | None = None,
) -> Response:
    """The answer to GET or HEAD of `size` bytes, which are read only when asked for."""
    modified = formatdate((modified_mjd - MJD_OF_UNIX_EPOCH) * 86400, usegmt=True)
    fixed = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes", **(headers or {})}
    if _is_known(request, etag, modified):
        return Response(status_code=304, headers=fixed)
    if request.method == "HEAD":
        return Response(headers=fixed | {"Content-Length": str(size)}, media_type=media_type)
    is_current = request.headers.get("If-Range", etag) in {etag, modified}
    span = _span_of(request.headers.get("Range", ""), size) if is_current else None
    if span is None:
        return Response(await read(), headers=fixed, media_type=media_type)
    first, last = span
    if first > last:
        whole = fixed | {"Content-Range": f"bytes */{size}"}
        return PlainTextResponse("the file ends before", status_code=416, headers=whole)
    part = fixed | {"Content-Range": f"bytes {first}-{last}/{size}"}
    data = await read()
    return Response(data[first : last + 1], status_code=206, headers=part, media_type=media_type)


def _is_known(request: Request, etag: str, modified: str) -> bool:
    """Whether the client has this version; If-Modified-Since counts only without If-None-Match."""
    known = request.headers.get("If-None-Match")
    if known is None:
        return request.headers.get("If-Modified-Since") == modified
    return known.strip() == "*" or etag in {part.strip().removeprefix("W/") for part in known.split(",")}


def _span_of(text: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header, first > last where nothing is there; None for the whole file."""
    match = RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        return max(size - int(match[2]), 0), size - 1 if int(match[2]) else -1
    return int(match[1]), min(int(match[2] or size - 1), size - 1)
