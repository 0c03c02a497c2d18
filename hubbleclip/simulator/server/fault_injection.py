"""The kinds of fault, one function each: what a strike does to the exchange of one request and its answer.

A client must be able to tell a struck answer from a sound one, or no test could ask it to lose nothing: so a strike
damages what can be seen (the first byte of a file, the key of a row), never one pixel or one letter of a name.
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
BUSY = b'{"status": "EXECUTING", "msg": "", "data": [], "fields": []}'
CUT_JSON = b'{"status": "COMPLETE", "msg": "", "data": [{"obs_id": "u27xcs01'
TRANSPORT, ROW_ORDER = "hubbleclip.transport", "hubbleclip.row_order"
"""Keys of the scope: the connection, which ASGI has no word for, and a seed by which the archive orders its rows."""
ROW_KEYS = ("obs_id", "obsid", "obsID", "dataURI", "Column1")
RETRY_AFTER_S = 1
DRIP_BYTES, DRIP_S = 8, 0.1
NUM_FLIPPED = 8
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def table(self) -> dict[str, Any] | None:
        """The body as one of MAST's tables; None when it is none, or has no rows."""
        with suppress(ValueError):
            table = json.loads(self.body)
            return table if isinstance(table, dict) and table.get("data") else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request that is struck, with what is drawn for it; a hang or a slow drip ends after `longest_s`."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rng: random.Random
    longest_s: float

    async def answer(self, **hints: object) -> Answer:
        """What the archive itself answers."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app({**self.scope, **hints}, self.receive, keep)
        start, *parts = messages
        return Answer(start["status"], start["headers"], b"".join(part.get("body", b"") for part in parts))

    async def start(self, answer: Answer, **headers: str) -> None:
        """Send the status and the headers, with these set; `_` in a name stands for `-`."""
        changed = MutableHeaders(raw=list(answer.headers))
        for name, value in headers.items():
            changed[name.replace("_", "-")] = value
        await self.send({"type": "http.response.start", "status": answer.status, "headers": changed.raw})

    async def put(self, body: bytes, *, is_end: bool = True) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": body, "more_body": not is_end})

    async def reply(self, answer: Answer, **headers: str) -> None:
        """Send a whole answer."""
        await self.start(answer, **headers)
        await self.put(answer.body)

    async def gone(self) -> None:
        """Wait until the client goes away."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def drop(self) -> None:
        """Close the connection once what was sent is on its way."""
        self.scope[TRANSPORT].close()


Strike = Callable[[Exchange], Awaitable[bool]]
"""Returns whether there was something to strike; if not, the archive's own answer went out."""


def _answer(status: int, body: bytes, media_type: str = "text/plain") -> Strike:
    """A fault that is a whole answer in the archive's stead."""

    async def strike(exchange: Exchange) -> bool:
        await exchange.reply(Answer(status, [], body), content_type=media_type, content_length=str(len(body)))
        return True

    return strike


def _too_many(retry_after: Callable[[float], str], *, is_skewed: bool = False) -> Strike:
    """429 with a Retry-After, made from the server's clock (Unix seconds)."""

    async def strike(exchange: Exchange) -> bool:
        now = time.time() + (_skew_s(exchange.rng) if is_skewed else 0)
        answer = Answer(429, [(b"content-length", b"0")], b"")
        await exchange.reply(answer, date=_date(now), retry_after=retry_after(now))
        return True

    return strike


def _date(unix_s: float) -> str:
    return formatdate(unix_s, usegmt=True)


def _skew_s(rng: random.Random) -> float:
    return rng.choice((-1, 1)) * rng.uniform(1, 12) * 3600


async def _clock_skew(exchange: Exchange) -> bool:
    """A sound answer under a Date that is hours off."""
    await exchange.reply(await exchange.answer(), date=_date(time.time() + _skew_s(exchange.rng)))
    return True


async def _reset(exchange: Exchange) -> bool:
    """No answer: the connection breaks by a TCP reset."""
    connection = exchange.scope[TRANSPORT]
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.abort()
    return True


async def _hang(exchange: Exchange) -> bool:
    """No answer for `longest_s`, or until the client gives up; then the connection is closed."""
    with suppress(TimeoutError):
        await asyncio.wait_for(exchange.gone(), exchange.longest_s)
    exchange.drop()
    return True


async def _slow_drip(exchange: Exchange) -> bool:
    """The answer by a few bytes at a time; what has not come after `longest_s` never comes."""
    answer = await exchange.answer()
    if not answer.body:
        await exchange.reply(answer)
        return False
    await exchange.start(answer)
    for place in range(0, min(len(answer.body), int(exchange.longest_s / DRIP_S) * DRIP_BYTES), DRIP_BYTES):
        if exchange.scope[TRANSPORT].is_closing():
            return True
        part = answer.body[place : place + DRIP_BYTES]
        await exchange.put(part, is_end=place + DRIP_BYTES >= len(answer.body))
        await asyncio.sleep(DRIP_S)
    exchange.drop()
    return True


def _broken_off(said: Callable[[int], int], sent: Callable[[int], int]) -> Strike:
    """An answer whose Content-Length says `said(size)` bytes, of which `sent(size)` come; then the connection ends."""

    async def strike(exchange: Exchange) -> bool:
        answer = await exchange.answer()
        size = len(answer.body)
        if not size:
            await exchange.reply(answer)
            return False
        await exchange.start(answer, content_length=str(said(size)))
        is_end = said(size) == sent(size)
        await exchange.put(answer.body[: sent(size)], is_end=is_end)
        if not is_end:
            exchange.drop()
        return True

    return strike


async def _corrupted(exchange: Exchange) -> bool:
    """The right length with the top bit of some bytes flipped, the first among them.

    A part of a file (206) passes: its first byte is any byte of the file, which no client could tell from a sound one.
    """
    answer = await exchange.answer()
    size = len(answer.body)
    is_struck = bool(size) and answer.status != 206
    flipped = bytearray(answer.body)
    for place in {0, *(exchange.rng.randrange(size) for _ in range(NUM_FLIPPED - 1))} if is_struck else ():
        flipped[place] ^= 0x80
    await exchange.reply(Answer(answer.status, answer.headers, bytes(flipped)))
    return is_struck


def _rows(change: Callable[[Rows, random.Random], Rows]) -> Strike:
    """A table with its rows changed, its fields and paging left as they were."""

    async def strike(exchange: Exchange) -> bool:
        answer = await exchange.answer()
        table = answer.table()
        if table is None:
            await exchange.reply(answer)
            return False
        body = json.dumps(table | {"data": change(table["data"], exchange.rng)}).encode()
        await exchange.reply(Answer(answer.status, answer.headers, body), content_length=str(len(body)))
        return True

    return strike


def _repeated(rows: Rows, rng: random.Random) -> Rows:
    """Some of the last rows replaced by the first; a single row twice."""
    count = rng.randint(1, max(len(rows) // 2, 1))
    return [*rows[:-count], *rows[:count]] if len(rows) > 1 else rows * 2


def _missing(rows: Rows, rng: random.Random) -> Rows:
    """All rows but some."""
    kept = sorted(rng.sample(range(len(rows)), rng.randrange(len(rows))))
    return [rows[place] for place in kept]


def _null_columns(rows: Rows, rng: random.Random) -> Rows:
    """The columns that say which row it is emptied in every row, and some others."""
    emptied = {name for name in rows[0] if name in ROW_KEYS or rng.random() < 0.2}
    return [row | dict.fromkeys(emptied) for row in rows]


async def _shuffled(exchange: Exchange) -> bool:
    """A page of the rows in another order, so that it repeats some of other pages and lacks some of its own."""
    answer = await exchange.answer(**{ROW_ORDER: exchange.rng.random()})
    await exchange.reply(answer)
    return answer.table() is not None


STRIKES: dict[str, Strike] = {
    "500": _answer(500, b"Simulated fault: internal error"),
    "502": _answer(502, b"Simulated fault: bad gateway"),
    "503": _answer(503, b"Simulated fault: unavailable"),
    "504": _answer(504, b"Simulated fault: gateway timeout"),
    "429": _too_many(lambda _: str(RETRY_AFTER_S)),
    "429_date": _too_many(lambda now: _date(now + RETRY_AFTER_S)),
    "429_clock_skew": _too_many(lambda now: _date(now + RETRY_AFTER_S), is_skewed=True),
    "clock_skew": _clock_skew,
    "reset": _reset,
    "hang": _hang,
    "slow_drip": _slow_drip,
    "truncated": _broken_off(lambda size: size, lambda size: size // 2),
    "wrong_length": _broken_off(lambda size: size + 1000, lambda size: size),
    "short_length": _broken_off(lambda size: max(size * 3 // 4, 1), lambda size: max(size * 3 // 4, 1)),
    "corrupted": _corrupted,
    "html": _answer(200, HTML, "text/html; charset=utf-8"),
    "empty": _answer(200, b""),
    "busy": _answer(200, BUSY, "application/json"),
    "bad_json": _answer(200, CUT_JSON, "application/json"),
    "duplicated_page": _rows(_repeated),
    "missing_page": _rows(_missing),
    "null_columns": _rows(_null_columns),
    "shuffled": _shuffled,
}
