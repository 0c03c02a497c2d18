"""A small, fast server of a folder on loopback, so that a benchmark of fetching measures the client.

Run it: `python -m benchmarks.static_server FOLDER`; it prints its URL and ends when stdin is closed. Files are read
into memory at the start, with their responses. It implements only the HTTP that the compared clients use: GET with
keep-alive, Range and If-Range.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

REQUEST = re.compile(rb"GET /([^\s?]*)\S* HTTP/1\.1\r\n")
RANGE = re.compile(rb"\r\nRange: *bytes=(\d+)-\r\n", re.IGNORECASE)
IF_RANGE = re.compile(rb"\r\nIf-Range: *(\S+)\r\n", re.IGNORECASE)
TYPES = {".jpg": b"image/jpeg", ".fits": b"application/fits"}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class ServedFile:
    """A file in memory, and its responses."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.etag = b'"%s"' % hashlib.sha256(self.data).hexdigest()[:32].encode()
        self.media_type = TYPES.get(path.suffix, b"application/octet-stream")
        self.whole = self._head(b"200 OK", len(self.data)) + self.data

    def _head(self, status: bytes, num_bytes: int, more: bytes = b"") -> bytes:
        lines = b"Content-Type: %s\r\nContent-Length: %d\r\nETag: %s\r\n" % (self.media_type, num_bytes, self.etag)
        return b"HTTP/1.1 %s\r\n%sAccept-Ranges: bytes\r\n%s\r\n" % (status, lines, more)

    def respond(self, request: bytes) -> bytes:
        """Return head and body, of the whole file or of the requested range."""
        byte_range, version = RANGE.search(request), IF_RANGE.search(request)
        if byte_range is None or (version is not None and version[1] != self.etag):
            return self.whole
        start, size = int(byte_range[1]), len(self.data)
        if start >= size:
            return self._head(b"416 Range Not Satisfiable", 0, b"Content-Range: bytes */%d\r\n" % size)
        more = b"Content-Range: bytes %d-%d/%d\r\n" % (start, size - 1, size)
        return self._head(b"206 Partial Content", size - start, more) + self.data[start:]


class Connection(asyncio.Protocol):
    """One connection; pipelined requests are answered in order."""

    def __init__(self, files: dict[bytes, ServedFile]) -> None:
        self.files = files
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, to which the responses are written."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request; keep the rest for later."""
        *requests, self.waiting = (self.waiting + data).split(b"\r\n\r\n")
        for request in requests:
            line = REQUEST.match(request + b"\r\n")
            file = self.files.get(line[1]) if line else None
            self.transport.write(file.respond(request + b"\r\n") if file else NOT_FOUND)


async def serve(folder: Path) -> None:
    """Serve until stdin is closed; prints the URL."""
    names = {path.relative_to(folder).as_posix().encode(): path for path in folder.rglob("*") if path.is_file()}
    files = {name: ServedFile(path) for name, path in names.items()}
    server = await asyncio.get_running_loop().create_server(lambda: Connection(files), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """Run a server of `folder` in a process of its own and yield its URL."""
    command = [sys.executable, "-m", "benchmarks.static_server", str(folder.absolute())]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
