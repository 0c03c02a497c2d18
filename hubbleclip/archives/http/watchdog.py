"""Time limit for receiving the headers of a response.

A socket's own timeout starts again with every byte that arrives. Without the limit, a server that sends its headers one
byte at a time could therefore block a connection without end.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

CHECK_INTERVAL_S = 0.1


class Watchdog:
    """Watchdog that shuts down sockets whose deadline has passed. One thread watches all sockets of a process."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Forget all sockets and the thread. A forked process must not use the sockets and thread of its parent."""
        self._deadlines: dict[socket.socket, float] = {}  # values of time.monotonic(), in seconds
        self._starting = threading.Lock()
        self._thread = threading.Thread()

    @contextmanager
    def limit(self, sock: socket.socket, seconds: float) -> Iterator[None]:
        """Context manager that limits the time of its body, which reads from a socket.

        Parameters
        ----------
        sock
            Socket from which the body reads. The socket is shut down at the deadline, which ends a blocked read.
        seconds
            Time limit of the body (s).

        Yields
        ------
        None
            Nothing; the body of the `with` statement runs.

        Raises
        ------
        TimeoutError
            If the body took longer than the limit.

        """
        self._deadlines[sock] = time.monotonic() + seconds
        if not self._thread.is_alive():
            self._start()
        try:
            yield
        finally:
            # a missing entry means that the watchdog thread has removed and shut down the socket
            if self._deadlines.pop(sock, None) is None:
                raise TimeoutError("the response headers did not arrive in time")

    def _start(self) -> None:
        """Start the watchdog thread, unless it is already running."""
        with self._starting:
            if not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="http-watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        """Loop without end: shut down every socket whose deadline has passed."""
        while True:
            time.sleep(CHECK_INTERVAL_S)
            now = time.monotonic()
            for sock, deadline in list(self._deadlines.items()):
                # pop is atomic: either this thread or the end of the `with` body in `limit` removes the socket
                if deadline < now and self._deadlines.pop(sock, None) is not None:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog()


class _HeaderTimeout(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Receive the response headers within the read timeout; see `HTTPConnection.getresponse`."""
        if not self.timeout:
            return super().getresponse()
        with WATCHDOG.limit(self.sock, self.timeout):
            return super().getresponse()


class WatchedHttp(_HeaderTimeout):
    """An HTTP connection that limits the time for receiving the response headers."""


class WatchedHttps(_HeaderTimeout, HTTPSConnection):
    """An HTTPS connection that limits the time for receiving the response headers."""


class WatchedHttpPool(HTTPConnectionPool):
    """A pool of `WatchedHttp` connections."""

    ConnectionCls = WatchedHttp


class WatchedHttpsPool(HTTPSConnectionPool):
    """A pool of `WatchedHttps` connections."""

    ConnectionCls = WatchedHttps


POOLS = {"http": WatchedHttpPool, "https": WatchedHttpsPool}
"""Connection pool classes by URL scheme, in the form of urllib3's `PoolManager.pool_classes_by_scheme`."""
