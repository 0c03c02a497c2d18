"""Which observations are listed, and what becomes of products that were known before."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from stages import DAY, NOW, fetched, listing, observation, product, rejection, stage_at
from test_fetching import archive_at

from hubbleclip.archives.base import STALE_NUMBER
from hubbleclip.archives.http.client import RequestLimits, to_archive_error
from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.catalog.pending import pending_fetch, pending_products
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.records import Attempt, DayCount, Observation, Product, Rejection
from hubbleclip.pipeline.engine.attempts import Batch
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.list_products import (
    ProposalGroup,
    list_pending,
    list_products,
    products_in_use,
    proposal_groups,
    write_listing,
)
from tests.bad_server import BadServer, give

A, B, OTHER = observation("a"), observation("b"), observation("c", "hst:2")


def pending(stage: Stage) -> dict[str, tuple[int, int]]:
    found = pending_products(stage.catalog, stage.settings.archive)
    return {row["proposal_id"]: (row["num"], row["num_known"]) for row in found}


def batch(stage: Stage, *products: Product, of: Sequence[Observation] = (A, B), left: Sequence[str] = ()) -> Batch:
    rejections = [rejection("observation", name, "products") for name in left]
    listings = [listing(stage.settings, item, datetime.now(UTC)) for item in of]
    return {"product": list(products), "listing": listings, "rejection": rejections}


def products(stage: Stage) -> dict[str, Product]:
    return {row["uri"]: Product(**row) for row in stage.catalog.rows("FROM product")}


@pytest.mark.parametrize(
    ("relist_days", "change", "num"),
    [
        (30, {}, 1),
        (30, {"settings_digest": "other"}, 2),
        (30, {"fingerprint": "f0"}, 2),
        (30, {"fingerprint": None}, 2),
        (30, {"listed_at": datetime.now(UTC) - 31 * DAY}, 2),
        (0, {"listed_at": NOW - 3650 * DAY}, 1),
    ],
)
def test_a_listing_serves_until_settings_row_or_time_change(
    relist_days: int, change: dict, num: int, tmp_path: Path
) -> None:
    with stage_at(tmp_path, {"archive": {"relist_days": relist_days}}) as stage:
        known = replace(listing(stage.settings, A, datetime.now(UTC)), **change)
        stage.catalog.upsert({"observation": [A, B, OTHER], "listing": [known]})
        assert pending(stage) == {"hst:1": (num, 2), "hst:2": (1, 1)}


def test_lists_of_one_night_fall_due_over_as_many_nights_as_set(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"archive": {"relist_days": 10}}) as stage:
        items = [observation(f"o{k}", f"hst:{k}") for k in range(100)]
        start = datetime(2024, 3, 1, 12, tzinfo=UTC)
        stage.catalog.upsert({"observation": items, "listing": [listing(stage.settings, o, start) for o in items]})
        due: list[set[str]] = []
        for night in range(1, 21):
            with time_machine.travel(start + night * DAY):
                due.append(set(pending(stage)))
                now = datetime.now(UTC)
                again = [listing(stage.settings, o, now) for o in items if o.proposal_id in due[-1]]
                stage.catalog.upsert({"listing": again})
        assert sum(map(len, due)) == 2 * 100
        assert len(set.union(*due[:10])) == 100
        assert max(map(len, due)) < 25
        with time_machine.travel(start + 20 * DAY + timedelta(hours=11)):
            assert pending(stage) == {}


class Lists:
    """An archive that lists a product of each observation, but of some proposals nothing, alone or in company."""

    name = "hst"

    def __init__(self, failing: str = "", error: Callable[[str], Exception] = ArchiveError, stale: str = "") -> None:
        self.failing, self.error, self.stale = failing, error, stale
        self.barrier = threading.Barrier(1)
        self.threads: set[int] = set()

    def renewed_files(self, products: Sequence[Product]) -> tuple[list[str], list[str]]:
        return [], []

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        self.threads.add(threading.get_ident())
        self.barrier.wait(timeout=60)
        if self.failing in {item.proposal_id for item in observations}:
            raise self.error("come back later")
        found = [product(item.obs_id, proposal=item.proposal_id) for item in observations]
        stale = [item.obs_id for item in observations if item.proposal_id == self.stale]
        rejections = [rejection("observation", name, "products", reason=STALE_NUMBER) for name in stale[:1]]
        return [item for item in found if item.proposal_id != self.stale], rejections


def test_a_proposal_with_a_stale_number_keeps_its_products_and_waits_for_a_query_of_the_day(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        digest = stage.settings.archive.digest()
        known = [replace(item, query_digest=digest) for item in (A, B, OTHER)]
        day = DayCount(archive="hst", query_digest=digest, day_mjd=60000, num_rows=3, counted_at=NOW)
        stage.catalog.upsert({"observation": known, "product": [fetched("a")], "day_count": [day]})
        lists = Lists(stale="hst:1")
        lists.renewed_files = lambda found: (["mast:a"], [])
        list_pending(stage, lists)
        assert products(stage)["mast:a"].fetched_version == ""
        assert {uri for uri, item in products(stage).items() if not item.superseded_at} == {"mast:a", "mast:c"}
        (waiting,) = [Attempt(**row) for row in stage.catalog.rows("FROM attempt")]
        assert (waiting.entity, waiting.entity_id, waiting.error) == ("proposal", "hst:1", STALE_NUMBER)
        assert [row["num_rows"] for row in stage.catalog.rows("FROM day_count")] == [None]
        assert stage.catalog.rows("SELECT obs_id FROM listing") == [{"obs_id": "c"}]


def test_batches_hold_whole_proposals(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"flows": {"batch_size": 1}}) as stage:
        many = [observation(f"{proposal}{k}", f"hst:{proposal}") for proposal in range(4) for k in range(3)]
        stage.catalog.upsert({"observation": many})
        rows = pending_products(stage.catalog, stage.settings.archive)
        found = [[o.obs_id for o in batch.observations] for batch in proposal_groups(stage, rows)]
    assert found == [["00", "01", "02", "10", "11", "12"], ["20", "21", "22", "30", "31", "32"]]


def test_a_product_keeps_its_content_until_its_new_version_is_fetched(tmp_path: Path) -> None:
    known = fetched("a")
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B], "product": [known, fetched("b")]})
        new = replace(product("a", "v2"), choice="another", size_bytes=11)
        write_listing(stage, batch(stage, new, product("b", "v1")))
        assert pending_fetch(stage.catalog, stage.settings) == ["mast:a"]
        now = products(stage)[known.uri]
    expected = replace(known, archive_version="v2", choice="another", size_bytes=11, fetched_at=now.fetched_at)
    assert now == expected


@pytest.mark.parametrize(("version", "size_bytes"), [("v1", 10), ("v2", None)])
def test_a_listing_without_size_leaves_that_of_the_same_version(
    tmp_path: Path, version: str, size_bytes: int | None
) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B], "product": [fetched("a")]})
        write_listing(stage, batch(stage, replace(product("a", version), size_bytes=None)))
        assert products(stage)["mast:a"].size_bytes == size_bytes


def test_content_from_before_versions_were_kept_counts_as_the_listed_one(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B], "product": [fetched("a", version=None)]})
        write_listing(stage, batch(stage, product("a", "v7")))
        assert products(stage)["mast:a"].fetched_version == "v7"
        assert pending_fetch(stage.catalog, stage.settings) == []


def test_a_file_chosen_no_more_is_superseded_and_comes_back_when_chosen_again(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B, OTHER], "product": [fetched("a"), product("c", proposal="hst:2")]})
        write_listing(stage, batch(stage, product("b"), left=["a"]))
        assert {uri for uri, item in products(stage).items() if item.superseded_at} == {"mast:a"}
        in_use = products_in_use(stage.catalog, ["hst:1", "hst:2"])
        assert ProposalGroup([], in_use).taken == {"hst:1": {"b"}, "hst:2": {"c"}}
        write_listing(stage, batch(stage, product("a"), left=["b"]))
        assert {uri for uri, item in products(stage).items() if item.superseded_at} == {"mast:b"}


def test_an_observation_that_has_a_file_now_is_rejected_no_more(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B]})
        write_listing(stage, batch(stage, left=["a", "b"]))
        write_listing(stage, batch(stage, product("a"), left=["b"]))
        assert [row["entity_id"] for row in stage.catalog.rows("FROM rejection")] == ["b"]


def test_a_file_given_up_is_tried_again_in_another_version_only(tmp_path: Path) -> None:
    given_up = [rejection("product", f"mast:{name}", "fetch") for name in "ab"]
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B], "product": [product("a"), product("b")], "rejection": given_up})
        write_listing(stage, batch(stage, product("a", "v2"), product("b")))
        assert pending_fetch(stage.catalog, stage.settings) == ["mast:a"]


def test_landed_lists_are_read_again_and_keep_the_date_of_the_answer(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"archive": {"from_raw": True, "max_product_mb": 7}}) as stage:
        old = replace(listing(stage.settings, A), settings_digest="other")
        stage.catalog.upsert({"observation": [A], "listing": [old], "product": [product("a")]})
        assert pending(stage) == {"hst:1": (1, 1)}
        write_listing(stage, batch(stage, replace(product("a"), choice="another"), of=[A]))
        assert products(stage)["mast:a"].choice == "another"
        (row,) = stage.catalog.rows("SELECT settings_digest, listed_at FROM listing")
        assert row == {"settings_digest": stage.settings.archive.digest(), "listed_at": NOW.replace(tzinfo=None)}


def test_a_proposal_that_fails_holds_up_no_other_and_waits(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"observation": [A, B, OTHER]})
        lists = Lists(
            "hst:1", lambda text: to_archive_error(DamagedError(text, "null_columns"), "https://mast.example")
        )
        write_listing(stage, list_products(ProposalGroup([A, B, OTHER], []), lists, stage.settings.archive.digest()))
        assert list(products(stage)) == ["mast:c"]
        (waiting,) = [Attempt(**row) for row in stage.catalog.rows("FROM attempt")]
        assert (waiting.entity_id, waiting.stage, waiting.error) == ("hst:1", "products", "null_columns")
        assert pending(stage) == {}
        stage.catalog.run("clear_all_failures")
        assert pending(stage) == {"hst:1": (2, 2)}
        write_listing(stage, list_products(ProposalGroup([A, B], []), Lists(), stage.settings.archive.digest()))
        assert len(products(stage)) == 3
        assert stage.catalog.counts()["attempt"] == 0


def test_a_file_whose_etag_alone_has_changed_is_fetched_again(tmp_path: Path) -> None:
    etags = iter(['"new"', '"new"', '"e1"', '"1"', '"2"'])

    def respond(handler: Any) -> None:
        give(b"x", 206, ETag=next(etags), Content_Range="bytes 0-0/9")(handler)

    with BadServer(respond) as server, stage_at(tmp_path) as stage:
        archive = archive_at(server.url, stage)
        lists = Lists()
        lists.renewed_files = archive.renewed_files
        in_use = [fetched("a"), fetched("b"), fetched("c")]  # c has another ETag in each response
        stage.catalog.upsert({"observation": [A, B], "product": in_use})
        three = [A, B, observation("c")]
        group = ProposalGroup(three, in_use, frozenset(item.uri for item in in_use))
        write_listing(stage, list_products(group, lists, stage.settings.archive.digest()))
        assert pending_fetch(stage.catalog, stage.settings) == ["mast:a"]
        assert {seen["Range"] for seen in server.seen} == {"bytes=0-0"}


@pytest.mark.parametrize(("status", "is_due"), [(503, True), (404, False)])
def test_an_etag_that_cannot_be_had_for_now_is_requested_in_the_next_night(
    status: int, is_due: bool, tmp_path: Path
) -> None:
    with BadServer(give(b"", status, Content_Type="text/html")) as server, stage_at(tmp_path) as stage:
        lists, item = Lists(), replace(fetched("a"), fetched_at=NOW)
        limits = RequestLimits(attempts=2, backoff_s=0.01, outage_s=0.0)
        lists.renewed_files = archive_at(server.url, stage, limits).renewed_files
        stage.catalog.upsert({"observation": [A], "product": [item], "listing": [listing(stage.settings, A, NOW)]})
        with time_machine.travel(NOW + 800 * DAY):
            list_pending(stage, lists)
        with time_machine.travel(NOW + 801 * DAY):
            assert bool(pending(stage)) == is_due
            (group,) = proposal_groups(stage, [{"proposal_id": "hst:1", "num_known": 1}])
            assert bool(group.unchecked) == is_due


def test_the_etag_of_each_file_is_requested_once_a_year_however_often_it_is_listed(tmp_path: Path) -> None:
    requests: list[str] = []
    lists = Lists()
    lists.renewed_files = lambda found: (requests.extend(item.uri for item in found) or [], [])
    with stage_at(tmp_path) as stage:
        items = [observation(f"o{number}") for number in range(30)]
        in_use = [replace(fetched(item.obs_id), fetched_at=NOW) for item in items]
        known = [listing(stage.settings, item, NOW) for item in items]
        stage.catalog.upsert({"observation": items, "product": in_use, "listing": known})
        for run in range(1, 13):
            with time_machine.travel(NOW + 91 * run * DAY):
                (group,) = proposal_groups(stage, [{"proposal_id": "hst:1", "num_known": 30}])
                write_listing(stage, list_products(group, lists, stage.settings.archive.digest()))
    times = Counter(requests)
    assert len(times) == 30 and set(times.values()) <= {2, 3}


def test_as_many_lists_are_requested_at_once_as_there_are_connections(tmp_path: Path) -> None:
    archive = Lists()
    archive.barrier = threading.Barrier(6)  # answers once six requests are in flight
    with stage_at(tmp_path, {"flows": {"batch_size": 1, "workers": 2}, "fetch": {"connections": 6}}) as stage:
        stage.catalog.upsert({"observation": [observation(f"{k}{n}", f"hst:{k}") for k in range(12) for n in range(4)]})
        list_pending(stage, archive)
        assert stage.catalog.counts()["listing"] == 48
    assert len(archive.threads) == 6
