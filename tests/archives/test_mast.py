"""A typed error for each way in which MAST fails, by a small server that fails so; and what a sound answer must hold."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.response_errors import DamagedError
from hubbleclip.archives.mast.client import MastClient, read_result
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveTimeoutError,
    BadJsonError,
    EmptyResultError,
    NullColumnsError,
    PartialResultError,
    WebPageError,
)
from hubbleclip.simulator.server.mast_tables import columns_config

FETCH = FetchSettings(requests_per_s=1000, backoff_s=0, attempts=3, timeout_s=0.2)
CRITERIA = {"obs_collection": ["HST"], "t_obs_release": [0, 1]}
ROWS = [{"obs_id": f"ibol0{i}010", "obsid": str(i), "proposal_id": "1"} for i in range(4)]
Answerer = Callable[[dict[str, Any]], tuple[int, bytes | None]]


def table(rows: list[dict[str, Any]], total: int | None = None, **members: object) -> bytes:
    paging = {"page": 1, "pagesFiltered": 1, "rows": len(rows), "rowsFiltered": len(rows) if total is None else total}
    return json.dumps({"status": "COMPLETE", "data": rows, "fields": [], "paging": paging, **members}).encode()


class Server(ThreadingHTTPServer):
    """Answers a query by `answerer`: status and body, or no answer at all."""

    daemon_threads = True
    answerer: Answerer
    asked: list[dict[str, Any]]


class Endpoint(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, data = 200, json.dumps(columns_config("Mast.Caom.Cone")).encode()
        if not self.path.startswith("/portal"):
            self.server.asked.append(json.loads(parse_qs(body)["request"][0]))
            status, told = self.server.answerer(self.server.asked[-1])
            if told is None:
                time.sleep(3 * FETCH.timeout_s)
            data = told or b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Endpoint)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def mast(server: Server) -> MastClient:
    return MastClient(f"http://127.0.0.1:{server.server_port}", Transport(FETCH))


FAILURES: dict[str, tuple[type[ArchiveError], int, bytes | None]] = {
    "too many requests": (ArchiveBusyError, 429, b""),
    "unavailable": (ArchiveBusyError, 503, b""),
    "executing for ever": (ArchiveBusyError, 200, b'{"status": "EXECUTING"}'),
    "no answer": (ArchiveTimeoutError, 200, None),
    "gateway timeout": (ArchiveTimeoutError, 504, b""),
    "timeout within JSON": (ArchiveTimeoutError, 200, b'{"status": "ERROR", "msg": "Query timed out (504)"}'),
    "web page": (WebPageError, 200, b"\n<!DOCTYPE html><html><body>Down for maintenance</body></html>"),
    "cut JSON": (BadJsonError, 200, table(ROWS)[:-20]),
    "no UTF-8": (BadJsonError, 200, table(ROWS).replace(b"ibol", b"\xe9bol")),
    "JSON of another form": (BadJsonError, 200, b'{"status": "COMPLETE"}'),
    "a list": (BadJsonError, 200, b"[1, 2]"),
    "no paging": (BadJsonError, 200, table(ROWS, paging=None)),
    "fewer rows than none": (BadJsonError, 200, table([], -4)),
    "more rows than a number holds": (BadJsonError, 200, table(ROWS, 10**400)),
    "no body": (EmptyResultError, 200, b""),
    "no rows of four": (EmptyResultError, 200, table([], 4)),
    "three rows of four": (PartialResultError, 200, table(ROWS[:3], 4)),
    "four rows of three": (PartialResultError, 200, table(ROWS, 3)),
    "a row twice": (PartialResultError, 200, table([*ROWS[:3], ROWS[0]])),
    "null names": (NullColumnsError, 200, table([row | {"obs_id": None} for row in ROWS])),
    "null numbers": (NullColumnsError, 200, table([row | {"obsid": None} for row in ROWS])),
    "an error of its own": (ArchiveError, 200, b'{"status": "ERROR", "msg": "Invalid column"}'),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_way_to_fail_is_tried_again_and_then_a_typed_line(server: Server, mast: MastClient, name: str) -> None:
    error, status, body = FAILURES[name]
    server.answerer = lambda _: (status, body)
    with pytest.raises(error) as caught:
        mast.observations(CRITERIA, page=1, page_size=10)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert len(server.asked) >= FETCH.attempts


@pytest.mark.parametrize("name", FAILURES)
def test_each_way_to_fail_is_outlived(server: Server, mast: MastClient, name: str) -> None:
    _, status, body = FAILURES[name]
    server.answerer = lambda _: (status, body) if len(server.asked) < 3 else (200, table(ROWS))
    assert mast.observations(CRITERIA, page=1, page_size=10).rows == ROWS


def test_a_window_that_times_out_is_given_up_sooner(server: Server, mast: MastClient) -> None:
    server.answerer = lambda _: (504, b"")
    with pytest.raises(ArchiveTimeoutError):
        mast.observations(CRITERIA, page=1, page_size=10, tries=2)
    assert len(server.asked) == 2


@pytest.mark.parametrize("num", [1, 4])
def test_rows_without_proposal_are_a_sound_page(server: Server, mast: MastClient, num: int) -> None:
    rows = [row | {"proposal_id": None} for row in ROWS[:num]]
    server.answerer = lambda _: (200, table(rows))
    assert mast.observations(CRITERIA, page=1, page_size=10).rows == rows


def test_rows_of_one_observation_are_its_planes_unless_their_objid_is_repeated(
    server: Server, mast: MastClient
) -> None:
    planes = [ROWS[0] | {"objID": objid} for objid in (7, 8)]
    server.answerer = lambda _: (200, table(planes))
    assert mast.observations(CRITERIA, page=1, page_size=10).rows == planes
    server.answerer = lambda _: (200, table([planes[0], planes[0]]))
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
def test_a_count_that_is_none_is_an_error(server: Server, mast: MastClient, rows: list[dict[str, Any]]) -> None:
    server.answerer = lambda _: (200, table(rows))
    with pytest.raises(ArchiveError):
        mast.count(CRITERIA)


def test_wildcards_and_ranges_reach_the_server_in_its_own_form(server: Server, mast: MastClient) -> None:
    server.answerer = lambda _: (200, table([{"Column1": "4"}]))
    assert mast.count({"instrument_name": ["WFC3*"], "t_obs_release": [1.5, 2], "calib_level": [2, 3]}) == 4
    assert server.asked[0]["params"]["filters"] == [
        {"paramName": "instrument_name", "values": [], "freeText": "WFC3%"},
        {"paramName": "t_obs_release", "values": [{"min": 1.5, "max": 2}]},
        {"paramName": "calib_level", "values": ["2", "3"]},
    ]


def test_a_product_list_without_rows_is_sound(server: Server, mast: MastClient) -> None:
    server.answerer = lambda _: (200, table([]))
    assert mast.products([1, 2]) == []


def test_products_are_asked_for_by_numbers_a_hundred_at_a_time(server: Server, mast: MastClient) -> None:
    server.answerer = lambda _: (200, table([]))
    mast.products(range(250))
    assert [len(item["params"]["obsid"].split(",")) for item in server.asked] == [100, 100, 50]
    assert mast.products([]) == []


def test_a_product_list_that_repeats_rows_is_believed_when_told_twice(server: Server, mast: MastClient) -> None:
    whole = [{"obsID": 1, "dataURI": f"mast:{i}"} for i in (0, 1, 2, 0)]
    struck = [{"obsID": 1, "dataURI": f"mast:{i}"} for i in (0, 1, 0, 1)]
    server.answerer = lambda _: (200, table(struck if len(server.asked) == 1 else whole))
    assert mast.products([1]) == whole
    assert len(server.asked) == 3


def test_product_lists_that_never_agree_are_an_error(server: Server, mast: MastClient) -> None:
    server.answerer = lambda _: (200, table([{"obsID": 1, "dataURI": f"mast:{len(server.asked)}"}] * 2))
    with pytest.raises(PartialResultError, match="differ"):
        mast.products([1])


@pytest.mark.parametrize(("page", "num_rows"), [(1, 10), (2, 10), (3, 4), (4, 0)])
def test_each_page_has_the_rows_that_fall_to_it(page: int, num_rows: int) -> None:
    rows = [{"obsid": i} for i in range(num_rows)]
    assert read_result([table(rows, 24)], ("obsid",), page=page, pagesize=10).total == 24
    with pytest.raises(DamagedError):
        read_result([table([*rows, {"obsid": 99}], 24)], ("obsid",), page=page, pagesize=10)
