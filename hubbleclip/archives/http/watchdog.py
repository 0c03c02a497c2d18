"""A time limit for the whole head of an answer: a socket's own limit begins again with each byte that comes."""

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

PERIOD_S = 0.1


class Watchdog:
    """Shuts down sockets whose time is over, by one thread for all connections of a process."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Begin without sockets and thread: those of the process that forked this one are its own."""
        self._due: dict[socket.socket, float] = {}
        self._starting = threading.Lock()
        self._thread = threading.Thread()

    @contextmanager
    def limit(self, sock: socket.socket, seconds: float) -> Iterator[None]:
        """Let what is read from a socket in the block take so long. Raises TimeoutError where it took longer."""
        self._due[sock] = time.monotonic() + seconds
        if not self._thread.is_alive():
            self._start()
        try:
            yield
        finally:
            if self._due.pop(sock, None) is None:
                raise TimeoutError("the head of the answer did not come in time")

    def _start(self) -> None:
        with self._starting:
            if not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="http-watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        while True:
            time.sleep(PERIOD_S)
            now = time.monotonic()
            for sock, due_s in list(self._due.items()):
                if due_s < now and self._due.pop(sock, None) is not None:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog()


class _HeadLimit(HTTPConnection):
    """A connection whose answers' heads must come within the time limit of one read."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """See HTTPConnection.getresponse."""
        if not self.timeout:
            return super().getresponse()
        with WATCHDOG.limit(self.sock, self.timeout):
            return super().getresponse()


class WatchedHttp(_HeadLimit):
    """Such a connection over HTTP."""


class WatchedHttps(_HeadLimit, HTTPSConnection):
    """Such a connection over HTTPS."""


class WatchedHttpPool(HTTPConnectionPool):
    """Such connections."""

    ConnectionCls = WatchedHttp


class WatchedHttpsPool(HTTPSConnectionPool):
    """Such connections."""

    ConnectionCls = WatchedHttps


POOLS = {"http": WatchedHttpPool, "https": WatchedHttpsPool}
"""For `PoolManager.pool_classes_by_scheme`."""
