"""HTTP connections whose reads end at a deadline, even if the server sends one byte at a time."""

from __future__ import annotations

import io
import math
import socket
import time
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class TimedReader(io.RawIOBase):
    """Reader of a response whose reads fail after `deadline`, a value of `time.monotonic()`.

    A socket's own timeout starts again with every byte. A server that sends its headers or its trailers one byte at a
    time could therefore block a connection without end.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._raw = sock, sock.makefile("rb", buffering=0)
        self.timeout_s = sock.gettimeout() or math.inf
        self.deadline = time.monotonic() + self.timeout_s  # for the headers; `iter_chunks` sets later deadlines

    def makefile(self, _: str) -> io.BufferedReader:
        """Return a buffered reader; `http.client` calls this method as if this object were a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """See `io.RawIOBase.readable`."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the bytes that have arrived; TimeoutError at the deadline."""
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("the response did not arrive in time")
        self._sock.settimeout(self.deadline - now)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the reader, but not the socket, which the connection closes."""
        self._raw.close()
        super().close()


class TimedHttp(HTTPConnection):
    """A connection whose response headers must arrive within the read timeout; `reader.deadline` limits the body."""

    reader: TimedReader

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:  # type: ignore[override]
        """Make the response, which reads from a `TimedReader`."""
        self.reader = TimedReader(sock)
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
