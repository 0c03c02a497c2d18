"""Time limits for receiving the headers of a response, and the whole of it.

A socket's own timeout starts again with every byte that arrives. Without the limits, a server that sends its headers or
its trailers one byte at a time could therefore block a connection without end.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from weakref import WeakKeyDictionary

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


class Watchdog:
    """Shuts down sockets whose time limit has passed, in one thread: starting one per request takes 0.2 ms."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, tuple[float, socket.socket]] = {}  # time.monotonic() of the limit, and the socket
        self._wakes_at = math.inf
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def time_limit(self, sock: socket.socket, seconds: float) -> Iterator[None]:
        """Limit the time of a `with` block that reads from a socket; TimeoutError if it did not end in time."""
        key, limit = object(), time.monotonic() + seconds
        with self._changed:
            self._watched[key] = limit, sock
            if limit < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:  # afterwards the thread can no longer shut down the socket
                is_expired = self._watched.pop(key, None) is None
            if is_expired:
                raise TimeoutError("the response did not arrive in time")

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key in [key for key, (limit, _) in self._watched.items() if limit <= now]:
                    with suppress(OSError):
                        self._watched.pop(key)[1].shutdown(socket.SHUT_RDWR)
                self._wakes_at = min((limit for limit, _ in self._watched.values()), default=math.inf)
                self._changed.wait(None if math.isinf(self._wakes_at) else self._wakes_at - now)


@cache
def _watchdog(process_id: int) -> Watchdog:
    """Return the watchdog of this process. A forked process needs its own, because threads do not survive a fork."""
    return Watchdog()


_sockets: WeakKeyDictionary[HTTPResponse, socket.socket] = WeakKeyDictionary()
"""Socket of each response of a `WatchedHttp` connection."""


@contextmanager
def time_limit_of(response: HTTPResponse, seconds: float) -> Iterator[None]:
    """Limit the time of a `with` block that reads a response of a `WatchedHttp` connection."""
    sock = _sockets.get(response)
    with _watchdog(os.getpid()).time_limit(sock, seconds) if sock else nullcontext():
        yield


class WatchedHttp(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Receive the response headers within the read timeout."""
        sock = self.sock  # the connection forgets its socket if the server announces that it closes the connection
        with _watchdog(os.getpid()).time_limit(sock, self.timeout) if self.timeout else nullcontext():
            response = super().getresponse()
        _sockets[response] = sock
        return response


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
