"""Responses to conditional requests and range requests (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

MJD_OF_UNIX_EPOCH = 40587.0
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def versioned_response(
    request: Request,
    read: Callable[[], Awaitable[bytes]],
    *,
    size: int,
    etag: str,
    modified_mjd: float,
    media_type: str,
    headers: dict[str, str] | None = None,
) -> Response:
    """Respond with status 200, 206 (a range), 304 (unchanged) or 416; `read` is called only if a body is sent."""
    modified = formatdate((modified_mjd - MJD_OF_UNIX_EPOCH) * 86400, usegmt=True)
    common_headers = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes", **(headers or {})}
    if _client_has_version(request, etag, modified):
        return Response(status_code=304, headers=common_headers)
    if request.method == "HEAD":
        return Response(headers=common_headers | {"Content-Length": str(size)}, media_type=media_type)
    # A client that resumes a download may send the version of its incomplete file in the header If-Range. If this
    # version is not current, the whole file is sent.
    is_current = request.headers.get("If-Range", etag) in {etag, modified}
    byte_range = _parse_range(request.headers.get("Range", ""), size) if is_current else None
    if byte_range is None:
        return Response(await read(), headers=common_headers, media_type=media_type)
    first, last = byte_range
    if first > last:
        range_headers = common_headers | {"Content-Range": f"bytes */{size}"}
        return PlainTextResponse(
            "the requested range starts beyond the end of the file", status_code=416, headers=range_headers
        )
    range_headers = common_headers | {"Content-Range": f"bytes {first}-{last}/{size}"}
    data = await read()
    return Response(data[first : last + 1], status_code=206, headers=range_headers, media_type=media_type)


def _client_has_version(request: Request, etag: str, modified: str) -> bool:
    """Decide whether the client has this version; If-Modified-Since is ignored if If-None-Match is present."""
    known_etags = request.headers.get("If-None-Match")
    if known_etags is None:
        return request.headers.get("If-Modified-Since") == modified
    # If-None-Match requires the weak comparison, which ignores the prefix `W/` of a weak ETag.
    return known_etags.strip() == "*" or etag in {part.strip().removeprefix("W/") for part in known_etags.split(",")}


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte positions that a Range header asks for, or None for the whole file.

    If the range starts beyond the end of the file, the first position is greater than the last.
    """
    match = RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    # `bytes=-n` asks for the last n bytes.
    if not match[1]:
        return max(size - int(match[2]), 0), size - 1 if int(match[2]) else -1
    return int(match[1]), min(int(match[2] or size - 1), size - 1)
