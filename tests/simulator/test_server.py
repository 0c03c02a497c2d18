"""The simulated archive over HTTP with plain requests; tests/archives test it with the project's client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests
from commands import until

from hubbleclip.core.errors import ArchiveError
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of, render_product
from hubbleclip.simulator.server.launcher import running_simulator
from hubbleclip.simulator.server.mast_tables import OBSERVATION_FIELDS, row_filter

SKY = SkySettings(num_proposals=6, frame_px=96)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator(SKY) as address:
        yield address
    assert not is_up(address)  # the server stops with its context


def ask(url: str, service: str, params: dict, **more: object) -> dict:
    request = quote(json.dumps({"service": service, "params": params, "format": "json", **more}))
    return requests.post(f"{url}/api/v0/invoke", data=f"request={request}", timeout=20).json()


def invoke(url: str, *request: object, **more: object) -> dict:
    """Ask, and again while the response asks to poll."""
    while (response := ask(url, *request, **more))["status"] == "EXECUTING":
        pass
    return response


def find_observations(url: str, *filters: dict, **more: object) -> dict:
    return invoke(url, "Mast.Caom.Filtered", {"columns": "*", "filters": list(filters)}, **more)


def first_product(url: str) -> tuple[bytes, str]:
    observation = observations_of(SKY, make_proposals(SKY)[0])[0]
    product = observation.products[0]
    return render_product(SKY, observation, product), f"{url}/api/v0.1/Download/file?uri={quote(product.uri)}"


def test_every_response_and_every_page_is_labelled_as_simulated(url: str) -> None:
    for path in ("", "hst/proposal_abstracts.html", "hst/abstracts.cat", "hst-program-info/program/?program=0", "none"):
        response = requests.get(f"{url}/{path}", timeout=20)
        assert response.headers["X-Simulated"] == "true"
        if "html" in response.headers["Content-Type"]:
            assert "imulated" in response.text.partition("</title>")[0]


def test_pages_partition_the_rows_and_a_count_is_one_row_of_one_column(url: str) -> None:
    whole = find_observations(url)
    pages = [find_observations(url, page=page, pagesize=4) for page in range(1, whole["paging"]["rowsTotal"] // 4 + 2)]
    assert [row for page in pages for row in page["data"]] == whole["data"]
    assert {page["paging"]["rowsTotal"] for page in pages} == {len(whole["data"])}
    assert pages[0]["paging"]["pagesFiltered"] == -(-len(whole["data"]) // 4)
    response = invoke(url, "Mast.Caom.Filtered", {"columns": "COUNT_BIG(*)", "filters": []})
    assert response["data"] == [{"Column1": len(whole["data"])}]
    assert response["fields"][0] == {"name": "Column1", "type": "string"}


def test_some_requests_must_be_polled_exactly_once(url: str) -> None:
    request = url, "Mast.Caom.Filtered", {"columns": "*", "filters": []}
    pairs = [[ask(*request, page=page, pagesize=1)["status"] for _ in range(2)] for page in range(1, 40)]
    assert {second for _, second in pairs} == {"COMPLETE"}
    assert 0 < sum(first == "EXECUTING" for first, _ in pairs) < 20


def test_an_unknown_service_or_column_is_an_error_with_status_200(url: str) -> None:
    assert invoke(url, "Mast.Nothing", {})["status"] == "ERROR"
    wrong = find_observations(url, {"paramName": "colour", "values": ["red"]})
    assert (wrong["status"], wrong["msg"]) == ("ERROR", "Invalid column name 'colour'.")


SOME = {"filters": "F814W;CLEAR2L", "instrument_name": "WFC3/UVIS", "s_ra": 10.0, "calib_level": 3}
ROW = dict.fromkeys(OBSERVATION_FIELDS) | SOME


@pytest.mark.parametrize(
    ("item", "is_met"),
    [
        ({"paramName": "filters", "values": ["F814W"]}, True),
        ({"paramName": "instrument_name", "values": [], "freeText": "WFC3%"}, True),
        ({"paramName": "instrument_name", "values": [], "freeText": "FC3%"}, False),
        ({"paramName": "instrument_name", "values": ["ACS/WFC"], "freeText": "%UVIS"}, True),
        ({"paramName": "calib_level", "values": ["2", "3"]}, True),
        ({"paramName": "s_ra", "values": [{"min": 10, "max": 11}]}, True),
        ({"paramName": "s_ra", "values": [{"min": 10.1, "max": 11}]}, False),
        ({"paramName": "s_dec", "values": [{"min": -90, "max": 90}]}, False),
    ],
)
def test_filters_work_as_in_mast(item: dict, is_met: bool) -> None:
    assert row_filter([item])(ROW) is is_met


def test_a_download_equals_the_rendered_file(url: str) -> None:
    data, address = first_product(url)
    response = requests.get(address, timeout=20)
    assert response.content == data
    assert int(response.headers["Content-Length"]) == len(data)


@pytest.mark.parametrize(
    ("range_spec", "if_range", "status", "part"),
    [
        ("1000-", "ETag", 206, slice(1000, None)),
        ("10-", "Last-Modified", 206, slice(10, None)),
        ("1000-", '"old"', 200, slice(None)),
        ("10-", "Thu, 01 Jan 1970 00:00:00 GMT", 200, slice(None)),
        ("5-9", None, 206, slice(5, 10)),
        ("-7", None, 206, slice(-7, None)),
        ("0-0", None, 206, slice(1)),
        ("3-999999999", None, 206, slice(3, None)),
        ("999999999-", None, 416, slice(0)),
    ],
)
def test_a_range_of_the_known_version_is_a_part_of_the_file(
    url: str, range_spec: str, if_range: str | None, status: int, part: slice
) -> None:
    data, address = first_product(url)
    known = requests.head(address, timeout=20).headers
    headers = {"Range": f"bytes={range_spec}"} | ({"If-Range": known.get(if_range, if_range)} if if_range else {})
    response = requests.get(address, headers=headers, timeout=20)
    size, places = len(data), range(len(data))[part]
    assert response.status_code == status and (status == 416 or response.content == data[part])
    spans = {200: None, 206: f"bytes {places.start}-{places.stop - 1}/{size}", 416: f"bytes */{size}"}
    assert response.headers.get("Content-Range") == spans[status]


@pytest.mark.parametrize("path", ["file", "/hst/abstracts.cat"])
def test_an_unchanged_version_is_304_and_every_response_has_its_version(url: str, path: str) -> None:
    address = first_product(url)[1] if path == "file" else url + path
    whole, head = requests.get(address, timeout=20), requests.head(address, timeout=20)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for name in ("ETag", "Last-Modified", "Content-Length"):
        assert head.headers[name] == whole.headers[name]
    for known in (
        {"If-None-Match": f'"other", {whole.headers["ETag"]}'},
        {"If-Modified-Since": whole.headers["Last-Modified"]},
    ):
        response = requests.get(address, headers=known, timeout=20)
        assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", whole.headers["ETag"])
    assert requests.get(address, headers={"If-None-Match": '"other"'}, timeout=20).content == whole.content


def test_a_cone_search_returns_the_observations_in_it_with_their_distance(url: str) -> None:
    centre = find_observations(url)["data"][3]
    params = {"columns": "*", "filters": [], "position": f"{centre['s_ra']}, {centre['s_dec']}, 0.01"}
    response = invoke(url, "Mast.Caom.Filtered.Position", params)
    assert centre["obs_id"] in {row["obs_id"] for row in response["data"]}
    assert {row["proposal_id"] for row in response["data"]} == {centre["proposal_id"]}
    assert all(row["distance"] < 36 for row in response["data"])
    assert {"name": "distance", "type": "float"} in response["fields"]
    everything = invoke(url, "Mast.Caom.Filtered.Position", params | {"position": "0, 0, 180"})
    assert everything["paging"]["rowsTotal"] == find_observations(url)["paging"]["rowsTotal"]


def test_a_port_in_use_is_a_one_line_error_that_names_the_setting(url: str) -> None:
    taken = SKY.model_copy(update={"port": int(url.rpartition(":")[2])})
    with pytest.raises(ArchiveError, match=r"set simulator\.port"), running_simulator(taken):
        pass


def is_up(address: str) -> bool:
    try:
        return requests.get(address, timeout=20).ok
    except requests.RequestException:
        return False


def test_the_server_dies_with_a_killed_parent() -> None:
    code = (
        "import sys, time; from hubbleclip.config.settings import SimulatorSettings; from hubbleclip.simulator.server.launcher import running_simulator\n"
        "with running_simulator(SimulatorSettings(num_proposals=1)) as url: print(url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        address = parent.stdout.readline().strip()
        assert is_up(address)
        parent.kill()
    until(lambda: not is_up(address), "the end of the server", 60)
