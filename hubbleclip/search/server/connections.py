"""Connections that are bounded in number and in time, so that slow clients cannot keep the others out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from hubbleclip.search.server.work_queue import RETRY_AFTER_S

MAX_CONNECTIONS = 512
"""Largest number of open connections; each has a file descriptor, of which a process often has 1,024."""
HEADERS_S, EXCHANGE_S = 10.0, 90.0
"""Time limits of the first request's headers, and of a request with its response or the wait for the next one."""
FULL = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER_S}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on a connection that is aborted at its time limit, whether the client is slow to write or to read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `H11Protocol`; a connection is refused if there are too many."""
        super().connection_made(transport)
        self._restart(HEADERS_S)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.write(FULL.encode())
            transport.close()

    def data_received(self, data: bytes) -> None:
        """See `H11Protocol`; the headers of a request are complete where a new cycle begins."""
        former = self.cycle
        super().data_received(data)
        if self.cycle is not former:
            self._restart(EXCHANGE_S)

    def on_response_complete(self) -> None:
        """See `H11Protocol`; the client may still be reading the response."""
        self._restart(EXCHANGE_S)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `H11Protocol`."""
        if self._limit:
            self._limit.cancel()
        super().connection_lost(exc)

    def _restart(self, limit_s: float) -> None:
        """Set the time at which the connection is aborted."""
        if self._limit:
            self._limit.cancel()
        self._limit = self.loop.call_later(limit_s, self.transport.abort)
