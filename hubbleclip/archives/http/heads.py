"""A time limit for the whole head of an answer: a socket's own limit begins anew with each byte that comes."""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class TimedReader(io.RawIOBase):
    """The bytes of a socket; a TimeoutError once it is later than `until_s` of `time.monotonic`."""

    def __init__(self, raw: io.RawIOBase, until_s: float) -> None:
        self.raw = raw
        self.until_s = until_s

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See io.RawIOBase.readinto."""
        num_bytes = self.raw.readinto(buffer)
        if time.monotonic() > self.until_s:
            raise TimeoutError("the head of the answer did not come in time")
        return num_bytes

    def close(self) -> None:
        """Give the socket back."""
        self.raw.close()
        super().close()


class TimedResponse(http.client.HTTPResponse):
    """An answer whose head must come within the time that its socket allows for one read."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        patience_s = sock.gettimeout()
        raw = self.fp.detach()
        self._reader = TimedReader(raw, math.inf if patience_s is None else time.monotonic() + patience_s)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._reader.until_s = math.inf


class TimedHttp(HTTPConnection):
    """A connection of such answers."""

    response_class = TimedResponse


class TimedHttps(HTTPSConnection):
    """As TimedHttp."""

    response_class = TimedResponse


class TimedHttpPool(HTTPConnectionPool):
    """Connections of such answers."""

    ConnectionCls = TimedHttp


class TimedHttpsPool(HTTPSConnectionPool):
    """As TimedHttpPool."""

    ConnectionCls = TimedHttps


POOLS = {"http": TimedHttpPool, "https": TimedHttpsPool}
"""For `PoolManager.pool_classes_by_scheme`."""
