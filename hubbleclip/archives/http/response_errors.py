"""Exceptions for responses that cannot be used. The archives convert these exceptions to errors of `core.errors`.

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
    The archive rejects the request as invalid (another 4xx).
busy
    The archive asked to try again later, or another run is fetching the same file.
server_error
    The archive failed (5xx).
connection
    The connection broke.

Queries of MAST have further codes, which `mast.client.ERRORS` lists.
"""

from __future__ import annotations

from typing import ClassVar

from hubbleclip.core.errors import without_control


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
    """A response of which not all bytes arrived. Unlike other damage, this is a failure of the host."""

    default_reason = "truncated"


class RefusedError(ResponseError):
    """A response that is not used, for a reason that a retry would not change."""

    default_reason = "redirect"
