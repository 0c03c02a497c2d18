"""Connections on which a response must arrive in time, whatever the pace at which its bytes come."""

from __future__ import annotations

import io
import logging
import math
import socket
import time
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

LOG = logging.getLogger(__name__)
LOGGED_S, SLOW_BYTES = 60.0, 60_000
"""If fewer than `SLOW_BYTES` of a response arrive within `LOGGED_S` seconds, the response is logged as slow."""


class TimedReader(io.RawIOBase):
    """Reader of a response whose reads fail after `deadline`, a value of `time.monotonic()`.

    A socket's own timeout starts again with every byte. A server that sends its headers or its trailers one byte at a
    time could therefore block a connection without end.
    """

    def __init__(self, sock: socket.socket, host: str) -> None:
        self._sock, self._raw, self._host = sock, sock.makefile("rb", buffering=0), host
        self._timeout_s = sock.gettimeout() or math.inf
        self._started = self._logged = time.monotonic()
        self._num_bytes = 0  # bytes that have arrived since the time `_logged`
        self.deadline = self._started + self._timeout_s  # that of the headers; `iter_chunks` sets that of the body

    def makefile(self, _: str) -> io.BufferedReader:
        """Return a buffered reader; `http.client` calls this method as it would that of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """See `io.RawIOBase.readable`."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the bytes that have arrived; TimeoutError at the deadline."""
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("the response did not arrive in time")
        if now - self._logged >= LOGGED_S:
            if self._num_bytes < SLOW_BYTES:
                LOG.warning("%s has been sending a response for %.0f s, slowly", self._host, now - self._started)
            self._logged, self._num_bytes = now, 0
        self._sock.settimeout(min(self.deadline - now, self._timeout_s))
        num_bytes = self._raw.readinto(buffer)
        self._num_bytes += num_bytes or 0
        return num_bytes

    def close(self) -> None:
        """Close the reader; the connection closes its socket."""
        self._raw.close()
        super().close()


class TimedHttp(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout; `reader` limits the body."""

    reader: TimedReader

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:  # type: ignore[override]
        """Make the response, which reads from a `TimedReader`."""
        self.reader = TimedReader(sock, self.host)
        return HTTPResponse(self.reader, *args, **options)  # type: ignore[arg-type]


class TimedHttps(TimedHttp, HTTPSConnection):
    """An HTTPS connection with the limits of `TimedHttp`."""


class TimedHttpPool(HTTPConnectionPool):
    """A pool of `TimedHttp` connections."""

    ConnectionCls = TimedHttp


class TimedHttpsPool(HTTPSConnectionPool):
    """A pool of `TimedHttps` connections."""

    ConnectionCls = TimedHttps


POOLS = {"http": TimedHttpPool, "https": TimedHttpsPool}
"""Pools of connections, by the scheme of an address."""
