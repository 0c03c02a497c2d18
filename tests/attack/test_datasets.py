"""Attacks by a stranger's dataset: texts that rows share, and servers that send more or more slowly than they announce."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hubbleclip.dataset.manifest import read_description, read_manifest
from tests.attack.table import Attacks
from tests.bad_server import BadServer, Respond

pytestmark = [pytest.mark.slow, pytest.mark.attack]


def open_manifest(folder: str) -> str:
    return f"{read_manifest(folder).num_rows} rows"


def open_remote(url: str) -> str:
    return f"{len(read_description(url))} values"


def sends(piece: bytes, pause_s: float) -> Respond:
    """Announce 1,000 bytes, and send pieces without end."""

    def respond(handler: Any) -> None:
        handler.send_response_only(200)
        if handler.command == "HEAD":
            handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while handler.command != "HEAD":
            handler.wfile.write(piece)
            time.sleep(pause_s)

    return respond


def test_a_text_that_all_rows_share(tmp_path: Path, attacks: Attacks) -> None:
    num = 200_000
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num, np.int32)), ["x" * 1_000_000])
    table = pa.table({"tile_id": [os.urandom(16).hex() for _ in range(num)], "split": shared})
    pq.write_table(table, tmp_path / "manifest.parquet")
    outcome = attacks.call("a manifest whose rows share a text of 1 MB", open_manifest, tmp_path, deadline_s=100)
    assert "texts unpack to more than" in outcome


@pytest.mark.parametrize(
    ("name", "respond"),
    [
        ("never ends", sends(b"{" * 1_000_000, 0)),
        pytest.param("drips", sends(b"{", 0.5), marks=pytest.mark.nightly),
    ],
)
def test_a_server_that_sends_without_end(name: str, respond: Respond, attacks: Attacks) -> None:
    pytest.importorskip("aiohttp")
    with BadServer(respond) as server:
        outcome = attacks.call(f"a dataset of 1 kB that {name}", open_remote, f"{server.url}/dataset", deadline_s=100)
    assert "Error: " in outcome
