"""Attacks by an archive: responses that unpack, nest, repeat and drip; redirects of queries; messages with escapes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from commands import command

from tests.archives.conftest import archive_at, observe
from tests.archives.mallory import Mallory
from tests.attack.table import Attacks
from tests.bad_server import BadServer, Respond, drip_trailers, give

pytestmark = [pytest.mark.nightly, pytest.mark.attack]
Make = Callable[[], Respond]
PAGE_ROWS = 500


def ask(kind: str, url: str, folder: str, timeout_s: float) -> str:
    """List observations by the service `caom` or `missions`, or fetch a proposal, and describe the result."""
    listing = "caom" if kind == "proposal" else kind
    archive = archive_at(url, Path(folder), attempts=2, timeout_s=timeout_s, listing=listing, page_rows=PAGE_ROWS)
    if kind != "proposal":
        return f"{len(observe(archive))} observations"
    proposals, rejections = archive.fetch_proposals(["12345"])
    return f"{len(proposals)} proposals, {len(rejections)} rejected"


@pytest.fixture
def mallory() -> Iterator[Mallory]:
    with Mallory() as server:
        yield server


def packed(start: bytes, piece: bytes, num: int, end: bytes) -> Respond:
    """A gzip response of a few hundred kB that unpacks to `num` pieces."""
    packer = zlib.compressobj(9, wbits=31)
    block = piece * 10_000
    parts = [packer.compress(start), *(packer.compress(block) for _ in range(num // 10_000)), packer.compress(end)]
    return give(b"".join([*parts, packer.flush()]), Content_Encoding="gzip")


def rows(num: int) -> Respond:
    row = json.dumps({"obs_id": "ibol02010", "obsid": "77", **{f"column{i}": f"value {i}" for i in range(30)}})
    paging = json.dumps({"page": 1, "pagesFiltered": 1, "rows": num, "rowsFiltered": num})
    start, end = b'{"status": "COMPLETE", "fields": [], "data": [', f'{row}], "paging": {paging}}}'.encode()
    return packed(start, f"{row},".encode(), num, end)


# Responses are packed when they are needed, since it takes seconds.
LISTS = partial(packed, b'{"status": "COMPLETE", "data": [', b"[],", 150_000_000, b"[]]}")
DEEP = partial(packed, b"", b"[", 1_000_000, b"")
PAGING = {"page": 1, "pagesFiltered": 2, "rowsFiltered": 1}
ENDLESS = partial(give, json.dumps({"status": "COMPLETE", "data": [], "fields": [], "paging": PAGING}).encode())
DRIPPING = partial(drip_trailers, b"{}")


@pytest.mark.parametrize(
    ("name", "listing", "kind", "make"),
    [
        ("a query's response of 450 MB of empty lists", "caom", "query", LISTS),
        ("400,000 rows where 500 were asked", "caom", "query", partial(rows, 400_000)),
        ("lists in lists, a million deep", "caom", "query", DEEP),
        ("lists in lists, a million deep", "missions", "query", DEEP),
        ("a page that always announces the next", "caom", "query", ENDLESS),
        ("a table of columns of 450 MB of empty lists", "caom", "columns", LISTS),
        ("a table of columns that always announces the next", "caom", "columns", ENDLESS),
        ("trailers that drip", "caom", "query", DRIPPING),
    ],
)
def test_a_hostile_list_of_observations(
    name: str, listing: str, kind: str, make: Make, mallory: Mallory, tmp_path: Path, attacks: Attacks
) -> None:
    setattr(mallory, kind, make())
    timeout_s = 0.2 if "drip" in name else 2.0
    outcome = attacks.call(f"{name} ({listing})", ask, listing, mallory.url, tmp_path, timeout_s, deadline_s=100)
    assert "Error: " in outcome


@pytest.mark.parametrize(
    ("name", "path", "make"),
    [
        ("an APT file of 480 MB of <a/>", "/apt/12345/", partial(packed, b"<a>", b"<a/>", 120_000_000, b"</a>")),
        ("an APT file of 20 MB of <a/>", "/apt/12345/", partial(packed, b"<a>", b"<a/>", 4_990_000, b"</a>")),
        ("pages of a proposal of 20 MB of <b>", "", partial(packed, b"", b"<b>", 6_660_000, b"")),
        ("a list of proposals of 500 MB", "/abstracts.cat", partial(packed, b"", b"Prop. Type: GO\n", 35_000_000, b"")),
    ],
)
def test_a_hostile_proposal(
    name: str, path: str, make: Make, mallory: Mallory, tmp_path: Path, attacks: Attacks
) -> None:
    respond, link = make(), give(b'<a href="/abstracts.cat">list</a>')
    sent = {"/abstracts.cat": give(f"{'-' * 80}\nProp. Type: GO\nID: 7\nTitle: T\n\nText.\n".encode())}
    mallory.responses = [
        lambda handler: (respond if handler.path.endswith(path) else sent.get(handler.path, link))(handler)
    ]
    outcome = attacks.call(name, ask, "proposal", mallory.url, tmp_path, 5.0, deadline_s=100)
    assert any(asked.endswith(path) for asked in mallory.paths)
    assert "1 rejected" in outcome or "Error: " in outcome


def test_a_query_redirected_to_another_host(mallory: Mallory, tmp_path: Path, attacks: Attacks) -> None:
    with BadServer() as other:
        mallory.query = give(b"", 307, Location=f"http://localhost:{other.port}/api/v0/invoke")
        name = "a query redirected to another host"
        outcome = attacks.call(name, ask, "caom", mallory.url, tmp_path, 2.0, deadline_s=60)
    assert "another host" in outcome
    assert not other.seen


def test_a_message_with_escapes(mallory: Mallory, tmp_path: Path, attacks: Attacks) -> None:
    message = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    mallory.query = give(json.dumps({"status": "ERROR", "msg": message}).encode())
    settings = {"archive.mast_url": mallory.url, "archive.name": "hst", "archive.check_first": False}
    words = command("ingest", "--no-server", data=tmp_path, settings=settings)
    ending = attacks.run("a message of MAST with escapes", words, deadline_s=100)
    assert ending.code == 2
    assert "owned" in ending.err
    assert not set("\x1b\x07\x9b") & set(ending.err + ending.out)
