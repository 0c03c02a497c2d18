"""Run the server with time limits and a maximum number of connections, so that slow clients cannot block others."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.running_server import RunningServer, registered
from hubbleclip.search.server.search_service import RETRY_AFTER_S, SearchService
from hubbleclip.search.server.security import Access

if TYPE_CHECKING:
    from mcp.server import MCPServer

log = logging.getLogger(__name__)
SHUTDOWN_S, BACKLOG = 1, 1024
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Loopback address for each wildcard address; clients on this machine connect to the loopback address."""
MAX_CONNECTIONS = 512
"""Largest number of open connections; each needs a file descriptor, and a process can often open only 1,024."""
HEADERS_S, EXCHANGE_S = 10.0, 90.0
"""Time limits in seconds. `HEADERS_S` is for receiving the headers of a connection's first request. `EXCHANGE_S` is for
receiving the rest of a request and sending the response, and also for the wait until the next request's headers."""
FULL = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER_S}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 protocol that aborts a connection at a time limit, so that a slow client cannot keep it open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of a new connection, and refuse the connection if too many are open."""
        super().connection_made(transport)
        self._restart(HEADERS_S)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.write(FULL.encode())
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Read data. A new `cycle` of uvicorn means that a request's headers are complete: a new time limit starts."""
        former = self.cycle
        super().data_received(data)
        if self.cycle is not former:
            self._restart(EXCHANGE_S)

    def eof_received(self) -> bool:  # type: ignore[override]
        """If a client half-closes a connection after a complete request, keep it open until the response is sent."""
        is_waiting = bool(self.cycle and not self.cycle.more_body and not self.cycle.response_complete)
        if is_waiting:
            self.cycle.keep_alive = False
        return is_waiting

    def on_response_complete(self) -> None:
        """Start a new time limit at the end of a response, because the client may still be reading it."""
        self._restart(EXCHANGE_S)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limit of a closed connection."""
        if self._limit:
            self._limit.cancel()
        super().connection_lost(exc)

    def _restart(self, limit_s: float) -> None:
        """Set the time at which the connection is aborted."""
        if self._limit:
            self._limit.cancel()
        self._limit = self.loop.call_later(limit_s, self.transport.abort)


def listen(host: str, port: int) -> socket.socket:
    """Open the server's socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if IPPROTO_TCP is given here; without it, each response would wait 40 ms for an ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise HubbleclipError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    return opened


def configure(app: FastAPI) -> uvicorn.Config:
    """Configure uvicorn for an application."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def run_server(
    service: SearchService, access: Access, port: int, server_file: Path, agents: MCPServer | None = None
) -> None:
    """Serve until Ctrl-C; port 0 means any free port."""
    opened = listen(access.host, port)
    instance, port = secrets.token_hex(16), opened.getsockname()[1]
    found = RunningServer(
        host=ANY.get(access.host, access.host), port=port, instance=instance, token=access.token, pid=os.getpid()
    )
    shown = f"[{access.host}]" if ":" in access.host else access.host
    with registered(server_file, found):
        log.info("search: http://%s:%d/%s, until Ctrl-C", shown, port, "?token=..." if access.token else "")
        uvicorn.Server(configure(create_app(service, access, instance, agents))).run(sockets=[opened])
