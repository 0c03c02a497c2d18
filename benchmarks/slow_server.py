"""A server on loopback that sends every connection the same number of bytes per second, and counts them.

Run it: `python -m benchmarks.slow_server FOLDER BYTES_PER_S`; it prints its URL and ends when stdin is closed. `GET
/sent` returns the bytes of all bodies so far. It supports Range and If-Range.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE_BYTES = 1 << 15
RANGE = re.compile(r"bytes=(\d+)-")


class SlowServer(ThreadingHTTPServer):
    """Server of the files of a folder."""

    daemon_threads = True

    def __init__(self, folder: Path, bytes_per_s: float) -> None:
        super().__init__(("127.0.0.1", 0), SlowResponse)
        self.files = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
        self.bytes_per_s = bytes_per_s
        self.sent = 0
        self.lock = threading.Lock()


class SlowResponse(BaseHTTPRequestHandler):
    """One connection, whose bodies are sent at the server's rate."""

    protocol_version = "HTTP/1.1"
    server: SlowServer

    def do_GET(self) -> None:
        """Send a file, a range of it, or the count of bytes."""
        if self.path == "/sent":
            self._send(200, str(self.server.sent).encode(), {}, is_counted=False)
            return
        data = self.server.files[self.path]
        etag = f'"{hashlib.sha256(data[:6000]).hexdigest()[:32]}"'
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        headers = {"ETag": etag, "Content-Type": "application/fits", "Accept-Ranges": "bytes"}
        if wanted is None or self.headers.get("If-Range", etag) != etag:
            self._send(200, data, headers)
            return
        start = int(wanted[1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206, data[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, is_counted: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        start_s = time.monotonic()
        for place in range(0, len(body), PIECE_BYTES):
            due_s = start_s + place / self.server.bytes_per_s - time.monotonic()
            if due_s > 0:
                time.sleep(due_s)
            try:
                self.wfile.write(body[place : place + PIECE_BYTES])
            except OSError:  # the client has closed the connection
                self.close_connection = True
                return
            with self.server.lock:
                self.server.sent += len(body[place : place + PIECE_BYTES]) * is_counted

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def slow_server(folder: Path, bytes_per_s: float) -> Iterator[str]:
    """Run a server in a process of its own and yield its URL."""
    command = [sys.executable, "-m", "benchmarks.slow_server", str(folder.absolute()), str(bytes_per_s)]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


def main() -> None:
    """Serve until stdin is closed."""
    server = SlowServer(Path(sys.argv[1]), float(sys.argv[2]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
