"""Attacks by an archive: responses that unpack to too much, and messages with escapes."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hubbleclip.simulator.server.launcher import simulated_addresses
from tests.archives.conftest import FETCH, archive_at
from tests.archives.hostile_server import Mallory, observe, send
from tests.attack.table import Attacks

pytestmark = [pytest.mark.slow, pytest.mark.attack]
PAGE_ROWS = 500
SMALL = FETCH.model_copy(update={"attempts": 2, "timeout_s": 2.0})


def ask(url: str, folder: str, listing: str = "caom") -> str:
    """What a client does that lists observations."""
    archive = archive_at(url, Path(folder), SMALL, listing=listing, page_size=PAGE_ROWS)
    return f"{len(observe(archive))} observations"


@pytest.fixture
def mallory() -> Iterator[Mallory]:
    with Mallory() as server:
        yield server


def packed(start: bytes, piece: bytes, num: int, end: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """A gzip response of a few hundred kB that unpacks to `num` pieces."""
    packer = zlib.compressobj(9, wbits=31)
    block = piece * 10_000
    parts = [packer.compress(start), *(packer.compress(block) for _ in range(num // 10_000)), packer.compress(end)]
    return send(b"".join([*parts, packer.flush()]), Content_Encoding="gzip")


def rows(num: int) -> Callable[[BaseHTTPRequestHandler], None]:
    row = json.dumps({"obs_id": "ibol02010", "obsid": "77", **{f"column{i}": f"value {i}" for i in range(30)}})
    paging = json.dumps({"page": 1, "pagesFiltered": 1, "rows": num, "rowsFiltered": num})
    start, end = b'{"status": "COMPLETE", "fields": [], "data": [', f'{row}], "paging": {paging}}}'.encode()
    return packed(start, f"{row},".encode(), num, end)


LISTS = packed(b'{"status": "COMPLETE", "data": [', b"[],", 150_000_000, b"[]]}")


@pytest.mark.parametrize(
    ("name", "posted"),
    [
        ("a query's response of 450 MB of empty lists", {"query": LISTS}),
        ("a table of columns of 450 MB of empty lists", {"columns": LISTS}),
        ("400,000 rows where 500 were asked", {"query": rows(400_000)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("listing", ["caom"])
def test_a_hostile_list_of_observations(
    name: str, posted: dict, listing: str, mallory: Mallory, tmp_path: Path, attacks: Attacks
) -> None:
    mallory.posted = posted
    outcome = attacks.call(f"{name} ({listing})", ask, mallory.url, tmp_path, listing, deadline_s=100)
    assert "Error: " in outcome


def test_a_message_with_escapes(mallory: Mallory, tmp_path: Path, attacks: Attacks) -> None:
    message = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    mallory.posted["query"] = send(json.dumps({"status": "ERROR", "msg": message}).encode())
    words = [sys.executable, "-m", "hubbleclip.cli.app", "ingest", "--no-server", "--data", str(tmp_path)]
    sets = [f"--set=archive.{name}={json.dumps(url)}" for name, url in simulated_addresses(mallory.url).items()]
    quick = ["--set=fetch.attempts=1", '--set=archive.name="hst"', "--set=archive.check_first=false"]
    ending = attacks.run("a message of MAST with escapes", [*words, *sets, *quick], deadline_s=100)
    assert ending.code == 2
    assert "owned" in ending.err
    assert not set("\x1b\x07\x9b") & set(ending.err + ending.out)
