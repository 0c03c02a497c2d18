"""A typed error for each way in which MAST fails, and what a sound response must hold."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

import pytest

from hubbleclip.archives.mast.client import MAX_PRODUCT_PAGES, PRODUCT_PAGE_ROWS, MastClient
from hubbleclip.core.errors import ArchiveError, ArchiveTimeoutError, PartialResultError, SettingsError
from hubbleclip.simulator.server.mast_tables import columns_config
from tests.archives.conftest import make_transport, observation
from tests.bad_server import BadServer, Respond, give, silence

TIMEOUT_S, ATTEMPTS = 0.2, 3
WAITED_S = {"no answer": TIMEOUT_S, "executing for ever": 0.5}
"""Timeout of the failures that are waited for."""
KNOWN = {
    "mast/discovery_portal.py": (
        *("/api/v0/invoke", "/portal/Mashup/Mashup.asmx/columnsconfig", "/api/v0.1/Download/file"),
        *("paramName", "freeText"),
    ),
    "mast/observations.py": ("Mast.Caom.Cone", "Mast.Caom.Filtered", "Mast.Caom.Products"),
    "mast/utils.py": ("/api/v0.1/path_lookup/",),
    "mast/missions.py": ("post_list_products", "search/", "conditions", "select_cols", "dataset_ids"),
    "mast/services.py": ("/api/v0.1/",),
    "mast/auth.py": ("MAST_API_TOKEN", "mast_token"),
    "cadc/__init__.py": ("/argus",),
    "cadc/core.py": ("caom2.Observation o join caom2.Plane", "o.obsID=p.obsID"),
}
"""Names and addresses that the clients use, in the code of astroquery, by file."""
CRITERIA = {"obs_collection": ["HST"], "t_obs_release": [0, 1]}
ROWS = [{"obs_id": f"ibol0{i}010", "obsid": str(i), "proposal_id": "1"} for i in range(4)]


def table(rows: list[dict[str, Any]], total: int | None = None, **members: object) -> bytes:
    paging = {"page": 1, "pagesFiltered": 1, "rows": len(rows), "rowsFiltered": len(rows) if total is None else total}
    return json.dumps({"status": "COMPLETE", "data": rows, "fields": [], "paging": paging, **members}).encode()


def queries_of(server: BadServer) -> list[dict[str, Any]]:
    """The queries that a server got, without those of its columns."""
    bodies = [request["body"] for request in server.seen if not request["path"].startswith("/portal")]
    return [json.loads(parse_qs(body)["request"][0]) for body in bodies]


@pytest.fixture
def server(scripted) -> BadServer:
    return scripted(table={"/portal": give(json.dumps(columns_config("Mast.Caom.Cone")).encode())})


@pytest.fixture
def mast(server: BadServer, request: pytest.FixtureRequest) -> MastClient:
    """A short timeout only where the case waits for it: a stall of a busy machine is none."""
    case = getattr(request.node, "callspec", None)
    timeout_s = WAITED_S.get(case.params.get("name") if case else None, 5.0)
    return MastClient(server.url, make_transport(timeout_s=timeout_s, attempts=ATTEMPTS, backoff_s=0))


@pytest.mark.parametrize("name", KNOWN)
def test_names_and_addresses_are_those_of_astroquery(name: str) -> None:
    code = files("astroquery").joinpath(name).read_text()
    assert [text for text in KNOWN[name] if text not in code] == []


BAD_JSON = "is not JSON in MAST's format"
FAILURES: dict[str, tuple[type[ArchiveError], str, int, bytes | None]] = {
    "too many requests": (ArchiveError, "responded with 429", 429, b""),
    "unavailable": (ArchiveError, "responded with 503", 503, b""),
    "executing for ever": (ArchiveError, "still executing", 200, b'{"status": "EXECUTING"}'),
    "no answer": (ArchiveTimeoutError, "did not respond", 200, None),
    "gateway timeout": (ArchiveTimeoutError, "responded with 504", 504, b""),
    "timeout within JSON": (
        ArchiveTimeoutError,
        "timed out",
        200,
        b'{"status": "ERROR", "msg": "Query timed out (504)"}',
    ),
    "web page": (
        ArchiveError,
        "a web page instead of data",
        200,
        b"\n<!DOCTYPE html><html><body>Down for maintenance</body></html>",
    ),
    "cut JSON": (ArchiveError, BAD_JSON, 200, table(ROWS)[:-20]),
    "no UTF-8": (ArchiveError, BAD_JSON, 200, table(ROWS).replace(b"ibol", b"\xe9bol")),
    "JSON of another form": (ArchiveError, BAD_JSON, 200, b'{"status": "COMPLETE"}'),
    "a list": (ArchiveError, BAD_JSON, 200, b"[1, 2]"),
    "no paging": (ArchiveError, BAD_JSON, 200, table(ROWS, paging=None)),
    "fewer rows than none": (ArchiveError, BAD_JSON, 200, table([], -4)),
    "more rows than a number holds": (ArchiveError, BAD_JSON, 200, table(ROWS, 10**400)),
    "no body": (ArchiveError, "response is empty", 200, b""),
    "no rows of four": (ArchiveError, "0 of 4 rows came", 200, table([], 4)),
    "three rows of four": (PartialResultError, "3 of 4 rows came", 200, table(ROWS[:3], 4)),
    "four rows of three": (PartialResultError, "4 of 3 rows came", 200, table(ROWS, 3)),
    "a row twice": (PartialResultError, "some of 4 rows are repeated", 200, table([*ROWS[:3], ROWS[0]])),
    "null names": (ArchiveError, "obs_id is null in all 4 rows", 200, table([row | {"obs_id": None} for row in ROWS])),
    "null numbers": (ArchiveError, "obsid is null in all 4 rows", 200, table([row | {"obsid": None} for row in ROWS])),
    "an error of its own": (ArchiveError, "Invalid column", 200, b'{"status": "ERROR", "msg": "Invalid column"}'),
}


def failure(status: int, body: bytes | None) -> Respond:
    return silence(3 * TIMEOUT_S) if body is None else give(body, status)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in WAITED_S)) for name in FAILURES]
)
def test_each_way_to_fail_is_tried_again_and_then_a_typed_line_and_is_outlived(
    server: BadServer, mast: MastClient, name: str
) -> None:
    error, words, status, body = FAILURES[name]
    server.responses = [failure(status, body)]
    with pytest.raises(error, match=words) as caught:
        mast.observations(CRITERIA, page=1, page_size=10)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert len(queries_of(server)) >= ATTEMPTS
    server.responses = [failure(status, body), give(table(ROWS))]
    assert mast.observations(CRITERIA, page=1, page_size=10).rows == ROWS


def test_a_window_that_times_out_is_given_up_sooner(server: BadServer, mast: MastClient) -> None:
    server.responses = [give(b"", 504)]
    with pytest.raises(ArchiveTimeoutError):
        mast.observations(CRITERIA, page=1, page_size=10, tries=2)
    assert len(queries_of(server)) == 2


def test_a_query_that_times_out_is_given_up_also_while_the_host_is_down(server: BadServer) -> None:
    transport = make_transport(attempts=ATTEMPTS, backoff_s=0, breaker_failures=1, breaker_s=0, outage_s=3)
    server.responses = [give(b"", 504)]
    with pytest.raises(ArchiveTimeoutError):
        MastClient(server.url, transport).count(CRITERIA)
    assert len(queries_of(server)) == ATTEMPTS


def test_rows_of_one_observation_are_its_planes_unless_their_objid_is_repeated(
    server: BadServer, mast: MastClient
) -> None:
    planes = [ROWS[0] | {"objID": objid} for objid in (7, 8)]
    server.responses = [give(table(planes))]
    assert mast.observations(CRITERIA, page=1, page_size=10).rows == planes
    server.responses = [give(table([planes[0], planes[0]]))]
    with pytest.raises(PartialResultError):
        mast.observations(CRITERIA, page=1, page_size=10)


@pytest.mark.parametrize(
    "rows",
    [
        [{"Column1": None}],
        [{"Column1": "many"}],
        [{"Column1": "²"}],
        [{"Column1": "9" * 5000}],
        [{"Column1": -1}],
        [{"Column1": 1}, {"Column1": 1}],
        [{}],
        [],
    ],
)
def test_a_count_that_is_none_is_an_error(server: BadServer, mast: MastClient, rows: list[dict[str, Any]]) -> None:
    server.responses = [give(table(rows))]
    with pytest.raises(ArchiveError):
        mast.count(CRITERIA)


def products_of(mast: MastClient, *obsids: int) -> list[dict[str, Any]]:
    return mast.products_of([observation(obsid=obsid) for obsid in obsids])


def test_a_product_list_without_rows_is_sound(server: BadServer, mast: MastClient) -> None:
    server.responses = [give(table([]))]
    assert products_of(mast, 1, 2) == []


def test_products_are_asked_for_by_numbers_a_hundred_at_a_time(server: BadServer, mast: MastClient) -> None:
    server.responses = [give(table([]))]
    products_of(mast, *range(250))
    assert [len(item["params"]["obsid"].split(",")) for item in queries_of(server)] == [100, 100, 50]
    assert products_of(mast) == []


@pytest.mark.parametrize(
    ("lists", "accepted"),
    [
        (["ab"], "ab"),
        (["aa", "ab"], "ab"),
        (["aab", "abb"], "abb"),
        (["abca", "abdb", "abca"], "abca"),
        (["aa", "bb", "cc", "bb"], "bb"),
        (["aa", "bb", "cc", "dd", "d"], None),
    ],
)
def test_a_product_list_that_repeats_rows_is_accepted_when_another_has_the_same_rows(
    server: BadServer, mast: MastClient, lists: list[str], accepted: str | None
) -> None:
    rows = {name: {"obsID": 1, "dataURI": f"mast:{name}"} for name in "abcd"}
    server.responses = [give(table([rows[name] for name in names])) for names in lists]
    with nullcontext() if accepted else pytest.raises(PartialResultError, match="differ between responses"):
        assert products_of(mast, 1) == [rows[name] for name in accepted or ""]
    assert len(queries_of(server)) == min(len(lists), ATTEMPTS + 1)


def test_all_pages_of_a_long_product_list_are_requested_and_too_many_are_refused(
    server: BadServer, mast: MastClient
) -> None:
    rows = [{"obsID": 1, "dataURI": f"mast:{i}"} for i in range(PRODUCT_PAGE_ROWS + 1)]
    server.responses = [give(table(rows[:-1], len(rows))), give(table(rows[-1:], len(rows)))]
    assert products_of(mast, 1) == rows
    assert [query["page"] for query in queries_of(server)] == [1, 2]
    server.responses = [give(table(rows[:-1], MAX_PRODUCT_PAGES * PRODUCT_PAGE_ROWS + 1))]
    with pytest.raises(PartialResultError, match="1000001 products are too many"):
        products_of(mast, 1)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://mast.example/", {"mast.example": "token"}),
        ("http://mast.example", {}),
        ("http://[::1]:8", {"[::1]:8": "token"}),
    ],
)
def test_a_token_is_sent_over_https_or_within_the_machine(
    url: str, sent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = make_transport()
    monkeypatch.setenv("MAST_API_TOKEN", " token ")
    MastClient(url, transport)
    assert transport.tokens == sent
    monkeypatch.setenv("MAST_API_TOKEN", "two words")
    with pytest.raises(SettingsError, match="MAST_API_TOKEN holds odd characters"):
        MastClient(url, transport)
