"""Rules that a well-behaved HTTP client follows: rate limit, circuit breaker, Retry-After, and safe redirects."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from urllib.parse import urljoin, urlsplit

from hubbleclip.archives.http.response_errors import RefusedError
from hubbleclip.core.errors import ArchiveDownError

MAX_RETRY_AFTER_S = 120.0
"""Longest pause (s) that is made for a Retry-After header. A longer pause is shortened to this value."""
HTTP_PORT = 80
HTTP_SCHEMES = frozenset({"http", "https"})


class RateLimiter:
    """Rate limiter that all threads share. It also pauses requests to a host that asked for a pause."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        # all times are values of time.monotonic(), in seconds
        self._next_turn = 0.0
        self._paused_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str = "", stop: threading.Event | None = None) -> None:
        """Block until the caller may send a request."""
        stop = stop or threading.Event()
        while not stop.is_set():
            _sleep(self._paused_until.get(host, 0.0), stop)
            # the thread sleeps after it has released the lock, so that other threads can reserve the next turns
            with self._lock:
                turn = max(time.monotonic(), self._next_turn)
                self._next_turn = turn + self._interval_s
            _sleep(turn, stop)
            # another thread may have paused the host while this thread slept
            if self._paused_until.get(host, 0.0) <= time.monotonic():
                return

    def pause_host(self, host: str, seconds: float) -> None:
        """Stop all threads from sending requests to a host for some time."""
        with self._lock:
            self._paused_until[host] = max(self._paused_until.get(host, 0.0), time.monotonic() + seconds)


def _sleep(until: float, stop: threading.Event) -> None:
    """Sleep until the monotonic clock shows `until` (s), or until `stop` is set."""
    seconds = until - time.monotonic()
    if seconds > 0:
        stop.wait(seconds)


class CircuitBreaker:
    """Circuit breaker that counts consecutive failed requests over all threads, and opens when there are too many.

    An open breaker never closes again. The event `is_open` wakes the threads that wait to send a request.
    """

    def __init__(self, max_failures: int, min_s: float) -> None:
        self.is_open = threading.Event()
        self._max_failures = max_failures
        self._min_s = min_s  # least time from first to last failure: a brief outage can break many connections
        self._num_failures = 0
        self._first_failure_at = 0.0  # value of time.monotonic(), in seconds
        self._message = ""
        self._lock = threading.Lock()

    def record_success(self) -> None:
        """Reset the count of failures. Every complete response counts, also 404 or a damaged file: the host works."""
        self._num_failures = 0

    def record_failure(self, host: str, reason: str) -> None:
        """Count a failed request, and open the breaker if the limits are reached."""
        with self._lock:
            now = time.monotonic()
            if not self._num_failures:
                self._first_failure_at = now
            self._num_failures += 1
            is_down = self._num_failures >= self._max_failures and now - self._first_failure_at >= self._min_s
            if is_down and not self.is_open.is_set():
                self._message = (
                    f"{host} is down: {self._num_failures} consecutive requests failed, the last with: {reason}."
                    " Run the same command again later; it resumes where it stopped"
                )
                self.is_open.set()

    def check(self) -> None:
        """Raise ArchiveDownError if the breaker is open."""
        if self.is_open.is_set():
            raise ArchiveDownError(self._message)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Parse the Retry-After header (RFC 9110, section 10.2.3) to a pause (s) of at most `MAX_RETRY_AFTER_S`.

    A date is compared with the `Date` header of the same response, because the server's clock may be wrong.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text).timestamp()
        now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(until - now, 0.0), MAX_RETRY_AFTER_S)


def resolve_redirect(url: str, location: str, other_hosts: Iterable[str] = ()) -> str:
    """Resolve a redirect, or a link on a page. Raises RefusedError if it must not be followed."""
    source = urlsplit(url)
    try:
        address = urljoin(url, location)
        target = urlsplit(address)
        names = {target.netloc.lower(), (target.hostname or "").lower()}
        if (source.scheme, target.scheme) == ("https", "http") and target.hostname == source.hostname:
            is_default = target.port in {None, HTTP_PORT}  # reading the port raises ValueError if it is invalid
            target = target._replace(scheme="https", netloc=source.netloc if is_default else target.netloc)
            address = target.geturl()
        _ = target.port
    except ValueError as error:
        raise RefusedError(f"{source.netloc} points to an invalid address: {location[:80]!r}") from error
    if target.scheme not in {source.scheme, "https"} & HTTP_SCHEMES:
        raise RefusedError(f"{source.netloc} points from {source.scheme}: to {target.scheme}:, which is not allowed")
    if target.netloc == source.netloc or names & set(other_hosts):
        return address
    if not any(fnmatchcase(name, pattern) for name in names for pattern in other_hosts):
        hint = "add it to fetch.redirect_hosts if you trust it"
        raise RefusedError(f"{source.netloc} points to another host, {target.netloc or location[:80]}: {hint}")
    # a public server could otherwise make this client send requests to internal servers (SSRF)
    if is_private(target.hostname or "") and not is_private(source.hostname or ""):
        raise RefusedError(f"{source.netloc} points into a private network, to {target.netloc}")
    return address


def is_private(host: str) -> bool:
    """Check whether an IP address of a host is not globally routable, or the host is unknown."""
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    # a link-local IPv6 address ends with its zone, such as "%eth0", which is removed
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses)
