"""Who may ask, how much, how many at one time and how long, and what reaches a browser."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import requests
from bs4 import BeautifulSoup
from search_site import IDS
from starlette.testclient import TestClient
from web_search import client_of, service_of

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.engine import Search
from hubbleclip.search.server import run_server, security
from hubbleclip.search.server.run_server import listen
from hubbleclip.search.server.security import MAX_JSON_BYTES, MAX_UPLOAD_BYTES, Access, check_access, is_loopback

FILE_BEGINS = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
PAGES = ("/", "/?q=galaxy", "/sky", "/map", "/tiles/{}", "/tiles/unknown", "/?k=x")


OWN_HOSTS = ("localhost:8765", "127.0.0.1:8765", "LOCALHOST", "[::1]:8765", "127.0.0.1")
WITH_TOKEN = Access(host="0.0.0.0", token="s3cret")
REBOUND = ("evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1")


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/search?q=a", "/", "/static/search.css"])
def test_this_machine_is_answered_and_a_name_that_was_rebound_to_it_is_refused(path: str, client: TestClient) -> None:
    for host, status in (dict.fromkeys(OWN_HOSTS, 200) | dict.fromkeys(REBOUND, 421)).items():
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (status, "nosniff")


@pytest.mark.parametrize(
    ("header", "allowed", "refused"),
    [
        ("sec-fetch-site", "same-origin", ["cross-site", "same-site"]),
        # of an old browser
        ("origin", "http://localhost:8765", ["http://evil.example", "null", "http://localhost:8888"]),
    ],
)
def test_other_sites_cannot_post(header: str, allowed: str, refused: list[str], client: TestClient, png: bytes) -> None:
    for site in (allowed, *refused):
        response = client.post("/api/v1/search", files={"picture": png}, headers={header: site})
        assert response.status_code == (200 if site == allowed else 403)


def test_a_page_of_another_site_cannot_even_read_but_its_link_can_be_followed(client: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        for dest, user, status in (
            ("image", {}, 403),
            ("iframe", {}, 403),
            ("empty", {}, 403),
            ("document", {}, 403),  # opened by a script, which could make the server ask Sesame
            ("document", {"sec-fetch-user": "?1"}, 200),
        ):
            headers = {"sec-fetch-site": site, "sec-fetch-dest": dest} | user
            assert client.get("/api/v1/search?q=galaxy", headers=headers).status_code == status


def test_another_address_needs_a_token_or_public() -> None:
    assert check_access("127.0.0.1", None, False) == Access()
    assert is_loopback(check_access("::1", None, False).host)
    with pytest.raises(HubbleclipError, match="--public"):
        check_access("0.0.0.0", None, False)
    with pytest.raises(HubbleclipError, match="--public"):
        check_access("search.example", "", False)
    assert check_access("0.0.0.0", "secret", False).token == "secret"
    assert check_access("0.0.0.0", "secret", True).token is None
    assert [is_loopback(h) for h in ("localhost", "127.8.0.1", "0.0.0.0", "example.org")] == [True, True, False, False]


def test_a_token_is_taken_from_header_cookie_or_url(search: Search) -> None:
    with client_of(service_of(search), WITH_TOKEN) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/", "/api/v1/search?q=a", "/metrics", "/?token=wrong", "/scs?RA=1&DEC=1&SR=1", "/static/page.js"):
            assert client.get(path).status_code == 401
        moved = client.get("/?q=galaxy&q=dust&token=s3cret")
        assert (moved.status_code, moved.headers["location"]) == (303, "/?q=galaxy&q=dust")
        assert "httponly" in moved.headers["set-cookie"].lower()
        assert "samesite=strict" in moved.headers["set-cookie"].lower()
        assert client.get("/?q=galaxy").status_code == 200
        client.cookies.clear()
        for header, cookie, in_url in product(("", "old", "s3cret"), repeat=3):
            headers = {"authorization": f"Bearer {header}", "cookie": f"hubbleclip_token={cookie}"}
            status = 401 if "s3cret" not in (header, cookie, in_url) else 303 if in_url else 200
            assert client.get(f"/metrics?token={in_url}", headers=headers).status_code == status
        counted = client.get("/metrics", headers={"authorization": "Bearer s3cret"}).text
        assert 'hubbleclip_requests_total{route="other",status="401"} 14.0' in counted
    with client_of(service_of(search)) as client:
        assert client.get("/?q=galaxy&token=old").headers["location"] == "/?q=galaxy"


@pytest.mark.parametrize(
    "cookies", ["a/b=1", "a@b=1; ", "=;", ";;", 'x="unclosed; ', "expires=1; $Path=/; ", "\xff=\xff; "]
)
def test_cookies_of_other_programs_do_no_harm(cookies: str, search: Search) -> None:
    with client_of(service_of(search), WITH_TOKEN) as client:
        for cookie, status in ((cookies, 401), (f"{cookies}; hubbleclip_token=s3cret", 200)):
            assert client.get("/metrics", headers={"cookie": cookie.encode("latin-1")}).status_code == status


def test_a_header_from_outside_is_one_line(client: TestClient) -> None:
    evil = "x%0d%0aSet-Cookie:%20a=b"
    for path in (
        f"/?q={evil}&place=",
        f"/tiles/{evil}/footprint.reg",
        f"/api/v1/search?q={evil}&format=csv",
        f"/?q={evil}",
    ):
        headers = client.get(path, headers={"hx-request": "true"} if path.endswith(evil) else {}).headers
        assert "set-cookie" not in headers
        assert not any("\r" in value or "\n" in value for value in headers.values())


@pytest.mark.parametrize("path", PAGES)
def test_pages_forbid_inline_scripts_and_have_none(path: str, client: TestClient, search: Search) -> None:
    response = client.get(path.format(IDS[-1]))
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = BeautifulSoup(response.text, "html.parser")
    assert all(script.get("src", "").startswith("/static/") for script in page.find_all("script"))
    assert not page.find_all("style")
    assert not [tag for tag in page.find_all(True) for name in tag.attrs if name.startswith("on") or name == "style"]
    assert not [t for t in page.find_all(["img", "script", "link"]) if "//" in (t.get("src") or t.get("href") or "")]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/tiles/{}",
        "/?proposal=7&group=none",
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/?pi=%22%3E%3Cimg+src=x+onerror=alert(1)%3E",
        "/?place=%3Cscript%3Ealert(1)%3C/script%3E",
        "/tiles/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/?mode=%3Cscript%3E",
    ],
)
def test_texts_from_outside_are_escaped(path: str, client: TestClient, search: Search) -> None:
    text = client.get(path.format(IDS[-1])).text
    assert "<script>" not in text
    assert "<img src=x" not in text


def test_a_body_that_states_too_much_is_refused_at_once(client: TestClient) -> None:
    for kind, limit in (("multipart/form-data; boundary=x", MAX_UPLOAD_BYTES), ("application/json", MAX_JSON_BYTES)):
        for size in (limit, limit + 1):
            headers = {"content-length": str(size), "content-type": kind}
            status = client.post("/api/v1/search", content=b"", headers=headers).status_code
            assert (status == 413) == (size > limit)


@pytest.mark.parametrize(
    ("kind", "begin", "limit"),
    [("application/json", b"[", MAX_JSON_BYTES), ("multipart/form-data; boundary=x", FILE_BEGINS, MAX_UPLOAD_BYTES)],
)
def test_a_body_of_unstated_length_is_cut(kind: str, begin: bytes, limit: int, start, search: Search) -> None:
    url, sent = start(service_of(search)), []

    def body() -> Iterator[bytes]:
        yield begin
        while sum(sent) < limit + 40 * 2**20:
            yield b"x" * 2**20
            sent.append(2**20)

    try:
        answer = requests.post(f"{url}/api/v1/search", body(), headers={"Content-Type": kind}, timeout=60)
        assert answer.status_code == 413
    except requests.ConnectionError:
        assert sum(sent) >= limit
    answer = requests.get(f"{url}/healthz", timeout=60)
    assert (answer.status_code, "server" in answer.headers) == (200, False)


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        yield client


def is_ended(client: socket.socket) -> bool:
    """Whether the server ends the connection without an answer."""
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


PART_OF_BODY = b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"


def test_a_body_that_never_ends_is_cut_off(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MAX_BODY_S", 0.02)
    with connected(start(service_of(search))) as client:
        client.sendall(PART_OF_BODY)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
    with client_of(service_of(search)) as client:  # the answer may take longer than the body
        assert client.post("/api/v1/search", json={"format": "images", "k": 48, "group": "none"}).status_code == 200


def test_a_response_does_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as opened, socket.create_connection(opened.getsockname()):
        accepted, _ = opened.accept()
        with accepted:
            assert (opened.proto, accepted.proto) == (socket.IPPROTO_TCP, socket.IPPROTO_TCP)


def test_headers_that_never_end_are_cut_off(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "HEADERS_S", 0.1)
    with connected(start(service_of(search))) as silent, connected(start(service_of(search))) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):
            slow.sendall(b"GET / HTTP/1.1\r\n")
            while time.monotonic() < began + 15:
                time.sleep(0.05)
                slow.sendall(b"X-A: b\r\n")
        assert is_ended(silent)


def test_a_query_string_without_end_is_refused(start, search: Search) -> None:
    with connected(start(service_of(search))) as client:
        try:
            client.sendall(b"GET /?q=" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
        except ConnectionError:
            pass


def test_a_client_that_closes_its_half_is_answered_if_its_request_is_whole(start, search: Search) -> None:
    url = start(service_of(search))
    with connected(url) as client:
        client.sendall(PART_OF_BODY)
        client.shutdown(socket.SHUT_WR)
        assert is_ended(client)
    with connected(url) as client:
        client.sendall(b"GET /api/v1/search?q=galaxy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"hits"' in answer


def test_a_client_that_does_not_read_is_cut_off(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "EXCHANGE_S", 0.1)
    with connected(start(service_of(search))) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        with pytest.raises(ConnectionError):  # many answers are asked for, and none is read
            while True:
                client.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)


def test_a_connection_too_many_is_asked_to_retry(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "MAX_CONNECTIONS", 5)
    url = start(service_of(search))
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(url))
        with connected(url) as sixth:
            answer = sixth.recv(1000)
            assert is_ended(sixth)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
    assert urlopen(f"{url}/healthz").status == 200
