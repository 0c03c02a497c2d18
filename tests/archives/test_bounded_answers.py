"""No response takes more memory or time than its kind may, and no query goes to a host that was not asked."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from astroquery.mast.discovery_portal import PortalAPI

from hubbleclip.archives.http.responses import (
    CONTAINER_BYTES,
    PAGE_BYTES,
    VALUE_BYTES,
    RefusedError,
    parse_json,
)
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.core.errors import ArchiveError, PartialResultError
from tests.archives.conftest import archive_at, make_transport, observe
from tests.archives.mallory import Mallory
from tests.bad_server import drip_trailers, give

HASTY = {"attempts": 2, "timeout_s": 0.3, "file_timeout_s": 0.3}
LISTINGS = pytest.mark.parametrize("listing", ["caom", "missions"])


def archive_of(mallory: Mallory, root: Path, listing: str = "caom", **settings: object) -> MastArchive:
    return archive_at(mallory.url, root, **HASTY, listing=listing, check_first=False, **settings)


@LISTINGS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_query_is_not_redirected_to_another_host(
    listing: str, status: int, mallory: Mallory, scripted, tmp_path: Path
) -> None:
    witness = scripted(give(b"{}"))
    mallory.query = give(b"", status, Location=f"http://localhost:{witness.port}/api/v0/invoke")
    with pytest.raises(ArchiveError, match="another host"):
        observe(archive_of(mallory, tmp_path, listing))
    assert witness.seen == []


@LISTINGS
def test_a_query_that_is_redirected_in_a_circle_ends(listing: str, mallory: Mallory, tmp_path: Path) -> None:
    mallory.query = give(b"", 307, Location="/again")
    with pytest.raises(ArchiveError):
        observe(archive_of(mallory, tmp_path, listing))
    assert len(mallory.seen) < 30


@LISTINGS
def test_a_page_is_limited_by_the_rows_that_were_asked_for(listing: str, mallory: Mallory, tmp_path: Path) -> None:
    rows = gzip.compress(json.dumps([{"obs_id": "x" * 1000, "obsid": "1"}] * 3000).encode())
    mallory.query = give(rows, Content_Encoding="gzip")
    with pytest.raises(PartialResultError, match=r"more than 10\d\d000 bytes"):
        observe(archive_of(mallory, tmp_path, listing, page_rows=2))


@pytest.mark.parametrize("kind", ["query", "columns"])
def test_pages_that_always_announce_another_page_end(kind: str, mallory: Mallory, tmp_path: Path) -> None:
    paging = {"page": 1, "pageSize": 1, "pagesFiltered": 2, "rows": 0, "rowsFiltered": 1, "rowsTotal": 1}
    endless = {"status": "COMPLETE", "data": [], "fields": [], "paging": paging}
    setattr(mallory, kind, give(json.dumps(endless).encode()))
    PortalAPI._column_configs.clear()
    with pytest.raises(ArchiveError, match="0 of 1 rows came|without end"):
        observe(archive_of(mallory, tmp_path))
    assert len(mallory.seen) < 30


def test_rows_that_would_take_too_much_memory_are_not_parsed(mallory: Mallory) -> None:
    mallory.query = give(gzip.compress(b"[" + b"[]," * 10**7 + b"[]]"), Content_Encoding="gzip")
    client = MastClient(mallory.url, make_transport(attempts=1))
    with pytest.raises(PartialResultError, match="GB of memory"):
        client.observations({}, page=1, page_size=5000)


@pytest.mark.timeout(15)
@pytest.mark.parametrize(("file_timeout_s", "problem"), [(0.2, "did not end within"), (60, "did not respond in time")])
def test_trailers_that_drip_end_at_the_time_limit_of_a_read(file_timeout_s: float, problem: str, scripted) -> None:
    with pytest.raises(ArchiveError, match=problem):
        make_transport(attempts=1, timeout_s=0.5, file_timeout_s=file_timeout_s).get(
            scripted(drip_trailers(b"page")).url
        )


def test_a_page_has_a_largest_size(scripted) -> None:
    bomb = gzip.compress(bytes(PAGE_BYTES + 1), 1)
    with pytest.raises(ArchiveError, match=f"more than {PAGE_BYTES} bytes"):
        make_transport().get(scripted(give(bomb, Content_Encoding="gzip")).url)


@pytest.mark.parametrize("value", ["[]", "{}", "[[]]", '{"":[]}', "0", '"ab"'])
def test_json_that_takes_too_much_memory_is_not_parsed(value: str) -> None:
    num = 5_000_000
    with pytest.raises(RefusedError, match="memory"):
        parse_json(f"[{','.join([value] * num)}]".encode())


def test_the_estimate_of_memory_is_not_too_low() -> None:
    row = {f"column{i}": f"value {i} of this row" for i in range(40)}
    for value in ({}, [], [[]], {"": []}, {"": {"": {}}}, "ab", 1.5, 10**6, row):
        body = json.dumps([value] * 2000).encode()
        tracemalloc.start()
        parsed = parse_json(body)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        openings = body.count(b"[") + body.count(b"{")
        assert used < len(body) + VALUE_BYTES * body.count(b",") + CONTAINER_BYTES * openings, value
        assert len(parsed) == 2000


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[1", ""])
def test_json_that_is_deep_or_broken_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text.encode())
