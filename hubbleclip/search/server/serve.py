"""Run the server."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.server.app import create_app
from hubbleclip.search.server.connections import BoundedProtocol
from hubbleclip.search.server.registration import Registration, registered
from hubbleclip.search.server.security import Access
from hubbleclip.search.server.service import Service

log = logging.getLogger(__name__)
SHUTDOWN_S, BACKLOG = 1, 1024
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Address at which this machine reaches a server that listens on all addresses."""


def listen(host: str, port: int) -> socket.socket:
    """Open the server's socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is stated; without it, each response would wait 40 ms for an ACK.
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


def serve(service: Service, access: Access, port: int, registration_file: Path) -> None:
    """Serve until Ctrl-C."""
    opened = listen(access.host, port)
    instance, port = secrets.token_hex(16), opened.getsockname()[1]
    found = Registration(
        host=ANY.get(access.host, access.host), port=port, instance=instance, token=access.token, pid=os.getpid()
    )
    shown = f"[{access.host}]" if ":" in access.host else access.host
    with registered(registration_file, found):
        log.info("search: http://%s:%d/%s, until Ctrl-C", shown, port, "?token=..." if access.token else "")
        uvicorn.Server(configure(create_app(service, access, instance))).run(sockets=[opened])
