"""The simulated archive behind a slow line: a process that delays every response by a fixed latency."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from hubbleclip.simulator.observations import SkySettings
from hubbleclip.simulator.server.app import LOOPBACK, make_app
from hubbleclip.simulator.server.product_store import ArchiveStore


class DelayedApp:
    """An ASGI application whose responses begin `delay_s` seconds later."""

    def __init__(self, app: ASGIApp, delay_s: float) -> None:
        self.app = app
        self.delay_s = delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then respond."""
        await asyncio.sleep(self.delay_s)
        await self.app(scope, receive, send)


@contextmanager
def archive_with_latency(settings: SkySettings, delay_s: float) -> Iterator[str]:
    """Run the archive in a process of its own and yield its URL; it ends with the block, or with this process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()  # carries the URL; its end tells the child that the parent is gone
    child = context.Process(target=_serve, args=(settings, delay_s, there), daemon=True)
    child.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        child.join()


def _serve(settings: SkySettings, delay_s: float, parent: Connection) -> None:
    config = uvicorn.Config(
        DelayedApp(make_app(ArchiveStore(SkySettings(**settings.model_dump()))), delay_s),
        log_level="critical",
        lifespan="off",
    )
    server = uvicorn.Server(config)

    def stop_with_parent() -> None:
        try:
            parent.recv()
        except EOFError:
            server.should_exit = True

    with socket.create_server((LOOPBACK, 0)) as listener:
        parent.send(f"http://{LOOPBACK}:{listener.getsockname()[1]}")
        threading.Thread(target=stop_with_parent, daemon=True).start()
        server.run(sockets=[listener])
