"""A web server for one test: it gives the responses of a table, sound and bad ones, and records the requests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Respond = Callable[[Any], None]


class BadServer:
    """A server on loopback for a `with` block.

    `table` has responses by the beginning of the path. Other paths get `responses` in turn, then the last one again.
    """

    def __init__(self, *responses: Respond, table: Mapping[str, Respond] | None = None) -> None:
        self.responses = list(responses) or [give(b"", 404)]
        self.table = dict(table or {})
        self.seen: list[dict[str, str]] = []
        """Headers of each request, and its `method`, `path` and `body`, the client's `port` and the `time` (s)."""
        running = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # otherwise a body waits 40 ms for the acknowledgement of its headers
            body = ""

            def do_GET(self) -> None:
                if running.is_down:
                    self.close_connection = True
                    return
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                about = {"method": self.command, "path": self.path, "body": self.body}
                about["port"] = str(self.client_address[1])
                running.seen.append({**self.headers, **about, "time": str(time.monotonic())})
                try:
                    running.respond(self)
                except OSError:
                    self.close_connection = True

            do_POST = do_HEAD = do_GET  # noqa: N815 - the names that `http.server` calls

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler
        self.is_down = False
        self.port = 0
        self.listen()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    @property
    def paths(self) -> list[str]:
        """Paths of the GET requests."""
        return [request["path"] for request in self.seen if request["method"] == "GET"]

    def respond(self, handler: Any) -> None:
        """Give the response to a request."""
        respond = next((one for path, one in self.table.items() if handler.path.startswith(path)), None)
        if respond is None:
            respond = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        respond(handler)

    def listen(self) -> None:
        """Open the socket, at the same port if the server listened before."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_port
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign] - the client ends connections

    def begin_outage(self, seconds: float) -> None:
        """Refuse connections, and break those that are open, for some time."""
        self.is_down = True
        self.__exit__()

        def end() -> None:
            while True:
                with suppress(OSError):  # another process has the port for a moment
                    self.listen()
                    break
                time.sleep(0.1)
            self.is_down = False
            self.__enter__()

        threading.Timer(seconds, end).start()

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def give(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Respond:
    """A response; one whose body is shorter than its length breaks off."""
    size = str(len(body) if length is None else length)
    fields = {"Content_Length": size} | headers

    def respond(handler: Any) -> None:
        handler.send_response_only(status)
        for name, value in fields.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = fields["Content_Length"] != str(len(body))

    return respond


def give_range(whole: bytes, sent: list[int] | None = None, stop_after: int | None = None, **headers: str) -> Respond:
    """The response of a server of `whole` to the requested range, which may break off; `sent` gets the sizes."""

    def respond(handler: Any) -> None:
        wanted = handler.headers["Range"]
        start, last = (wanted or "bytes=0-").removeprefix("bytes=").split("-")
        body = whole[int(start) :][: int(last) - int(start) + 1 if last else None]
        span = {"Content_Range": f"bytes {start}-{int(start) + len(body) - 1}/{len(whole)}"} if wanted else {}
        give(b"", 206 if wanted else 200, len(body), **headers, **span)(handler)
        for place in range(0, len(body[:stop_after]), 1 << 16):
            handler.wfile.write(body[place : min(place + (1 << 16), stop_after or len(body))])
            if sent is not None:
                sent.append(1 << 16)
        handler.close_connection = stop_after is not None

    return respond


def drip(body: bytes, first: int, pause_s: float = 0.05, status: int = 200, **headers: str) -> Respond:
    """`first` bytes at once, then one at a time."""

    def respond(handler: Any) -> None:
        give(body[:first], status, length=len(body), **headers)(handler)
        for i in range(first, len(body)):
            time.sleep(pause_s)
            handler.wfile.write(body[i : i + 1])

    return respond


def drip_headers(handler: Any) -> None:
    """The headers of a response one byte at a time, for five seconds."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(100):
        time.sleep(0.05)
        handler.wfile.write(b"x")


def drip_trailers(body: bytes) -> Respond:
    """A whole chunked body, then trailers, one byte at a time, for twenty seconds."""

    def respond(handler: Any) -> None:
        chunked(body, end=b"0\r\n")(handler)
        for _ in range(1000):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return respond


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> Respond:
    """A body in chunks, whose length is not stated."""

    def respond(handler: Any) -> None:
        handler.send_response_only(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 7000):
            piece = body[start : start + 7000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(end)

    return respond


def reset(body: bytes, **headers: str) -> Respond:
    """The beginning of a body, then a reset of the connection (RST)."""

    def respond(handler: Any) -> None:
        give(body, length=len(body) + 1000, **headers)(handler)
        handler.wfile.flush()
        time.sleep(0.1)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.connection.close()

    return respond


def silence(seconds: float) -> Respond:
    """No response at all."""
    return lambda _: time.sleep(seconds)


def fits_file(num_blocks: int) -> bytes:
    """A FITS file of a header and `num_blocks` different blocks of data."""
    size = 2880 * num_blocks
    cards = "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1"
    header = "".join(card.ljust(80) for card in (*cards, f"NAXIS1  = {size:20d}", "END")).encode().ljust(2880)
    return header + b"".join(i.to_bytes(8, "big") for i in range(size // 8))


FITS = fits_file(9)
LARGE_FITS = fits_file(1000)
