"""A web server of a test's own: it gives prepared answers, and remembers what it heard."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    path: str
    headers: Mapping[str, str]


@contextmanager
def serving(*answers: Answer, pages: Mapping[str, Answer] | None = None) -> Iterator[tuple[str, list[Heard]]]:
    """Address and the requests heard. `pages` are by the beginning of the path; else `answers` in turn, the last ever,
    or 404.
    """
    heard: list[Heard] = []
    left = list(answers)

    class Room(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(Heard(self.path, dict(self.headers)))
            found = next((page for path, page in (pages or {}).items() if self.path.startswith(path)), None)
            if found is None:
                found = left.pop(0) if len(left) > 1 else left[0] if left else Answer(404)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Room)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
