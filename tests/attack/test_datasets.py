"""Attacks by a stranger's dataset: texts that rows share, and a server that sends more than it announces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hubbleclip.dataset.manifest import read_description, read_manifest
from tests.attack.table import Attacks

pytestmark = [pytest.mark.slow, pytest.mark.attack]


def open_manifest(folder: str) -> str:
    return f"{read_manifest(folder).num_rows} rows"


def open_remote(url: str) -> str:
    return f"{len(read_description(url))} values"


class Endless(BaseHTTPRequestHandler):
    """Announces a small file, and sends bytes without end."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"{" * 1_000_000)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/dataset"
    server.shutdown()


def test_a_text_that_all_rows_share(tmp_path: Path, attacks: Attacks) -> None:
    num = 200_000
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num, np.int32)), ["x" * 1_000_000])
    table = pa.table({"tile_id": [os.urandom(16).hex() for _ in range(num)], "split": shared})
    pq.write_table(table, tmp_path / "manifest.parquet")
    outcome = attacks.call("a manifest whose rows share a text of 1 MB", open_manifest, tmp_path, deadline_s=100)
    assert "texts unpack to more than" in outcome


def test_a_server_that_sends_without_end(endless: str, attacks: Attacks) -> None:
    pytest.importorskip("aiohttp")
    outcome = attacks.call("a dataset of 1 kB that never ends", open_remote, endless, deadline_s=100)
    assert "Error: " in outcome
