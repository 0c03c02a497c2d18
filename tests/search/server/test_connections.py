"""Connections are bounded in number and in time, whether a client is slow to write or to read."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from web_search import service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import run_server
from hubbleclip.search.server.run_server import listen


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


def test_a_response_does_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as opened, socket.create_connection(opened.getsockname()):
        accepted, _ = opened.accept()
        with accepted:
            assert (opened.proto, accepted.proto) == (socket.IPPROTO_TCP, socket.IPPROTO_TCP)


def test_headers_that_never_end_are_cut_off(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "HEADERS_S", 0.5)
    with connected(start(service_of(search))) as silent, connected(start(service_of(search))) as slow:
        began = time.monotonic()
        with pytest.raises(OSError):
            slow.sendall(b"GET / HTTP/1.1\r\n")
            while time.monotonic() < began + 15:
                time.sleep(0.05)
                slow.sendall(b"X-A: b\r\n")
        assert is_ended(silent)


def test_a_client_that_closes_its_half_is_answered(start, search: Search) -> None:
    with connected(start(service_of(search))) as client:
        client.sendall(b"GET /api/v1/search?q=galaxy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"hits"' in answer


def test_a_client_that_does_not_read_is_cut_off(start, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "EXCHANGE_S", 0.5)
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
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
    assert urlopen(f"{url}/healthz").status == 200


def test_a_query_string_without_end_is_refused(start, search: Search) -> None:
    with connected(start(service_of(search))) as client:
        try:
            client.sendall(b"GET /?q=" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
        except ConnectionError:
            pass
