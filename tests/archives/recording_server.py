"""A web server for one test: it gives prepared responses and records the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class PreparedResponse:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedRequest:
    path: str
    headers: Mapping[str, str]


@contextmanager
def serving(
    *responses: PreparedResponse, pages: Mapping[str, PreparedResponse] | None = None
) -> Iterator[tuple[str, list[RecordedRequest]]]:
    """Yield the address and the recorded requests.

    `pages` are by the beginning of the path; other paths get `responses` in turn, then the last one again, or 404.
    """
    requests: list[RecordedRequest] = []
    left = list(responses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(RecordedRequest(self.path, dict(self.headers)))
            response = next((page for path, page in (pages or {}).items() if self.path.startswith(path)), None)
            if response is None:
                response = left.pop(0) if len(left) > 1 else left[0] if left else PreparedResponse(404)
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
