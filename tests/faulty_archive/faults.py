"""Fault injection. Each kind of fault has one function, which handles a request and damages its response.

A client must be able to recognise every faulty response, because tests require that the client loses no data under
faults. Therefore a fault damages only what a client can check, such as the first byte of a file or the key of a row. A
fault never changes a single pixel or a single letter of a name.
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
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.simulator.server.app import MAX_ROWS

HTML = b"<!DOCTYPE html><html><body><h1>Simulated fault: the archive is down for maintenance</h1></body></html>"
EXECUTING_JSON = b'{"status": "EXECUTING", "msg": "", "data": [], "fields": []}'
TRUNCATED_JSON = b'{"status": "COMPLETE", "msg": "", "data": [{"obs_id": "u27xcs01'
TRANSPORT = "hubbleclip.transport"
"""Key of the ASGI scope that holds the TCP connection, for which ASGI defines no key."""
ROW_KEYS = ("obs_id", "obsid", "obsID", "dataURI", "Column1")  # Columns that identify a row.
RETRY_AFTER_S = 1  # The wait is short so that tests are fast.
DRIP_BYTES, DRIP_S = 8, 0.1  # The rate is 80 bytes per second.
NUM_FLIPPED = 8  # Number of damaged bytes per corrupted body.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a timeout of 0, so that closing sends RST.
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A complete HTTP response: status, headers and body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def table(self) -> dict[str, Any] | None:
        """Parse the body as a table in MAST's JSON form."""
        with suppress(ValueError):
            table = json.loads(self.body)
            return table if isinstance(table, dict) and table.get("data") else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP request into which a fault is injected, with the ASGI callables and a random generator.

    `longest_s` is the maximum duration of a hang or a slow drip, in seconds.
    """

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rng: random.Random
    longest_s: float

    async def archive_response(self) -> RawResponse:
        """Get the response that the archive gives without a fault."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(self.scope, self.receive, keep)
        # ASGI sends one message with status and headers, then messages with the parts of the body.
        start, *parts = messages
        return RawResponse(start["status"], start["headers"], b"".join(part.get("body", b"") for part in parts))

    async def change_query(self, change: Callable[[dict[str, Any]], None]) -> RawResponse:
        """Get the response to a query that is changed in place before the archive sees it."""
        form = parse_qs((await self.receive()).get("body", b"").decode())
        query: dict[str, Any] = json.loads(form["request"][0])
        change(query)
        body = urlencode({"request": json.dumps(query)}).encode()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return await replace(self, receive=receive).archive_response()

    async def send_start(self, response: RawResponse, **headers: str) -> None:
        """Send the status and the headers."""
        changed = MutableHeaders(raw=list(response.headers))
        for name, value in headers.items():
            changed[name.replace("_", "-")] = value
        await self.send({"type": "http.response.start", "status": response.status, "headers": changed.raw})

    async def send_body(self, body: bytes, *, is_end: bool = True) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": body, "more_body": not is_end})

    async def send_response(self, response: RawResponse, **headers: str) -> None:
        """Send a complete response."""
        await self.send_start(response, **headers)
        await self.send_body(response.body)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client closes the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def drop(self) -> None:
        """Close the connection after all buffered data has been sent."""
        self.scope[TRANSPORT].close()


FaultInjector = Callable[[Exchange], Awaitable[bool]]
"""Function that injects one fault. If the response has nothing to damage, the function sends the archive's response
unchanged and returns False.
"""


def _replace_response(status: int, body: bytes, media_type: str = "text/plain") -> FaultInjector:
    """Make a fault that sends a fixed response instead of the archive's response."""

    async def inject(exchange: Exchange) -> bool:
        await exchange.send_response(
            RawResponse(status, [], body), content_type=media_type, content_length=str(len(body))
        )
        return True

    return inject


def _too_many_requests(retry_after: Callable[[float], str]) -> FaultInjector:
    """Make a fault that sends status 429. `retry_after` computes its Retry-After header from the time in Unix seconds."""

    async def inject(exchange: Exchange) -> bool:
        now = time.time()
        response = RawResponse(429, [(b"content-length", b"0")], b"")
        await exchange.send_response(response, date=_date(now), retry_after=retry_after(now))
        return True

    return inject


def _date(unix_s: float) -> str:
    """Format a time in Unix seconds as an HTTP date."""
    return formatdate(unix_s, usegmt=True)


async def _reset(exchange: Exchange) -> bool:
    """Break the connection with a TCP reset, without a response."""
    connection = exchange.scope[TRANSPORT]
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.abort()
    return True


async def _hang(exchange: Exchange) -> bool:
    """Send nothing until `longest_s` has passed or the client disconnects; then close the connection."""
    with suppress(TimeoutError):
        await asyncio.wait_for(exchange.wait_for_disconnect(), exchange.longest_s)
    exchange.drop()
    return True


async def _slow_drip(exchange: Exchange) -> bool:
    """Send the response a few bytes at a time; after `longest_s`, close the connection before the end of the body."""
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
    """Make a fault that announces `announced_size(size)` bytes but sends `sent_size(size)` bytes.

    If the two sizes differ, the fault closes the connection. `size` is the true size of the body.
    """

    async def inject(exchange: Exchange) -> bool:
        response = await exchange.archive_response()
        size = len(response.body)
        if not size:
            await exchange.send_response(response)
            return False
        await exchange.send_start(response, content_length=str(announced_size(size)))
        # If fewer bytes than announced are sent, the connection must be closed; otherwise the client would wait.
        is_end = announced_size(size) == sent_size(size)
        await exchange.send_body(response.body[: sent_size(size)], is_end=is_end)
        if not is_end:
            exchange.drop()
        return True

    return inject


async def _corrupted(exchange: Exchange) -> bool:
    """Flip the top bit of some bytes of the body, always including the first byte; the length does not change.

    A partial response (status 206) is sent unchanged, because its first byte may be any byte of the file, and then no
    client could recognise the damage.
    """
    response = await exchange.archive_response()
    size = len(response.body)
    is_injected = bool(size) and response.status != 206
    flipped = bytearray(response.body)
    for place in {0, *(exchange.rng.randrange(size) for _ in range(NUM_FLIPPED - 1))} if is_injected else ():
        # A flipped top bit turns ASCII into invalid UTF-8. In the first byte, it breaks every file signature.
        flipped[place] ^= 0x80
    await exchange.send_response(RawResponse(response.status, response.headers, bytes(flipped)))
    return is_injected


def _change_rows(change: Callable[[Rows, random.Random], Rows]) -> FaultInjector:
    """Make a fault that changes the rows of a table; the list of its columns and the paging stay unchanged."""

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
    """Replace some of the last rows with copies of the first rows. If there is only one row, duplicate it."""
    # At most half of the rows are overwritten, so that the page contains the original of every copy.
    count = rng.randint(1, max(len(rows) // 2, 1))
    return [*rows[:-count], *rows[:count]] if len(rows) > 1 else rows * 2


def _drop_rows(rows: Rows, rng: random.Random) -> Rows:
    """Remove at least one row, drawn at random."""
    kept = sorted(rng.sample(range(len(rows)), rng.randrange(len(rows))))
    return [rows[place] for place in kept]


def _empty_columns(rows: Rows, rng: random.Random) -> Rows:
    """Set the key columns and some other columns to None in every row."""
    # The key columns are always emptied, so that the client can recognise the damage.
    emptied = {name for name in rows[0] if name in ROW_KEYS or rng.random() < 0.2}
    return [row | dict.fromkeys(emptied) for row in rows]


async def _shuffled(exchange: Exchange) -> bool:
    """Send the requested page of a shuffled table: it has rows of other pages, and lacks rows of its own."""
    asked: dict[str, Any] = {}

    def ask_for_all(query: dict[str, Any]) -> None:
        asked.update(query)
        query.update(page=1, pagesize=MAX_ROWS)

    is_query = exchange.scope["path"] == "/api/v0/invoke"
    response = await (exchange.change_query(ask_for_all) if is_query else exchange.archive_response())
    table = response.table()
    if table is None or "Column1" in table["data"][0]:  # a count has one row
        await exchange.send_response(response)
        return False
    rows = exchange.rng.sample(table["data"], len(table["data"]))
    page, size = int(asked.get("page") or 1), min(int(asked.get("pagesize") or MAX_ROWS), MAX_ROWS)
    part = rows[(page - 1) * size : page * size]
    paging = {"page": page, "pageSize": size, "pagesFiltered": -(-len(rows) // size), "rows": len(part)}
    body = json.dumps(table | {"data": part, "paging": table["paging"] | paging}).encode()
    await exchange.send_response(replace(response, body=body), content_length=str(len(body)))
    return True


FAULT_INJECTORS: dict[str, FaultInjector] = {
    "500": _replace_response(500, b"Simulated fault: internal error"),
    "502": _replace_response(502, b"Simulated fault: bad gateway"),
    "503": _replace_response(503, b"Simulated fault: unavailable"),
    "504": _replace_response(504, b"Simulated fault: gateway timeout"),
    "429": _too_many_requests(lambda _: str(RETRY_AFTER_S)),
    "429_date": _too_many_requests(lambda now: _date(now + RETRY_AFTER_S)),
    "reset": _reset,
    "hang": _hang,
    "slow_drip": _slow_drip,
    "truncated": _break_off(lambda size: size, lambda size: size // 2),
    "wrong_length": _break_off(lambda size: size + 1000, lambda size: size),
    # The announced length agrees with the short body, so only the size in the product list reveals the fault.
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
