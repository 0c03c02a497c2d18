"""What a raw client sees of each kind of fault, and how a plan draws them."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import uvicorn

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator.observations import make_proposals, observations_of
from hubbleclip.simulator.server.app import serve
from hubbleclip.simulator.server.fault_injection import FAULT_INJECTORS
from hubbleclip.simulator.server.fault_plan import (
    STORM_FAULTS,
    FaultMiddleware,
    FaultPlan,
    FaultRule,
    read_plan,
    storm_plan,
)
from hubbleclip.simulator.server.launcher import restarting_simulator

SKY = SimulatorSettings(num_proposals=6, frame_px=64)
ABSTRACTS = "/hst/abstracts.cat"
QUERY = {"service": "Mast.Caom.Filtered", "params": {"columns": "*", "filters": []}, "format": "json"}


@pytest.fixture
def faulty() -> Iterator[Callable[..., str]]:
    """Serve an archive that always strikes so, or by these rules, in a thread."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(*kinds: str, rules: tuple[FaultRule, ...] = (), **plan: object) -> str:
        rules = rules or tuple(FaultRule(kind=kind) for kind in kinds)
        told: queue.SimpleQueue[tuple[str, uvicorn.Server]] = queue.SimpleQueue()
        on_ready = {"on_ready": lambda url, server: told.put((url, server))}
        thread = threading.Thread(target=serve, args=(SKY, FaultPlan(rules=rules, **plan)), kwargs=on_ready)
        thread.start()
        url, server = told.get(timeout=20)
        running.append((server, thread))
        return url

    yield start
    for server, thread in running:
        server.should_exit = server.force_exit = True
        thread.join()


def get(url: str, path: str = ABSTRACTS, **more: object) -> requests.Response:
    return requests.get(url + path, timeout=5, **more)


def query(url: str, **more: object) -> requests.Response:
    """One query; a request to poll is followed."""
    while True:
        answer = requests.post(f"{url}/api/v0/invoke", data="request=" + quote(json.dumps(QUERY | more)), timeout=5)
        if not answer.text.startswith('{"status":"EXECUTING"'):
            return answer


def file_path() -> str:
    observation = observations_of(SKY, make_proposals(SKY)[0])[0]
    return f"/api/v0.1/Download/file?uri={quote(observation.products[0].uri)}"


@pytest.mark.parametrize("kind", ["500", "502", "503", "504"])
def test_a_status_is_answered_and_labelled(faulty: Callable[..., str], kind: str) -> None:
    answer = get(faulty(kind))
    assert (answer.status_code, answer.headers["X-Simulated"]) == (int(kind), "true")


def test_too_many_requests_say_when_to_come_back(faulty: Callable[..., str]) -> None:
    assert get(faulty("429")).headers["Retry-After"] == "1"
    answer = get(faulty("429_date"))
    assert answer.status_code == 429
    assert 0 <= parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() - time.time() + 1 < 3


def test_a_skewed_clock_is_hours_off_in_sound_answers_and_in_retry_after(faulty: Callable[..., str]) -> None:
    sound, busy = get(faulty("clock_skew")), get(faulty("429_clock_skew"))
    assert (sound.status_code, busy.status_code) == (200, 429)
    for answer in (sound, busy):
        assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()) > 3000
    wait = parsedate_to_datetime(busy.headers["Retry-After"]) - parsedate_to_datetime(busy.headers["Date"])
    assert wait.total_seconds() == 1


def test_a_reset_breaks_the_connection(faulty: Callable[..., str]) -> None:
    with pytest.raises(requests.ConnectionError, match="reset"):
        get(faulty("reset"))


def test_a_hang_gives_no_answer_and_ends_with_the_server(faulty: Callable[..., str]) -> None:
    url = faulty("hang")
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.3)


def test_a_slow_drip_brings_a_few_bytes_at_a_time(faulty: Callable[..., str]) -> None:
    started = time.monotonic()
    with requests.get(faulty("slow_drip") + file_path(), timeout=5, stream=True) as answer:
        got = answer.raw.read(40)
    assert answer.status_code == 200
    assert got.startswith(b"SIMPLE")
    assert time.monotonic() - started > 0.3


@pytest.mark.parametrize("kind", ["hang", "slow_drip"])
def test_the_plan_bounds_how_long_a_fault_lasts(faulty: Callable[..., str], kind: str) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(faulty(kind, longest_s=0.4), file_path())


@pytest.mark.parametrize("kind", ["truncated", "wrong_length"])
def test_less_comes_than_the_length_says(faulty: Callable[..., str], kind: str) -> None:
    with requests.get(faulty(kind) + file_path(), timeout=5, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            _ = answer.content


def test_a_short_length_hides_the_end(faulty: Callable[..., str]) -> None:
    whole, short = get(faulty(), file_path()).content, get(faulty("short_length"), file_path()).content
    assert 0 < len(short) < len(whole)
    assert whole.startswith(short)


def test_html_and_nothing_come_with_status_200(faulty: Callable[..., str]) -> None:
    page, nothing = get(faulty("html"), file_path()), get(faulty("empty"), file_path())
    assert (page.status_code, nothing.status_code) == (200, 200)
    assert page.text.startswith("<!DOCTYPE html>")
    assert (nothing.content, nothing.headers["Content-Length"]) == (b"", "0")


def test_corrupted_bytes_have_the_right_length_and_a_wrong_beginning(faulty: Callable[..., str]) -> None:
    calm, struck = faulty(), faulty("corrupted")
    whole, flipped = get(calm, file_path()).content, get(struck, file_path()).content
    assert len(flipped) == len(whole)
    assert 1 <= sum(one != other for one, other in zip(whole, flipped, strict=True)) <= 8
    assert flipped[0] != whole[0]
    with pytest.raises(requests.exceptions.JSONDecodeError):
        query(struck).json()


def test_a_part_of_a_file_is_never_corrupted_since_no_client_could_know(faulty: Callable[..., str]) -> None:
    calm, struck = faulty(), faulty("corrupted")
    part = {"Range": "bytes=100-"}
    assert get(struck, file_path(), headers=part).content == get(calm, file_path(), headers=part).content
    assert get(struck, "/faults").json() == {"corrupted": 0}


def test_a_query_runs_for_ever(faulty: Callable[..., str]) -> None:
    url = faulty("busy")
    data = "request=" + quote(json.dumps(QUERY))
    answers = [requests.post(f"{url}/api/v0/invoke", data=data, timeout=5).json() for _ in range(4)]
    assert [answer["status"] for answer in answers] == ["EXECUTING"] * 4


def test_bad_json_is_no_json(faulty: Callable[..., str]) -> None:
    answer = query(faulty("bad_json"))
    assert answer.headers["Content-Type"] == "application/json"
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("kind", ["duplicated_page", "missing_page"])
def test_rows_repeat_or_are_missing_while_the_totals_stay_true(faulty: Callable[..., str], kind: str) -> None:
    calm, struck = query(faulty()).json(), query(faulty(kind)).json()
    assert struck["paging"] == calm["paging"]
    names = [row["obs_id"] for row in struck["data"]]
    assert set(names) < {row["obs_id"] for row in calm["data"]}
    assert (len(names) == len(calm["data"])) is (kind == "duplicated_page")


def test_null_columns_take_every_rows_name(faulty: Callable[..., str]) -> None:
    calm, struck = query(faulty()).json(), query(faulty("null_columns")).json()
    assert struck["fields"] == calm["fields"]
    assert {row["obs_id"] for row in struck["data"]} == {None}


def test_pages_in_changed_order_repeat_some_rows_and_lack_others(faulty: Callable[..., str]) -> None:
    url = faulty("shuffled")
    total = query(url).json()["paging"]["rowsTotal"]
    pages = [query(url, page=page, pagesize=4).json()["data"] for page in range(1, -(-total // 4) + 1)]
    names = [row["obs_id"] for page in pages for row in page]
    assert len(names) == total > len(set(names))


def test_every_kind_is_in_the_storm() -> None:
    assert {kind for kinds in STORM_FAULTS.values() for kind in kinds} == set(FAULT_INJECTORS)


def test_the_server_counts_what_it_struck(faulty: Callable[..., str]) -> None:
    url = faulty(rules=(FaultRule(kind="503", times=2), FaultRule(kind="html", path="/hst", times=1)))
    for _ in range(5):
        get(url)
    assert get(url, "/faults").json() == {"503": 2, "html": 1}


def drawn(plan: FaultPlan, path: str, keys: list[str]) -> list[str | None]:
    """The faults that a sequence of requests would meet."""
    middleware = FaultMiddleware(lambda *_: None, plan)
    return [middleware.draw(path, key)[0] for key in keys]


@pytest.mark.parametrize("path", STORM_FAULTS)
def test_a_storm_strikes_a_third_of_all_requests_with_all_that_fits_their_path(path: str) -> None:
    found = Counter(drawn(storm_plan(7), path, [f"{number // 3}" for number in range(6000)]))
    assert 0.30 < 1 - found.pop(None) / 6000 < 0.40
    assert set(found) == set(STORM_FAULTS[path])
    assert max(found.values()) < 3 * min(found.values())


def test_no_request_is_struck_more_than_twice_in_a_row() -> None:
    found = drawn(storm_plan(3), ABSTRACTS, ["same"] * 3000)
    assert max(len(list(run)) for is_struck, run in groupby(found, bool) if is_struck) == 2


def test_draws_hang_on_the_seed_and_on_the_request_alone() -> None:
    keys = [f"{number % 50}" for number in range(500)]
    first = dict(zip(enumerate(keys), drawn(storm_plan(1), ABSTRACTS, keys), strict=True))
    assert list(first.values()) != drawn(storm_plan(2), ABSTRACTS, keys)
    alone = [kind for (_, key), kind in first.items() if key == "7"]
    assert drawn(storm_plan(1), ABSTRACTS, ["7"] * 10) == alone


def test_the_same_question_is_known_again_whatever_breaks_its_cache(faulty: Callable[..., str]) -> None:
    url = faulty(rules=(FaultRule(kind="500"),), max_in_a_row=1)
    bodies = ["request=" + quote(json.dumps(QUERY | {"cacheBreaker": f"2024-01-0{day}T00:00"})) for day in range(1, 5)]
    statuses = [requests.post(f"{url}/api/v0/invoke", data=body, timeout=5).status_code for body in bodies]
    assert statuses == [500, 200, 500, 200]


def test_a_plan_is_named_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(storm_plan(4).model_dump_json())
    assert read_plan("storm") == storm_plan(0)
    assert read_plan("storm:4") == storm_plan(4) == read_plan(str(file))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"rules": [{"kind": "flood"}]}', r"rules\.0\.kind: .*the kinds are 500"),
        ('{"rules": [{"kind": "500", "share": 2}]}', r"rules\.0\.share"),
        ("{", "the file: Invalid JSON"),
        (None, "give storm, storm:SEED or the path of a JSON file"),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "plan.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        read_plan(str(file))
    assert "\n" not in str(caught.value)


def test_a_restarted_server_comes_back_on_its_port() -> None:
    statuses = Counter[int]()
    with restarting_simulator(SKY, waits_s=(0.2, 0.2), down_s=0.3) as archive:
        deadline = time.monotonic() + 20
        while archive.count < 2 and time.monotonic() < deadline:
            try:
                statuses[get(archive.url).status_code] += 1
            except requests.ConnectionError:
                statuses[0] += 1
            time.sleep(0.02)
        assert get(archive.url).status_code == 200
    assert statuses[0] > 0
    assert archive.count == 2
