"""Many small files by one thread: libcurl drives the connections, and what is made of a body is done between.

Threads that read small files side by side pass Python's lock to and fro at each short call, and spend more time on that
than on the bytes. Here only the ordinary case is served, a whole answer of at most a megabyte. Whatever else comes (a
redirect, an error, a web page, a slow or a large body) is given up at once, for `download.fetch_file` to ask for again,
to judge and to count.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
import requests

from hubbleclip.archives.http.client import CHUNK_BYTES, Transport, is_failing
from hubbleclip.archives.http.content_store import SMALL_BYTES
from hubbleclip.archives.http.rate_limit import retry_after_s, user_agent

try:
    import pycurl
except ImportError:
    pycurl = None  # the extra `fast` is not installed: every file goes the ordinary road

Item = TypeVar("Item")
HEAD_BYTES = 1 << 16
LONGEST_WAIT_S = 0.2
FULL_WAIT_S = 0.01
BROKEN_OFF = -1
CA_VARIABLES = "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"


@dataclass(slots=True)
class Transfer:
    """One request under way, or its answer once it has ended."""

    item: Any
    host: str
    head: list[bytes] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    num_bytes: int = 0

    def take_head(self, line: bytes) -> int | None:
        """Keep a line of the head; one that never ends breaks the request off."""
        self.head.append(line)
        self.num_bytes += len(line)
        return None if self.num_bytes <= HEAD_BYTES + SMALL_BYTES else BROKEN_OFF

    def take_piece(self, piece: bytes) -> int | None:
        """Keep a piece of the body, likewise."""
        self.pieces.append(piece)
        self.num_bytes += len(piece)
        return None if self.num_bytes <= HEAD_BYTES + SMALL_BYTES else BROKEN_OFF

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    def headers(self) -> dict[str, str]:
        """Fields of the head, by name in Title-Case."""
        fields = (line.decode("latin-1").partition(":") for line in self.head[1:])
        return {name.strip().title(): value.strip() for name, _, value in fields}


class Lane:
    """Connections of one thread. A transport's rate limit, pauses, breaker and number of connections hold over all of
    its lanes together, and what it fetches beside them.
    """

    def __init__(self, transport: Transport, num_connections: int) -> None:
        self.transport = transport
        self._multi = pycurl.CurlMulti()
        self._free = [_connection(transport) for _ in range(num_connections)]
        self._busy: dict[Any, Transfer] = {}

    def answers(self, asked: Iterable[tuple[Item, str]]) -> Generator[tuple[Item, Transfer | None], None, None]:
        """The items, each with the answer of its address, as they come; None where it is not for a lane.

        What follows is asked for before an answer is given, so that it is under way while something is made of that.
        Raises ArchiveDownError once the transport's breaker is open.
        """
        todo, ended = iter(asked), list[tuple[Item, Transfer | None]]()
        following = next(todo, None)
        try:
            while following or self._busy or ended:
                if not ended:  # what has come is given first
                    self.transport.breaker.check()
                wait_s = LONGEST_WAIT_S
                while following and self._free and not (wait_s := self._start(*following)):
                    following, wait_s = next(todo, None), LONGEST_WAIT_S
                self._multi.perform()
                yield from ended
                self.transport.breaker.check()
                ended = list(self._ended())
                is_waiting = not ended and (following or self._busy)
                if is_waiting and self._multi.select(wait_s) < 0:
                    time.sleep(min(wait_s, FULL_WAIT_S))
        finally:
            for handle in list(self._busy):
                self._end(handle)

    def _start(self, item: Any, url: str) -> float:
        """Ask for an item, and return 0; or the seconds after which that may be allowed."""
        host = urlsplit(url).netloc
        if not self.transport.slots.acquire(blocking=False):
            return FULL_WAIT_S
        wait_s = self.transport.limiter.try_turn(host)
        if wait_s:
            self.transport.slots.release()
            return min(wait_s, LONGEST_WAIT_S)
        handle, transfer = self._free.pop(), Transfer(item, host)
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.HEADERFUNCTION, transfer.take_head)
        handle.setopt(pycurl.WRITEFUNCTION, transfer.take_piece)
        self._multi.add_handle(handle)
        self._busy[handle] = transfer
        return 0.0

    def _end(self, handle: Any) -> Transfer:
        self._multi.remove_handle(handle)
        self._free.append(handle)
        self.transport.slots.release()
        return self._busy.pop(handle)

    def _ended(self) -> Iterator[tuple[Any, Transfer | None]]:
        """Requests that have ended since the last look."""
        _, answered, broken = self._multi.info_read()
        for handle, *_ in broken:
            yield self._end(handle).item, None
        for handle in answered:
            status, transfer = handle.getinfo(pycurl.RESPONSE_CODE), self._end(handle)
            yield transfer.item, transfer if self._is_ordinary(status, transfer) else None

    def _is_ordinary(self, status: int, transfer: Transfer) -> bool:
        """Heed what an answer's head says, and tell whether its body is the file."""
        self.transport.reached = True
        if status == requests.codes.ok:
            return True
        seconds = retry_after_s(transfer.headers()) if is_failing(status) else None
        if seconds is not None:
            self.transport.limiter.hold(transfer.host, seconds)
        return False


def _connection(transport: Transport) -> Any:
    """A connection under the transport's own time limits: no redirect is followed, nothing is unpacked."""
    fetch, handle = transport.fetch, pycurl.Curl()
    patience_s = math.ceil(transport.patience_s)
    options = {
        pycurl.HTTPHEADER: [f"User-Agent: {user_agent(fetch.contact)}", "Accept: */*"],
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.CAINFO: next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), certifi.where()),
        pycurl.CONNECTTIMEOUT_MS: int(transport.timeout[0] * 1000),
        pycurl.TIMEOUT_MS: int(fetch.file_timeout_s * 1000),
        pycurl.LOW_SPEED_LIMIT: max(1, int(fetch.stall_bytes / fetch.stall_s)),
        pycurl.LOW_SPEED_TIME: patience_s,
        pycurl.MAXFILESIZE: SMALL_BYTES,
        pycurl.BUFFERSIZE: CHUNK_BYTES,
        pycurl.NOSIGNAL: 1,
    }
    for option, value in options.items():
        handle.setopt(option, value)
    return handle


class Lanes:
    """The lanes of a transport, which share its connections; each keeps its own."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.is_open = pycurl is not None
        self._idle = queue.SimpleQueue[Lane]()
        self._making = threading.Lock()
        self._are_made = False

    @contextmanager
    def one(self, num: int) -> Iterator[Lane]:
        """A lane for one thread, as soon as one is free; the first call decides how many there are."""
        with self._making:
            if not self._are_made:
                self._make(min(num, self.transport.fetch.connections))
                self._are_made = True
        lane = self._idle.get()
        try:
            yield lane
        finally:
            self._idle.put(lane)

    def _make(self, num: int) -> None:
        for place in range(num):
            self._idle.put(Lane(self.transport, (self.transport.fetch.connections + place) // num))
