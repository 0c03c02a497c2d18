"""What an HTTP client receives for each kind of fault, and how the server counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from operator import ne
from urllib.parse import quote

import pytest
import requests

from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of
from tests.faulty_archive.archive import make_faulty_app, serving, with_faults
from tests.faulty_archive.plan import FaultPlan, FaultRule

SKY = SkySettings(num_proposals=6, frame_px=64)
ABSTRACTS = "/hst/abstracts.cat"


@pytest.fixture
def faulty() -> Iterator[Callable[..., str]]:
    """Serve an archive in a thread that injects one kind of fault into each request, or follows the given rules."""
    with ExitStack() as running:

        def start(*kinds: str, rules: tuple[FaultRule, ...] = ()) -> str:
            plan = FaultPlan(rules=rules or tuple(FaultRule(kind=kind) for kind in kinds))
            return running.enter_context(serving(make_faulty_app(with_faults(SKY, plan))))

        yield start


def get(url: str, path: str = ABSTRACTS, **more: object) -> requests.Response:
    return requests.get(url + path, timeout=20, **more)


def file_path() -> str:
    observation = observations_of(SKY, make_proposals(SKY)[0])[0]
    return f"/api/v0.1/Download/file?uri={quote(observation.products[0].uri)}"


@pytest.mark.parametrize("kind", ["500", "502", "503", "504", "429", "429_date"])
def test_a_status_fault_has_that_status_and_the_label(faulty: Callable[..., str], kind: str) -> None:
    response = get(faulty(kind))
    assert (response.status_code, response.headers["X-Simulated"]) == (int(kind[:3]), "true")
    later = response.headers.get("Retry-After")
    assert parsedate_to_datetime(later) if kind == "429_date" else later == ("1" if kind == "429" else None)


@pytest.mark.parametrize(
    ("kind", "timeout_s", "error"),
    [
        ("reset", 20, requests.ConnectionError),
        ("hang", 0.3, requests.ReadTimeout),
        ("truncated", 20, requests.exceptions.ChunkedEncodingError),
        ("wrong_length", 20, requests.exceptions.ChunkedEncodingError),
    ],
)
def test_a_response_that_does_not_end_is_an_error_of_the_client(
    faulty: Callable[..., str], kind: str, timeout_s: float, error: type[Exception]
) -> None:
    with pytest.raises(error):
        requests.get(faulty(kind) + file_path(), timeout=timeout_s)


@pytest.mark.parametrize(
    ("kind", "is_such"),
    [
        ("short_length", lambda whole, body: 0 < len(body) < len(whole) and whole.startswith(body)),
        ("html", lambda _, body: body.startswith(b"<!DOCTYPE html>")),
        ("empty", lambda _, body: body == b""),
        ("corrupted", lambda whole, body: whole[0] != body[0] and 1 <= sum(map(ne, whole, body)) <= 8),
    ],
)
def test_a_wrong_body_has_status_200_and_its_own_length(
    faulty: Callable[..., str], kind: str, is_such: Callable
) -> None:
    whole, wrong = get(faulty(), file_path()).content, get(faulty(kind), file_path())
    assert (wrong.status_code, int(wrong.headers["Content-Length"])) == (200, len(wrong.content))
    assert is_such(whole, wrong.content)


def test_the_server_counts_its_faults(faulty: Callable[..., str]) -> None:
    url = faulty(rules=(FaultRule(kind="503", times=2), FaultRule(kind="html", path="/hst", times=1)))
    for _ in range(5):
        get(url)
    assert get(url, "/faults").json() == {"503": 2, "html": 1}
