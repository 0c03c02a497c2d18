"""An archive that is down stops the run early, in all threads, with one line; a missing file does not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.download import DownloadRequest, fetch_file
from hubbleclip.archives.http.rate_limit import CircuitBreaker
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, DownloadError
from hubbleclip.core.layout import Layout
from tests.archives.conftest import make_transport
from tests.bad_server import FITS, give

LIMITS = {"attempts": 3, "breaker_failures": 6, "breaker_s": 0}


def connect(transport: Transport, url: str) -> None:
    with transport.open(url):
        pass


def fetch(transport: Transport, url: str, root: Path, uri: str = "mast:x") -> object:
    request = DownloadRequest(uri=uri, file_name="a_drz.fits", size_bytes=None, layout=Layout(root))
    return fetch_file(transport, url, request)


def test_it_opens_at_the_last_failure_allowed_once_it_has_lasted_long_enough_and_says_what_to_do() -> None:
    patient, breaker = CircuitBreaker(2, 3600), CircuitBreaker(2, 0)
    for _ in range(5):
        patient.record_failure("mast", "503")
        breaker.record_failure("mast", "503")
        patient.check()
        breaker.check()
        breaker.record_success()
    for reason in ("503", "no response"):
        assert not breaker.is_open.is_set()
        breaker.record_failure("mast", reason)
    words = r"mast is down: 2 consecutive requests .* no response\. Run the same command again"
    with pytest.raises(ArchiveDownError, match=words):
        breaker.check()


def test_a_burst_of_failures_over_all_connections_stops_no_run(scripted, tmp_path: Path) -> None:
    transport = make_transport(attempts=10, breaker_failures=6)
    script = scripted(*[give(b"", 503)] * 8, give(FITS))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, transport, script.url, tmp_path, f"mast:{i}") for i in range(8)]
    assert [job.exception() for job in jobs] == [None] * 8


@pytest.mark.parametrize("response", [give(b"", 503), give(FITS[:100], length=len(FITS))], ids=["503", "cut off"])
def test_an_archive_that_fails_every_file_is_requested_until_the_breaker_opens(
    scripted, tmp_path: Path, response
) -> None:
    script, transport = scripted(response), make_transport(**LIMITS)
    errors = []
    for i in range(10):
        with pytest.raises(ArchiveError) as caught:
            fetch(transport, script.url, tmp_path, f"mast:{i}")
        errors.append(type(caught.value))
    assert errors == [DownloadError] + [ArchiveDownError] * 9
    assert len(script.seen) == 6


@pytest.mark.parametrize(
    ("response", "reason", "num_tries"),
    [
        (give(FITS[:-1]), "truncated", 3),
        (give(b"\x1f\x8b" * 1440), "damaged", 3),
        (give(b"<html>", Content_Type="text/html"), "html", 3),
        (give(b"", 404), "missing", 1),
    ],
    ids=["cut", "gzip", "html", "404"],
)
def test_complete_responses_are_no_failures_of_the_archive_whatever_is_in_them(
    scripted, tmp_path: Path, response, reason: str, num_tries: int
) -> None:
    script, transport = scripted(response), make_transport(**LIMITS | {"attempts": 8})
    for i in range(8):
        with pytest.raises(DownloadError) as caught:
            fetch(transport, script.url, tmp_path, f"mast:{i}")
        assert caught.value.reason == reason
    assert len(script.seen) == 8 * num_tries


@pytest.mark.parametrize("fails", ["connection", "503"])
def test_a_host_that_answered_before_is_waited_for(scripted, caplog: pytest.LogCaptureFixture, fails: str) -> None:
    transport = make_transport(**LIMITS | {"attempts": 9, "breaker_s": 0.2, "outage_s": 60.0})
    script = scripted(give(b"before"), *[give(b"", 503)] * (0 if fails == "connection" else 30), give(b"after"))
    assert transport.get(script.url).text == "before"
    if fails == "connection":
        script.begin_outage(3.0)
    with ThreadPoolExecutor(4) as pool:
        assert {answer.text for answer in pool.map(transport.get, [script.url] * 4)} == {"after"}
    assert f"waiting for {script.host}, which failed for 0 of at most 1 min" in caplog.text


def test_an_outage_that_lasts_too_long_ends_the_run_and_an_optional_host_is_not_waited_for(scripted) -> None:
    for outage_s, is_waited_for in ((0.5, True), (60.0, False)):
        transport = make_transport(**LIMITS | {"outage_s": outage_s})
        script = scripted(give(b"before"))
        transport.get(script.url)
        script.begin_outage(3.0)
        with pytest.raises((ArchiveDownError, requests.ConnectionError)):
            transport.retried(script.url, partial(connect, transport, script.url), is_waited_for=is_waited_for)


def test_waiting_threads_stop_at_once(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"", 503, Retry_After="60"))
    transport = make_transport(**LIMITS)
    threading.Timer(
        0.5, lambda: [transport.breaker_of(script.host).record_failure("mast", "test") for _ in range(6)]
    ).start()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, transport, script.url, tmp_path, f"mast:{i}") for i in range(8)]
    assert {type(job.exception()) for job in jobs} == {ArchiveDownError}
    assert len(script.seen) <= 8, "no thread retries after its pause"
