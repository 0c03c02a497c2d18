"""The kinds of fault, one function per kind: what it does to one request and its response.

A client must be able to recognise a faulty response, or no test could require it to lose nothing. So a fault damages
what a client can check (the first byte of a file, the key of a row), never one pixel or one letter of a name.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HTML = b"<!DOCTYPE html><html><body><h1>Simulated fault: the archive is down for maintenance</h1></body></html>"
EXECUTING_JSON = b'{"status": "EXECUTING", "msg": "", "data": [], "fields": []}'
TRUNCATED_JSON = b'{"status": "COMPLETE", "msg": "", "data": [{"obs_id": "u27xcs01'
TRANSPORT, ROW_ORDER = "hubbleclip.transport", "hubbleclip.row_order"
"""Keys of the scope: the connection, which ASGI has no word for, and a seed by which the archive orders its rows."""
ROW_KEYS = ("obs_id", "obsid", "obsID", "dataURI", "Column1")  # The columns that identify a row.
RETRY_AFTER_S = 1  # Short, so that tests do not wait.
DRIP_BYTES, DRIP_S = 8, 0.1  # 80 bytes per second.
NUM_FLIPPED = 8  # Bytes per corrupted body.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a timeout of 0: close sends RST.
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A complete HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def table(self) -> dict[str, Any] | None:
        """Parse the body as one of MAST's tables.

        Returns
        -------
        dict[str, Any] | None
            Decoded JSON; None if it is no table or has no rows.

        """
        with suppress(ValueError):
            table = json.loads(self.body)
            return table if isinstance(table, dict) and table.get("data") else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request that gets a fault, with its random generator; a hang or a slow drip ends after `longest_s`."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rng: random.Random
    longest_s: float

    async def archive_response(self, **hints: object) -> RawResponse:
        """Get the archive's own response.

        Parameters
        ----------
        **hints
            Entries to add to the ASGI scope, such as ROW_ORDER.

        Returns
        -------
        RawResponse
            The response without a fault.

        """
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app({**self.scope, **hints}, self.receive, keep)
        # ASGI sends the head first, then the parts of the body.
        start, *parts = messages
        return RawResponse(start["status"], start["headers"], b"".join(part.get("body", b"") for part in parts))

    async def send_start(self, response: RawResponse, **headers: str) -> None:
        """Send the status and the headers.

        Parameters
        ----------
        response
            Supplies status and headers.
        **headers
            Headers to set; `_` in a name means `-`.

        """
        changed = MutableHeaders(raw=list(response.headers))
        for name, value in headers.items():
            changed[name.replace("_", "-")] = value
        await self.send({"type": "http.response.start", "status": response.status, "headers": changed.raw})

    async def send_body(self, body: bytes, *, is_end: bool = True) -> None:
        """Send a part of the body.

        Parameters
        ----------
        body
            Bytes to send.
        is_end
            Whether this is the last part.

        """
        await self.send({"type": "http.response.body", "body": body, "more_body": not is_end})

    async def send_response(self, response: RawResponse, **headers: str) -> None:
        """Send a complete response.

        Parameters
        ----------
        response
            Response to send.
        **headers
            Headers to set; `_` in a name means `-`.

        """
        await self.send_start(response, **headers)
        await self.send_body(response.body)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client closes the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def drop(self) -> None:
        """Close the connection once everything sent is on its way."""
        self.scope[TRANSPORT].close()


FaultInjector = Callable[[Exchange], Awaitable[bool]]
"""Returns whether there was something to damage; if not, it has sent the archive's own response."""


def _replace_response(status: int, body: bytes, media_type: str = "text/plain") -> FaultInjector:
    """Make a fault that sends a fixed response instead of the archive's."""

    async def inject(exchange: Exchange) -> bool:
        await exchange.send_response(
            RawResponse(status, [], body), content_type=media_type, content_length=str(len(body))
        )
        return True

    return inject


def _too_many_requests(retry_after: Callable[[float], str], *, is_skewed: bool = False) -> FaultInjector:
    """Make a fault with status 429 and a Retry-After computed from the server's clock (Unix seconds)."""

    async def inject(exchange: Exchange) -> bool:
        now = time.time() + (_skew_s(exchange.rng) if is_skewed else 0)
        response = RawResponse(429, [(b"content-length", b"0")], b"")
        await exchange.send_response(response, date=_date(now), retry_after=retry_after(now))
        return True

    return inject


def _date(unix_s: float) -> str:
    """Format a time as an HTTP date."""
    return formatdate(unix_s, usegmt=True)


def _skew_s(rng: random.Random) -> float:
    """Draw a clock error in seconds: 1 to 12 hours, fast or slow."""
    return rng.choice((-1, 1)) * rng.uniform(1, 12) * 3600


async def _clock_skew(exchange: Exchange) -> bool:
    """Send the archive's response with a Date that is hours off."""
    await exchange.send_response(await exchange.archive_response(), date=_date(time.time() + _skew_s(exchange.rng)))
    return True


async def _reset(exchange: Exchange) -> bool:
    """Break the connection by a TCP reset, without a response."""
    connection = exchange.scope[TRANSPORT]
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.abort()
    return True


async def _hang(exchange: Exchange) -> bool:
    """Send nothing for `longest_s`, or until the client gives up; then close the connection."""
    with suppress(TimeoutError):
        await asyncio.wait_for(exchange.wait_for_disconnect(), exchange.longest_s)
    exchange.drop()
    return True


async def _slow_drip(exchange: Exchange) -> bool:
    """Send the response a few bytes at a time, and only as much as fits into `longest_s`."""
    response = await exchange.archive_response()
    if not response.body:
        await exchange.send_response(response)
        return False
    await exchange.send_start(response)
    for place in range(0, min(len(response.body), int(exchange.longest_s / DRIP_S) * DRIP_BYTES), DRIP_BYTES):
        if exchange.scope[TRANSPORT].is_closing():
            return True
        part = response.body[place : place + DRIP_BYTES]
        await exchange.send_body(part, is_end=place + DRIP_BYTES >= len(response.body))
        await asyncio.sleep(DRIP_S)
    exchange.drop()
    return True


def _break_off(announced_size: Callable[[int], int], sent_size: Callable[[int], int]) -> FaultInjector:
    """Make a fault that announces `announced_size(size)` bytes, sends `sent_size(size)` and closes the connection."""

    async def inject(exchange: Exchange) -> bool:
        response = await exchange.archive_response()
        size = len(response.body)
        if not size:
            await exchange.send_response(response)
            return False
        await exchange.send_start(response, content_length=str(announced_size(size)))
        # With fewer bytes than announced the connection must be closed, or the client would wait.
        is_end = announced_size(size) == sent_size(size)
        await exchange.send_body(response.body[: sent_size(size)], is_end=is_end)
        if not is_end:
            exchange.drop()
        return True

    return inject


async def _corrupted(exchange: Exchange) -> bool:
    """Flip the top bit of some bytes, the first byte among them; the length stays right.

    A partial response (206) is passed on unchanged: its first byte may be any byte of the file, so no client could
    recognise the damage.
    """
    response = await exchange.archive_response()
    size = len(response.body)
    is_injected = bool(size) and response.status != 206
    flipped = bytearray(response.body)
    for place in {0, *(exchange.rng.randrange(size) for _ in range(NUM_FLIPPED - 1))} if is_injected else ():
        # The top bit turns ASCII into invalid UTF-8, and the first byte breaks every file signature.
        flipped[place] ^= 0x80
    await exchange.send_response(RawResponse(response.status, response.headers, bytes(flipped)))
    return is_injected


def _change_rows(change: Callable[[Rows, random.Random], Rows]) -> FaultInjector:
    """Make a fault that changes the rows of a table and leaves its fields and paging unchanged."""

    async def inject(exchange: Exchange) -> bool:
        response = await exchange.archive_response()
        table = response.table()
        if table is None:
            await exchange.send_response(response)
            return False
        body = json.dumps(table | {"data": change(table["data"], exchange.rng)}).encode()
        await exchange.send_response(
            RawResponse(response.status, response.headers, body), content_length=str(len(body))
        )
        return True

    return inject


def _repeat_rows(rows: Rows, rng: random.Random) -> Rows:
    """Replace some of the last rows by the first ones; duplicate a single row."""
    # At most half, so that some rows are the page's own.
    count = rng.randint(1, max(len(rows) // 2, 1))
    return [*rows[:-count], *rows[:count]] if len(rows) > 1 else rows * 2


def _drop_rows(rows: Rows, rng: random.Random) -> Rows:
    """Drop at least one row."""
    kept = sorted(rng.sample(range(len(rows)), rng.randrange(len(rows))))
    return [rows[place] for place in kept]


def _empty_columns(rows: Rows, rng: random.Random) -> Rows:
    """Empty the key columns in every row, and some others."""
    # Keys always, so that the client can recognise it.
    emptied = {name for name in rows[0] if name in ROW_KEYS or rng.random() < 0.2}
    return [row | dict.fromkeys(emptied) for row in rows]


async def _shuffled(exchange: Exchange) -> bool:
    """Send the page of a shuffled table, which repeats rows of other pages and lacks some of its own."""
    # The archive shuffles before it cuts pages, so the fault spans pages.
    response = await exchange.archive_response(**{ROW_ORDER: exchange.rng.random()})
    await exchange.send_response(response)
    return response.table() is not None


FAULT_INJECTORS: dict[str, FaultInjector] = {
    "500": _replace_response(500, b"Simulated fault: internal error"),
    "502": _replace_response(502, b"Simulated fault: bad gateway"),
    "503": _replace_response(503, b"Simulated fault: unavailable"),
    "504": _replace_response(504, b"Simulated fault: gateway timeout"),
    "429": _too_many_requests(lambda _: str(RETRY_AFTER_S)),
    "429_date": _too_many_requests(lambda now: _date(now + RETRY_AFTER_S)),
    "429_clock_skew": _too_many_requests(lambda now: _date(now + RETRY_AFTER_S), is_skewed=True),
    "clock_skew": _clock_skew,
    "reset": _reset,
    "hang": _hang,
    "slow_drip": _slow_drip,
    "truncated": _break_off(lambda size: size, lambda size: size // 2),
    "wrong_length": _break_off(lambda size: size + 1000, lambda size: size),
    # The announced length agrees with the body, so only the listed size reveals it.
    "short_length": _break_off(lambda size: max(size * 3 // 4, 1), lambda size: max(size * 3 // 4, 1)),
    "corrupted": _corrupted,
    "html": _replace_response(200, HTML, "text/html; charset=utf-8"),
    "empty": _replace_response(200, b""),
    "busy": _replace_response(200, EXECUTING_JSON, "application/json"),
    "bad_json": _replace_response(200, TRUNCATED_JSON, "application/json"),
    "duplicated_page": _change_rows(_repeat_rows),
    "missing_page": _change_rows(_drop_rows),
    "null_columns": _change_rows(_empty_columns),
    "shuffled": _shuffled,
}
