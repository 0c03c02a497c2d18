"""A file at MAST that is read by ranges, for a few pixels of a large image."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from typing import BinaryIO, cast

import requests

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.download import CONTENT_RANGE
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import DownloadError

BLOCK_BYTES = 2**20


class RangeFile(io.RawIOBase):
    """A file at a URL; DownloadError once more than `max_bytes` of it are read, or if the server ignores ranges."""

    def __init__(self, transport: Transport, url: str, max_bytes: int) -> None:
        self._transport, self._url, self._left = transport, url, max_bytes // BLOCK_BYTES
        self._block = lru_cache(None)(self._fetch)
        self._position = self._size = 0
        self._block(0)

    def _fetch(self, number: int) -> bytes:
        """Request one block of the file, of `BLOCK_BYTES`, by its number."""
        if not self._left:
            raise DownloadError("too_large", f"{self._url}: more bytes than allowed are needed")
        self._left -= 1
        first = number * BLOCK_BYTES
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={first}-{first + BLOCK_BYTES - 1}"}
        try:
            response = self._transport.get(self._url, headers, BLOCK_BYTES)
        except requests.HTTPError as error:
            raise DownloadError("missing", f"{self._url}: {error}") from error
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != first:
            raise DownloadError("refused", f"{self._url}: the server sends no ranges")
        self._size = int(match[2])
        return response.content

    def readable(self) -> bool:
        """See `RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `RawIOBase`."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `RawIOBase`."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See `RawIOBase`."""
        if self._position >= self._size:
            return 0
        number, start = divmod(self._position, BLOCK_BYTES)
        part = self._block(number)[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def open_remote(fetch: FetchSettings, mast_url: str, uri: str, max_bytes: int) -> BinaryIO:
    """Open a product at MAST, of which at most `max_bytes` may be read."""
    transport = Transport(fetch)
    file = RangeFile(transport, MastClient(mast_url, transport).download_url(uri), max_bytes)
    return cast(BinaryIO, io.BufferedReader(file))
