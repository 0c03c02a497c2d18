"""Reading file bodies straight from kept connections, for archives of many small files.

requests and urllib3 spend more time on the request of one small file than its bytes, their check and their way to the
disk take together. Connections are still made by urllib3 (addresses, TLS), and an answer that is not a plain one with
its length is read by `http.client`.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.wait import wait_for_read

MAX_HEAD_BYTES = 1 << 16
RECEIVED_BYTES = 1 << 17
REQUEST = re.compile(rb"GET [!-~]+ HTTP/1\.1\r\n([!-~]+: [ -~]*\r\n)+\r\n")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: ([^\r\n]*))?\r\n")
HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
ODD = re.compile(rb"\r\n(?:transfer-encoding|connection):|\r\n[ \t]", re.IGNORECASE)


class Wires:
    """Kept connections by server. Threads may share one object; each takes a connection of its own."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[socket.socket]] = defaultdict(list)

    def get(
        self, url: str, headers: Mapping[str, str], pool: HTTPConnectionPool, *, connect_s: float, patience_s: float
    ) -> requests.Response:
        """One GET, its body still to be read with `raw.read1`. Raises requests' and urllib3's errors.

        `patience_s` bounds each wait for bytes, and the time for the whole head of the answer.
        """
        parts = urlsplit(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        target = f"{parts.path or '/'}?{parts.query}".rstrip("?")
        request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n".encode("latin-1", "replace")
        if not REQUEST.fullmatch(request):
            raise requests.exceptions.InvalidURL(f"no request can be made of {url[:200]!r}")
        idle = self._idle[f"{parts.scheme}://{parts.netloc}"]
        wire = Wire(_kept(idle) or _connected(pool, connect_s, patience_s), idle)
        try:
            return wire.ask(url, request, patience_s)
        except OSError as error:
            wire.close()
            if isinstance(error, requests.RequestException):
                raise
            raise _as_requests_error(error) from error


def _kept(idle: list[socket.socket]) -> socket.socket | None:
    """A connection that is still open: a server that hung up, or sent what nobody asked for, makes it readable."""
    while idle:
        try:
            connection = idle.pop()
        except IndexError:
            return None
        if not wait_for_read(connection, timeout=0):
            return connection
        connection.close()
    return None


def _connected(pool: HTTPConnectionPool, connect_s: float, patience_s: float) -> socket.socket:
    made = pool._new_conn()
    made.timeout = connect_s
    made.connect()
    connection: socket.socket = made.sock  # type: ignore[attr-defined]
    connection.settimeout(patience_s)
    return connection


def _as_requests_error(error: OSError) -> requests.RequestException:
    kind = requests.ReadTimeout if isinstance(error, TimeoutError) else requests.ConnectionError
    return kind(f"the connection broke: {error}")


class Wire:
    """One connection while it brings one answer; `raw` of the response that it gives."""

    def __init__(self, connection: socket.socket, idle: list[socket.socket]) -> None:
        self.decode_content = self.enforce_content_length = False
        self._connection = connection
        self._idle = idle
        self._begun = b""
        self._left: int | None = None
        self._odd: http.client.HTTPResponse | None = None

    def ask(self, url: str, request: bytes, patience_s: float) -> requests.Response:
        """Send a request and read the answer's head."""
        self._connection.sendall(request)
        head = self._read_head(time.monotonic() + patience_s)
        status = STATUS_LINE.match(head)
        response = requests.Response()
        response.url, response.raw = url, self
        if status is None or ODD.search(head):
            return self._ask_oddly(response, head)
        fields = {name.decode(): value.decode("latin-1") for name, value in HEADER.findall(head, status.end())}
        response.status_code, response.reason = int(status[1]), (status[2] or b"").decode("latin-1")
        response.headers = CaseInsensitiveDict(fields)
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 18:
            return self._ask_oddly(response, head)
        self._left = 0 if response.status_code in {204, 304} else int(length)
        return response

    def _read_head(self, until: float) -> bytes:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            came = self._connection.recv(RECEIVED_BYTES)
            data += came
            if not came or len(data) > MAX_HEAD_BYTES + RECEIVED_BYTES:
                raise ConnectionError("no head of an answer came")
            if time.monotonic() > until:
                raise TimeoutError("the head of the answer did not come in time")
        self._begun = data[end + 4 :]
        return data[: end + 4]

    def _ask_oddly(self, response: requests.Response, head: bytes) -> requests.Response:
        """Let `http.client` read an answer in chunks, up to the end of the connection, or of another form."""
        self._odd = http.client.HTTPResponse(cast(socket.socket, Replayed(self._connection, head + self._begun)))
        try:
            self._odd.begin()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer is not HTTP: {error!r}") from error
        response.status_code, response.reason = self._odd.status, self._odd.reason
        response.headers = CaseInsensitiveDict(self._odd.headers.items())
        return response

    def read1(self, size: int) -> bytes:
        """What has come of the body, at most `size` bytes; empty at its end, or where the connection ended."""
        try:
            return self._read1(size)
        except http.client.HTTPException as error:
            raise requests.ConnectionError(f"the answer broke off: {error!r}") from error
        except OSError as error:
            raise _as_requests_error(error) from error

    def _read1(self, size: int) -> bytes:
        if self._odd is not None:
            return self._odd.read1(size)
        data = self._begun or (self._connection.recv(min(size, self._left)) if self._left else b"")
        data, self._begun = data[: self._left], b""
        self._left = (self._left or 0) - len(data)
        return data

    def close(self) -> None:
        """Keep the connection for another request if this answer has come whole, else close it."""
        if self._left == 0 and not self._begun:
            self._idle.append(self._connection)
        else:
            self._connection.close()
        self._left = None


class Replayed(io.RawIOBase):
    """A connection whose first bytes were read already, as `http.client` takes one."""

    def __init__(self, connection: socket.socket, begun: bytes) -> None:
        self._connection = connection
        self._begun = begun

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As a file, the only form in which it is read."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """What was read already, then what comes."""
        if not self._begun:
            return self._connection.recv_into(buffer)
        data = self._begun[: len(buffer)]
        self._begun = self._begun[len(data) :]
        buffer[: len(data)] = data
        return len(data)
