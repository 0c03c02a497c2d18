"""A time limit for receiving all headers of a response.

A socket's own timeout starts again with every byte, so a server that sends one byte at a time could hold a connection
for ever.
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
    """Shuts down sockets whose deadline has passed; one thread serves all connections of a process."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Start without sockets and thread: in a forked child, those of the parent belong to the parent."""
        self._deadlines: dict[socket.socket, float] = {}  # in terms of time.monotonic()
        self._starting = threading.Lock()
        self._thread = threading.Thread()

    @contextmanager
    def limit(self, sock: socket.socket, seconds: float) -> Iterator[None]:
        """Limit the time of a block that reads from a socket.

        Parameters
        ----------
        sock
            The socket; it is shut down at the deadline, which ends a blocked read.
        seconds
            Time limit of the block (s).

        Yields
        ------
        None
            The block runs.

        Raises
        ------
        TimeoutError
            If the block took longer.

        """
        self._deadlines[sock] = time.monotonic() + seconds
        if not self._thread.is_alive():
            self._start()
        try:
            yield
        finally:
            # the watchdog thread removes the socket when it shuts it down
            if self._deadlines.pop(sock, None) is None:
                raise TimeoutError("the response headers did not arrive in time")

    def _start(self) -> None:
        """Start the thread unless another thread has done so."""
        with self._starting:
            if not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="http-watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        """Shut down expired sockets, for ever."""
        while True:
            time.sleep(CHECK_INTERVAL_S)
            now = time.monotonic()
            for sock, deadline in list(self._deadlines.items()):
                # pop decides between this thread and the block's end: only one of them gets the socket
                if deadline < now and self._deadlines.pop(sock, None) is not None:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog()


class _HeaderTimeout(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """See `HTTPConnection.getresponse`."""
        if not self.timeout:
            return super().getresponse()
        with WATCHDOG.limit(self.sock, self.timeout):
            return super().getresponse()


class WatchedHttp(_HeaderTimeout):
    """An HTTP connection with a limit on the time of the headers."""


class WatchedHttps(_HeaderTimeout, HTTPSConnection):
    """An HTTPS connection with a limit on the time of the headers."""


class WatchedHttpPool(HTTPConnectionPool):
    """A pool of `WatchedHttp`."""

    ConnectionCls = WatchedHttp


class WatchedHttpsPool(HTTPSConnectionPool):
    """A pool of `WatchedHttps`."""

    ConnectionCls = WatchedHttps


POOLS = {"http": WatchedHttpPool, "https": WatchedHttpsPool}
"""Value for `PoolManager.pool_classes_by_scheme`."""
