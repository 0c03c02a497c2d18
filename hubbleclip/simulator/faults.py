"""Faults on demand: the ways in which real archives fail, drawn from a seed, to test clients against."""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.settings import Section

FaultKind = Literal["500", "503", "429", "truncated", "reset", "html"]
Fault = Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]]
HTML = b"<!DOCTYPE html><html><body><h1>Simulated fault: the archive is down for maintenance</h1></body></html>"


class FaultRule(Section):
    """One fault and the requests that it strikes."""

    kind: FaultKind
    """What goes wrong."""
    path: str = "/"
    """Only requests whose path begins so are struck."""
    times: int = Field(0, ge=0)
    """Strike so many times at most; 0 sets no limit."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the matching requests that are struck."""


class FaultPlan(Section):
    """The faults of a server, the first matching rule first."""

    rules: tuple[FaultRule, ...] = ()
    """The rules in order."""
    seed: int = 0
    """Seed of the draw."""


class FaultMiddleware:
    """Stands between the network and the archive, and strikes by plan."""

    def __init__(self, app: ASGIApp, plan: FaultPlan) -> None:
        self.app = app
        self.plan = plan
        self._rng = random.Random(plan.seed)
        self._struck = [0] * len(plan.rules)
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or strike it."""
        kind = self._draw(scope["path"]) if scope["type"] == "http" else None
        if kind is None:
            await self.app(scope, receive, send)
        else:
            await FAULTS[kind](self.app, scope, receive, send)

    def _draw(self, path: str) -> str | None:
        """The kind of fault for the next request to this path, if any."""
        with self._lock:
            for index, rule in enumerate(self.plan.rules):
                is_left = not rule.times or self._struck[index] < rule.times
                if path.startswith(rule.path) and is_left and self._rng.random() < rule.share:
                    self._struck[index] += 1
                    return rule.kind
        return None


def _answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Fault:
    """A fault that is a whole answer."""

    async def fault(_app: ASGIApp, _scope: Scope, _receive: Receive, send: Send) -> None:
        length = (b"content-length", str(len(body)).encode())
        label = (b"x-simulated", b"true")
        await send({"type": "http.response.start", "status": status, "headers": [length, label, *headers]})
        await send({"type": "http.response.body", "body": body})

    return fault


async def _truncated(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Half of the body under the headers of the whole, then the end of the connection."""

    async def cut(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            _drop_connection(send, is_abrupt=False)
        else:
            await send(message)

    await app(scope, receive, cut)


async def _reset(_app: ASGIApp, _scope: Scope, _receive: Receive, send: Send) -> None:
    """No answer at all: the connection breaks."""
    _drop_connection(send, is_abrupt=True)


def _drop_connection(send: Send, is_abrupt: bool) -> None:
    """Close the socket behind `send`, which ASGI has no word for; uvicorn's `send` is a method of what holds it."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort() if is_abrupt else transport.close()


FAULTS: dict[str, Fault] = {
    "500": _answer(500, b"Simulated fault: internal error"),
    "503": _answer(503, b"Simulated fault: unavailable"),
    "429": _answer(429, b"Simulated fault: too many requests", (b"retry-after", b"1")),
    "html": _answer(200, HTML, (b"content-type", b"text/html; charset=utf-8")),
    "truncated": _truncated,
    "reset": _reset,
}
