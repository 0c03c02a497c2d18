"""The simulated archive at a distance: a process that begins every answer so many seconds late, as a far one would."""

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

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.app import make_app


class Distant:
    """An application whose answers take `delay_s` longer."""

    def __init__(self, app: ASGIApp, delay_s: float) -> None:
        self.app = app
        self.delay_s = delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then serve."""
        await asyncio.sleep(self.delay_s)
        await self.app(scope, receive, send)


@contextmanager
def archive_at_distance(settings: SimulatorSettings, delay_s: float) -> Iterator[str]:
    """Yield the address of an archive that answers; it ends with the block, or with this process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_serve, args=(settings, delay_s, there), daemon=True)
    child.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        child.join()


def _serve(settings: SimulatorSettings, delay_s: float, parent: Connection) -> None:
    config = uvicorn.Config(Distant(make_app(settings), delay_s), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)

    def stop_with_parent() -> None:
        try:
            parent.recv()
        except EOFError:
            server.should_exit = True

    with socket.create_server((settings.host, 0)) as listener:
        parent.send(f"http://{settings.host}:{listener.getsockname()[1]}")
        threading.Thread(target=stop_with_parent, daemon=True).start()
        server.run(sockets=[listener])
