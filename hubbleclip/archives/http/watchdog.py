"""Time limit for receiving the headers of a response.

A socket's own timeout starts again with every byte that arrives. Without the limit, a server that sends its headers one
byte at a time could therefore block a connection without end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


@contextmanager
def time_limit(sock: socket.socket, seconds: float) -> Iterator[None]:
    """Context manager that limits the time of its body, which reads from a socket.

    Parameters
    ----------
    sock
        Socket from which the body reads. The socket is shut down at the time limit, which ends a blocked read.
    seconds
        Time limit of the body (s).

    Yields
    ------
    None
        Nothing; the body of the `with` statement runs.

    Raises
    ------
    TimeoutError
        If the body did not end within the time limit.

    """
    expired = threading.Event()

    def shut_down() -> None:
        expired.set()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # afterwards the timer can no longer shut down the socket
        if expired.is_set():
            raise TimeoutError("the response headers did not arrive in time")


class WatchedHttp(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Receive the response headers within the read timeout.

        Returns
        -------
        HTTPResponse
            The response, as from `HTTPConnection.getresponse`.

        """
        if not self.timeout:
            return super().getresponse()
        with time_limit(self.sock, self.timeout):
            return super().getresponse()


class WatchedHttps(WatchedHttp, HTTPSConnection):
    """An HTTPS connection that limits the time for receiving the response headers."""


class WatchedHttpPool(HTTPConnectionPool):
    """A pool of `WatchedHttp` connections."""

    ConnectionCls = WatchedHttp


class WatchedHttpsPool(HTTPSConnectionPool):
    """A pool of `WatchedHttps` connections."""

    ConnectionCls = WatchedHttps


POOLS = {"http": WatchedHttpPool, "https": WatchedHttpsPool}
"""Connection pool classes by URL scheme, in the form of urllib3's `PoolManager.pool_classes_by_scheme`."""
