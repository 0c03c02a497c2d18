"""Sixty nights of an archive that changes old rows end as one ingest at the end, at the price of few requests.

A night's minimum is what a client must request that knows in advance what has changed: the new rows, one count of each
year whose turn it is, one page if old rows have changed, one product list per 100 observations that are new, changed or
due, the bulk list of proposals if one is new, each new file, and once a year the ETag of a file that is listed again. A
query that is polled or repeated counts once.
One request more is the least of any client that finds a product list empty. That has two causes: the observation has no
files, or its number is no longer in use. A count stays the same when a row is renumbered, so that no other answer of the
night tells one cause from the other; one request asks for all such numbers.
The ingest needs more in a few nights, to find the half of a year that has changed, and for a proposal that the bulk list
lacks.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import requests
import time_machine
from rich.table import Table
from starlette.types import ASGIApp, Receive, Scope, Send

from hubbleclip.config.settings import read_settings
from hubbleclip.pipeline.ingest.run import ingest
from tests.faulty_archive.archive import FaultySettings, make_faulty_app, serving
from tests.faulty_archive.plan import REQUESTS_PATH

pytestmark = pytest.mark.nightly

NUM_NIGHTS, RELIST_DAYS = 60, 6
LAST_CHANGE = NUM_NIGHTS - RELIST_DAYS - 2
"""Night after which the archive stays as it is: each year and each list must have its turn once more."""
SKY = FaultySettings(
    num_proposals=1, frame_px=64, changed_share=0.15, odd_share=0.15, late_share=0.1, reprocessed_share=0.01
)
FIRST_MORNING = datetime(2023, 2, 25, 23, tzinfo=UTC)
ROWS = {
    "observation": "FROM observation WHERE withdrawn_at IS NULL",
    "product": "SELECT * EXCLUDE (version, etag) FROM product WHERE superseded_at IS NULL",
    "content": "SELECT uri, sha256, size_bytes FROM product_version SEMI JOIN (FROM product WHERE superseded_at IS NULL) "
    "USING (uri, version)",
    "listing": "FROM listing",
    "rejection": "FROM rejection SEMI JOIN (SELECT obs_id AS entity_id FROM observation) USING (entity_id)",
    "attempt": "FROM attempt",
    "proposal": "FROM proposal SEMI JOIN (FROM observation WHERE withdrawn_at IS NULL) USING (proposal_id)",
}
"""What is compared: what the archive lists now. The history of withdrawn and replaced files is more after sixty nights."""


class Archive:
    """A simulated archive on a thread, whose contents are those of a number of nights."""

    def __init__(self) -> None:
        self.app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def turn(self, nights: int) -> None:
        """List what a number of nights has brought."""
        self.app = make_faulty_app(SKY.model_copy(update={"nights": nights}))


def query(data: Path, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(data / "demo/catalog.duckdb"), read_only=True) as catalog:
        return catalog.sql(sql).to_arrow_table().to_pylist()


def state(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table without times."""
    rows = {name: query(data, sql) for name, sql in ROWS.items()}
    plain = {
        name: [{key: value for key, value in row.items() if not key.endswith("_at")} for row in found]
        for name, found in rows.items()
    }
    return {name: sorted(found, key=repr) for name, found in plain.items()}


def one_night(url: str, data: Path, night: int) -> None:
    archive = {
        "mast_url": url,
        "relist_days": RELIST_DAYS,
        "since": "2021-01-01",
        "instruments": [],
        "max_products_per_proposal": 6,  # above what a proposal has: an early choice is never displaced by a later row
    }
    fetch = {"requests_per_s": 1000, "connections": 2}
    with time_machine.travel(FIRST_MORNING + timedelta(days=night)):
        ingest(read_settings("demo", {"data": str(data), "archive": archive, "fetch": fetch}))


def num_requests(url: str) -> int:
    """Number of requests of the night, of which each counts once that had to be polled.

    The description of the columns does not count, since astroquery requests it in the first night of a process only.
    """
    counted = requests.get(url + REQUESTS_PATH, timeout=10).json()
    return sum(1 if "/invoke" in key else times for key, _, times in counted if "/columnsconfig" not in key)


def minimum(data: Path, night: int, due: list[str]) -> int:
    """Number of requests of a client that knows what has changed; see above."""
    start = FIRST_MORNING + timedelta(days=night, hours=-1)
    since = f">= TIMESTAMP '{start:%Y-%m-%d %H:%M:%S}'"
    ended = f"slot_of(year::VARCHAR, TIMESTAMP '{start:%Y-%m-%d}', {RELIST_DAYS}) > slot_of(year::VARCHAR, TIMESTAMP '{start - timedelta(days=1):%Y-%m-%d}', {RELIST_DAYS})"
    (row,) = query(
        data,
        f"""
        SELECT (SELECT count(*) FROM listing WHERE listed_at {since}) AS listed,
               (SELECT count(*) FROM proposal WHERE fetched_at {since}) AS proposals,
               (SELECT count(*) FROM product_version WHERE fetched_at {since}) AS files,
               (SELECT count(*) FROM attempt WHERE error = 'stale_number' AND last_at {since}) AS stale,
               (SELECT count(*) FROM product JOIN listing USING (obs_id) WHERE superseded_at IS NULL AND listed_at {since}
                AND NOT fetched_at {since} AND list_contains({due}::VARCHAR[], uri)) AS etags,
               (SELECT count(*) FROM range(2021, 2024) years(year) WHERE {ended}) AS years,
               (SELECT count(*) FROM observation WHERE released_mjd < {60000 + night - 8}
                AND (fetched_at {since} OR withdrawn_at {since})) AS old
    """,
    )
    return (
        1
        + row["years"]
        + min(row["old"], 1)
        + math.ceil(row["listed"] / 100)
        + 2 * min(row["proposals"], 1)
        + row["files"]
        + row["etags"]
        + min(row["stale"], 1)
    )


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], list[int]]:
    """A folder with the profiles `nightly` and `once`, and the requests of each night and their minimum."""
    data, archive = tmp_path_factory.mktemp("nights"), Archive()
    made, least = [], []
    with serving(archive) as url:
        for night in range(NUM_NIGHTS):
            archive.turn(min(night + 1, LAST_CHANGE))
            turn = f"slot_of(uri, TIMESTAMP '{FIRST_MORNING + timedelta(days=night):%Y-%m-%d %H:%M:%S}', 365)"
            old = f"FROM product JOIN listing USING (obs_id) WHERE slot_of(uri, greatest(listed_at, fetched_at), 365) < {turn}"
            due = [row["uri"] for row in query(data / "nightly", old)] if night else []
            one_night(url, data / "nightly", night)
            made.append(num_requests(url))
            least.append(minimum(data / "nightly", night, due))
        archive.turn(LAST_CHANGE)
        one_night(url, data / "once", NUM_NIGHTS)
    return data, made, least


def test_sixty_nights_end_as_one_ingest(nights: tuple[Path, list[int], list[int]]) -> None:
    data, _, _ = nights
    nightly, once = state(data / "nightly"), state(data / "once")
    for name, rows in once.items():
        assert nightly[name] == rows, name
    assert all(
        (data / folder / "demo" / row["path"]).is_file() for folder in ("nightly", "once") for row in once["product"]
    )


def test_the_archive_made_every_kind_of_change(nights: tuple[Path, list[int], list[int]]) -> None:
    data, _, _ = nights
    found = query(
        data / "nightly",
        """
        SELECT count(*) FILTER (withdrawn_at IS NOT NULL) AS withdrawn, count(*) FILTER (obsid >= 2140000000) AS renumbered,
               count(*) FILTER (obs_id LIKE 'hst_%') AS advanced,
               count(*) FILTER (fetched_at > make_timestamp(((released_mjd - 40587 + 9) * 86400e6)::BIGINT)) AS late,
               count(*) FILTER (released_mjd < start_mjd) AS early,
               (SELECT count(*) FROM product WHERE superseded_at IS NOT NULL) AS superseded,
               (SELECT max(version) FROM product_version) - 1 AS reprocessed
        FROM observation""",
    )[0]
    assert min(found.values()) >= 1, found


def test_a_night_costs_few_requests(nights: tuple[Path, list[int], list[int]], tables: list[Table]) -> None:
    _, made, least = nights
    tables.append(Table(title=f"{NUM_NIGHTS} nights: {sum(made)} requests, and {sum(least)} at the least"))
    assert [
        one for one in zip(made, least, range(NUM_NIGHTS), strict=True) if not one[1] <= one[0] <= 1.2 * one[1]
    ] == []
