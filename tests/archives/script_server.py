"""A server that gives scripted responses, for tests of what a client does with each."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Respond = Callable[[BaseHTTPRequestHandler], None]

CARDS = "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1"


def fits_file(num_blocks: int) -> bytes:
    """A FITS file of a header and `num_blocks` different blocks of data."""
    size = 2880 * num_blocks
    header = "".join(card.ljust(80) for card in (*CARDS, f"NAXIS1  = {size:20d}", "END")).encode().ljust(2880)
    return header + b"".join(i.to_bytes(8, "big") for i in range(size // 8))


FITS = fits_file(9)
LARGE_FITS = fits_file(1000)


class Script:
    """One scripted response per request, then the last one again; records the headers and times of requests."""

    def __init__(self, *responses: Respond) -> None:
        self.responses = list(responses)
        self.seen: list[dict[str, str]] = []
        self.times: list[float] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                script.seen.append({**self.headers, "path": self.path, "port": str(self.client_address[1])})
                script.times.append(time.monotonic())
                respond = script.responses.pop(0) if len(script.responses) > 1 else script.responses[0]
                try:
                    respond(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}/file"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop the server; open connections end with the test."""
        self.server.shutdown()
        self.server.server_close()


def give(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Respond:
    """A response; one whose body is shorter than its length breaks off."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        num_bytes = len(body) if length is None else length
        handler.send_header("Content-Length", str(num_bytes))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = num_bytes != len(body)

    return respond


def give_part(whole: bytes, **headers: str) -> Respond:
    """The response of a server of `whole` to the requested range."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in handler.headers else 0
        span = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        give(whole[start:], 206 if start else 200, Content_Range=span, **headers)(handler)

    return respond


def drip(body: bytes, first: int, pause_s: float = 0.05, **headers: str) -> Respond:
    """`first` bytes at once, then one at a time."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        give(body[:first], length=len(body), **headers)(handler)
        for i in range(first, len(body)):
            time.sleep(pause_s)
            handler.wfile.write(body[i : i + 1])

    return respond


def reset(body: bytes, **headers: str) -> Respond:
    """The beginning of a body, then a reset of the connection (RST)."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        give(body, length=len(body) + 1000, **headers)(handler)
        handler.wfile.flush()
        time.sleep(0.1)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        handler.connection.close()

    return respond


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    """The headers of a response one byte at a time, for five seconds."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(100):
        time.sleep(0.05)
        handler.wfile.write(b"x")
