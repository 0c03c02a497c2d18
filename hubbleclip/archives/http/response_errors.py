"""Exceptions for responses that cannot be used. They are caught inside the archives and become typed errors there."""

from __future__ import annotations

from typing import ClassVar


class ResponseError(Exception):
    """A response that cannot be used. `reason` is a code of `download.REASONS`, or a code of the MAST client."""

    default_reason: ClassVar[str]

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class DamagedError(ResponseError):
    """A response that is not valid for its request, so that a retry may help."""

    default_reason = "damaged"


class RefusedError(ResponseError):
    """A response that is refused for a reason that a retry would not change."""

    default_reason = "redirect"
