"""The HTTP client: rate limit, Retry-After, redirects, timeouts, typed errors, and the end of a run whose archive is down."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from urllib3.exceptions import MaxRetryError, SSLError

from hubbleclip.archives.http import client, rate_limit
from hubbleclip.archives.http.client import Transport, is_unreachable, to_archive_error
from hubbleclip.archives.http.rate_limit import (
    MAX_RETRY_AFTER_S,
    CircuitBreaker,
    RateLimiter,
    resolve_redirect,
    retry_after_s,
)
from hubbleclip.archives.http.responses import DamagedError, IncompleteError, RefusedError, ResponseError
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core import io
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, DownloadError
from tests.archives.conftest import fetch, make_transport
from tests.bad_server import FITS, Respond, drip, drip_headers, give


def test_the_rate_limit_holds_over_threads() -> None:
    limiter = RateLimiter(100)
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [limiter.wait() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 19 / 100


class Clock:
    """A clock that only moves where someone waits; it is also the event that ends a pause, and that never happens."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def is_set(self) -> bool:
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (rate_limit, client):
        monkeypatch.setattr(module, "time", made)
    return made


def test_turns_are_shared_by_all_hosts_and_pauses_are_of_one(clock: Clock) -> None:
    limiter, times = RateLimiter(2), []
    asked = [("a", 0), ("a", 0), ("b", 0), ("a", 3), ("b", 0), ("b", 0), ("a", 0), ("a", 600), ("a", 5), ("b", 120)]
    for host, pause_s in asked:
        if pause_s:
            limiter.pause_host(host, pause_s)
        else:
            limiter.wait(host, clock)
            times.append((host, clock.now_s))
    assert times == [("a", 0), ("a", 0.5), ("b", 1), ("b", 1.5), ("b", 2), ("a", 4)]
    limiter.check_pause("b")
    with pytest.raises(ArchiveDownError, match="a asks for a pause of 600 s"):
        limiter.wait("a", clock, is_waited_for=False)
    limiter.wait("a", clock)
    assert clock.now_s == 604
    clock.wait(10)  # turns are not saved up
    for expected in (614, 614.5):
        limiter.wait("c", clock)
        assert clock.now_s == expected


def test_a_host_is_down_and_its_breaker_opens_after_failures_and_times_in_a_row(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker, states = CircuitBreaker(3, 60, 600), []
    for now_s in (0, 10, 20, 60, 70, 120, 599, 600):
        clock.now_s = 1000 + now_s
        breaker.record_failure("mast", f"at {now_s}")
        states.append((now_s, breaker.is_down(), breaker.is_open.is_set(), len(caplog.records)))
    assert [state[1:] for state in states[:5]] == [*[(False, False, 0)] * 3, *[(True, False, 1)] * 2]
    assert [state[1:] for state in states[5:]] == [(True, False, 2), (True, False, 3), (True, True, 3)]
    assert caplog.messages[1] == "waiting for mast, failing for 2 min (limit 10 min): at 120"
    words = r"mast is down: 8 consecutive requests failed, the last with: at 600\. Run the same command again"
    with pytest.raises(ArchiveDownError, match=words):
        breaker.check()
    again = CircuitBreaker(2, 60, 600)
    for now_s, has_failed in ((0, True), (50, False), (70, True), (131, True), (132, False), (140, True), (141, True)):
        clock.now_s = now_s
        if has_failed:
            again.record_failure("mast", "503")
        else:
            again.record_success()
        again.check()
        if again.is_down():
            with pytest.raises(ArchiveDownError):
                again.check(is_waited_for=False)
        assert again.is_down() == (now_s == 131)


@pytest.mark.parametrize(
    ("pieces", "reason", "num"),
    [
        ([(1000, 5)] * 4, "", 4),
        ([(9000, 1), (10, 9), (10, 1), (10, 10), (10, 1)], "stalled", 5),  # fast at first
        ([(10, 5), (10, 4), (990, 2), (1000, 11), (10, 1)], "", 5),
        ([(900, 10)] * 5, "", 5),
        ([(1000, 11)] * 10, "timeout", 4),
        ([(9000, 1)] * 3, "too_large", 2),
    ],
)
def test_a_body_is_too_slow_over_intervals_as_a_whole_or_too_large(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, pieces: list[tuple[int, float]], reason: str, num: int
) -> None:
    """Each piece has a size and the time for which it is waited for; at least 1,000 bytes must come in 10 s."""
    monkeypatch.setattr(io, "time", clock)
    transport, left, found = make_transport(stall_s=10, stall_bytes=1000, file_timeout_s=50), iter(pieces), []

    def read(_: int) -> bytes:
        size, seconds = next(left, (0, 0))
        clock.wait(seconds)
        return bytes(size)

    response = SimpleNamespace(raw=SimpleNamespace(connection=None, read1=read))
    with nullcontext() if not reason else pytest.raises((IncompleteError, RefusedError)) as caught:
        found.extend(transport.iter_chunks(response, 20_000))  # type: ignore[arg-type]
    assert (caught.value.reason if reason else "", len(found)) == (reason, num)


@pytest.mark.parametrize(
    ("errors", "most_damaged", "num"),
    [
        ([DamagedError("x")], None, 4),
        ([DamagedError("x")], 2, 2),
        ([IncompleteError("x")], 2, 4),
        ([IncompleteError("x"), DamagedError("x"), IncompleteError("x"), DamagedError("x")], 2, 4),
        ([DamagedError("x"), IncompleteError("x"), DamagedError("x")], 2, 3),
        ([DamagedError("x"), None], 2, 2),
        ([RefusedError("x")], None, 1),
        ([requests.ReadTimeout(), requests.ConnectionError(), None], None, 3),
        ([requests.exceptions.ChunkedEncodingError()], None, 4),
        ([requests.TooManyRedirects()], None, 1),
        *(([status], None, 4) for status in (408, 425, 429, 500, 503)),
        *(([status], None, 1) for status in (400, 401, 404, 410)),
        ([ArchiveError("x")], None, 1),
    ],
)
def test_what_may_pass_is_tried_again_up_to_the_limits(
    errors: list[Exception | int | None], most_damaged: int | None, num: int
) -> None:
    tries: list[object] = []

    def send() -> str:
        tries.append(error := errors[min(len(tries), len(errors) - 1)])
        if error is None:
            return "sent"
        raise error_of(error) if isinstance(error, int) else error

    with nullcontext() if None in errors else pytest.raises((requests.RequestException, ResponseError, ArchiveError)):
        assert make_transport(backoff_s=0.001).retried("http://host/x", send, most_damaged) == "sent"
    assert len(tries) == num


@pytest.mark.timeout(30)
def test_a_long_pause_of_a_host_that_is_not_waited_for_ends_the_tries(scripted) -> None:
    script, transport = scripted(give(b"", 503, Retry_After="600")), make_transport()
    with pytest.raises(ArchiveDownError, match="asks for a pause of 600 s"):
        transport.retried(script.url, lambda: transport.ask(script.url), is_waited_for=False)
    assert len(script.seen) == 1


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_retry_after_is_waited_for_too_long_or_fails(text: str, date: str) -> None:
    seconds = retry_after_s({"Retry-After": text, "Date": date})
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("answer", "hasty", "words"),
    [
        (drip(b"x" * 1000, 10), {"stall_s": 0.2, "stall_bytes": 1000}, "fewer than 1000 bytes|Read timed out"),
        (drip(b"x" * 1000, 10), {"timeout_s": 0.1}, "did not end within 0.5 s|Read timed out"),
        (drip_headers, {}, "Read timed out|did not arrive in time"),
    ],
    ids=["stalled body", "slow body", "head"],
)
def test_a_query_is_given_up_when_its_answer_drips(
    scripted, answer: Respond, hasty: dict[str, float], words: str
) -> None:
    transport = make_transport(**{"timeout_s": 0.5} | hasty)
    with pytest.raises((DamagedError, requests.ReadTimeout), match=words):
        transport.ask(scripted(answer).url, data={"request": "{}"})


def test_the_token_of_mast_is_sent_to_mast_alone(
    scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAST_API_TOKEN", "secret-token")
    caplog.set_level("DEBUG")
    other = scripted(give(b"file"))
    script = scripted(give(b"", 302, Location=other.url), give(b"page"))
    transport = make_transport(redirect_hosts=(other.host,))
    MastClient(script.url, transport)
    assert (transport.get(script.url).text, transport.ask(script.url, json={}).text) == ("file", "page")
    assert [seen.get("Cookie") for seen in (*script.seen, *other.seen)] == ["mast_token=secret-token"] * 2 + [None]
    assert "secret-token" not in caplog.text


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_redirected_post_is_a_get_unless_the_status_keeps_it(scripted, status: int, method: str) -> None:
    script = scripted(give(b"", status, Location="/b"), give(b"page"))
    assert make_transport().ask(script.url, data={"a": "b"}).text == "page"
    assert [(seen["method"], seen["body"]) for seen in script.seen[1:]] == [(method, "a=b" if method == "POST" else "")]


def test_no_cookie_of_a_response_is_kept(scripted) -> None:
    script, transport = scripted(give(b"", Set_Cookie="a=b")), make_transport()
    transport.ask(script.url)
    assert not transport.session.cookies


@pytest.mark.parametrize("page", [give(b"x" * 1000, 404), drip(b"x" * 1000, 10, status=404)], ids=["large", "stalled"])
def test_an_error_status_counts_before_its_page_and_is_seen_by_the_hooks(scripted, page: Respond) -> None:
    transport, seen = make_transport(timeout_s=0.1), []
    transport.session.hooks["response"].append(lambda response: seen.append((response.status_code, response.content)))
    with pytest.raises(requests.HTTPError):
        transport.get(scripted(page).url, limit_bytes=100)
    assert [status for status, _ in seen] == [404]


def test_connections_are_reused(scripted) -> None:
    script, transport = scripted(give(b"x")), make_transport()
    for _ in range(5):
        transport.get(script.url)
        transport.ask(script.url, json={})
    assert len({seen["port"] for seen in script.seen}) == 1


def test_a_host_that_is_down_does_not_affect_another(scripted) -> None:
    transport = make_transport(attempts=1, breaker_failures=1, breaker_s=0)
    down, up = scripted(give(b"", 500)), scripted(give(b"fine"))
    with pytest.raises(ArchiveError):
        transport.get(down.url)
    with pytest.raises(ArchiveDownError):
        transport.get(down.url)
    assert transport.get(up.url).text == "fine"
    assert len(down.seen) == 1


def test_a_compressed_page_is_decompressed(scripted) -> None:
    script, transport = scripted(give(gzip.compress(b"page"), Content_Encoding="gzip")), make_transport()
    assert transport.get(script.url).content == transport.ask(script.url, json={}).content == b"page"


HTTP, PAGE, LOCAL, PUBLIC = "http://here/a", "https://here/hst/a.html", "http://127.0.0.1/a", "http://8.8.8.8/a"
STORE, LIST = "http://store.example:8080/b", "https://here/hst/abstracts.cat"
PRIVATE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[fe80::1]", "0.0.0.0")


@pytest.mark.parametrize(
    ("url", "location", "named", "resolved"),
    [
        *((HTTP, other, (), None) for other in ("http://other/x", "//other/x", "ftp://here/x", "http://here:81/x")),
        *((HTTP, other, (), None) for other in ("http://[", "http://here:x/", "https://me@here/")),
        *((PAGE, other, (), None) for other in ("http://other/x", "http://here:8080/x", "http://me@here:81/x")),
        *((HTTP, own, (), "http://here/b") for own in ("/b", "b", "http://here/b")),
        (HTTP, "https://here/b", (), "https://here/b"),
        *((PAGE, f"http://{host}/hst/abstracts.cat", (), LIST) for host in ("here", "here:80", "HERE")),
        *(
            (LOCAL, STORE, (name,), STORE)
            for name in ("store.example", "store.example:8080", "*.example:8080", "store.*")
        ),
        (LOCAL, "http://127.0.0.2/b", ("127.*",), "http://127.0.0.2/b"),  # from a private network to such
        *((PUBLIC, f"http://{host}/b", ("*",), None) for host in PRIVATE),
        *((PUBLIC, f"http://{host}/b", (host.strip("[]"),), f"http://{host}/b") for host in PRIVATE),
    ],
)
def test_a_link_leads_to_the_same_host_or_a_named_one_and_never_unnamed_into_a_private_network(
    url: str, location: str, named: tuple[str, ...], resolved: str | None
) -> None:
    if resolved:
        assert resolve_redirect(url, location, named) == resolved
    else:
        with pytest.raises(RefusedError, match="private network" if named else None):
            resolve_redirect(url, location, named)


def test_redirects_to_a_host_that_is_not_named_or_in_a_circle_are_errors(scripted) -> None:
    for location, words in (scripted(give(b"")).url, r"fetch\.redirect_hosts"), ("/again", "more than 5 redirects"):
        with pytest.raises(ArchiveError, match=words):
            make_transport().get(scripted(give(b"", 302, Location=location)).url)


def test_the_user_agent_names_the_contact(scripted) -> None:
    script = scripted(give(b""))
    make_transport(contact="me@example.org").get(script.url)
    assert script.seen[0]["User-Agent"].startswith("hubbleclip/")
    assert "(+me@example.org)" in script.seen[0]["User-Agent"]


@pytest.mark.parametrize("contact", ["me\nX-Evil: 1", "me\r", "(me)", "\x00", "mé", "x" * 201])
def test_a_contact_that_no_header_can_hold_is_refused(contact: str) -> None:
    with pytest.raises(ValidationError):
        FetchSettings(contact=contact)


def test_a_certificate_that_cannot_be_verified_is_named() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = requests.exceptions.SSLError(MaxRetryError(None, "/hst", SSLError(cause)))  # type: ignore[arg-type]
    assert is_unreachable(error)
    named = to_archive_error(error, "https://mast.example/hst")
    assert isinstance(named, ArchiveDownError)
    assert str(named).startswith("the certificate of mast.example cannot be verified (self-signed certificate): ")
    assert "REQUESTS_CA_BUNDLE" in str(named)


@pytest.mark.parametrize(("scheme", "is_up"), [("http", False), ("https", False), ("https", True)])
def test_a_proxy_that_fails_or_refuses_is_named(scripted, scheme: str, is_up: bool) -> None:
    proxy = scripted(give(b"")).host if is_up else "127.0.0.1:9"  # the server does not know CONNECT
    with pytest.raises(requests.exceptions.ProxyError) as caught:
        requests.get(f"{scheme}://mast.example/hst", proxies={scheme: f"http://{proxy}"}, timeout=10)
    named = to_archive_error(caught.value, f"{scheme}://mast.example/hst")
    assert isinstance(named, ArchiveDownError)
    assert str(named).startswith("the proxy gives no connection to mast.example (")
    assert ("Tunnel connection failed: 501" in str(named)) == is_up
    assert "HTTPS_PROXY" in str(named)


def error_of(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


LIMITS = {"attempts": 3, "breaker_failures": 6, "breaker_s": 0}


def connect(transport: Transport, url: str) -> None:
    with transport.open(url):
        pass


def test_a_burst_of_failures_over_all_connections_stops_no_run(scripted, tmp_path: Path) -> None:
    transport = make_transport(attempts=10, breaker_failures=6)
    script = scripted(*[give(b"", 503)] * 8, give(FITS))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, script, tmp_path, transport=transport, uri=f"mast:{i}") for i in range(8)]
    assert [job.exception() for job in jobs] == [None] * 8


@pytest.mark.parametrize("response", [give(b"", 503), give(FITS[:100], length=len(FITS))], ids=["503", "cut off"])
def test_an_archive_that_fails_every_file_is_requested_until_the_breaker_opens(
    scripted, tmp_path: Path, response
) -> None:
    script, transport = scripted(response), make_transport(**LIMITS)
    errors = []
    for i in range(10):
        with pytest.raises(ArchiveError) as caught:
            fetch(script, tmp_path, transport=transport, uri=f"mast:{i}")
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
            fetch(script, tmp_path, transport=transport, uri=f"mast:{i}")
        assert caught.value.reason == reason
    assert len(script.seen) == 8 * num_tries


@pytest.mark.parametrize("fails", ["connection", "503"])
def test_a_host_that_answered_before_is_waited_for(scripted, caplog: pytest.LogCaptureFixture, fails: str) -> None:
    transport = make_transport(**LIMITS | {"attempts": 9, "breaker_s": 0.2, "outage_s": 60.0})
    script = scripted(give(b"before"), *[give(b"", 503)] * (0 if fails == "connection" else 30), give(b"after"))
    assert transport.get(script.url).text == "before"
    if fails == "connection":
        script.begin_outage(1.0)
    with ThreadPoolExecutor(4) as pool:
        assert {answer.text for answer in pool.map(transport.get, [script.url] * 4)} == {"after"}
    assert f"waiting for {script.host}, failing for 0 min (limit 1 min)" in caplog.text


def test_an_outage_that_lasts_too_long_ends_the_run_and_an_optional_host_is_not_waited_for(scripted) -> None:
    for outage_s, is_waited_for in ((0.5, True), (60.0, False)):
        transport = make_transport(**LIMITS | {"outage_s": outage_s})
        script = scripted(give(b"before"))
        transport.get(script.url)
        script.begin_outage(3.0)
        with pytest.raises((ArchiveDownError, requests.ConnectionError)):
            transport.retried(script.url, partial(connect, transport, script.url), is_waited_for=is_waited_for)


@pytest.mark.timeout(30)
def test_waiting_threads_stop_at_once(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"", 503, Retry_After="60"))
    transport = make_transport(**LIMITS)
    threading.Timer(
        0.2, lambda: [transport.breaker_of(script.host).record_failure("mast", "test") for _ in range(6)]
    ).start()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, script, tmp_path, transport=transport, uri=f"mast:{i}") for i in range(8)]
    assert {type(job.exception()) for job in jobs} == {ArchiveDownError}
    assert len(script.seen) <= 8, "no thread retries after its pause"


@pytest.mark.parametrize(("reached", "num_tries"), [(set(), 3), ({"host"}, 2)])
def test_a_host_that_has_never_responded_is_tried_for_two_seconds_and_others_for_their_attempts(
    reached: set[str], num_tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    one = make_transport(attempts=2)
    one.reached_hosts |= reached
    monkeypatch.setattr(time, "monotonic", lambda: (0.0, 0.5, 1.9, 2.0)[len(tries)])

    def send() -> None:
        tries.append("a")
        raise requests.ConnectTimeout

    with pytest.raises(requests.ConnectTimeout):
        one.retried("http://host/a", send, is_waited_for=False)
    assert len(tries) == num_tries
