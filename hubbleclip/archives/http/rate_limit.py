"""Rules that a well-behaved HTTP client follows: rate limit, circuit breaker, Retry-After, and safe redirects."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from urllib.parse import urljoin, urlsplit

from hubbleclip.archives.http.responses import RefusedError
from hubbleclip.core.errors import ArchiveDownError

LOG = logging.getLogger(__name__)
MAX_RETRY_AFTER_S = 3600.0
"""Longest pause (s) that is made for a Retry-After header. A longer pause is shortened to this value."""
LONGEST_PAUSE_S = 120.0
"""Longest pause (s) that a request with `is_waited_for=False` accepts. A longer pause raises ArchiveDownError."""
LOGGED_PAUSE_S = 60.0
"""Longest pause (s) that is not logged."""
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

    def wait(self, host: str = "", stop: threading.Event | None = None, *, is_waited_for: bool = True) -> None:
        """Sleep until the rate limit and the pause of the host allow a request, or until `stop` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            if not is_waited_for:
                self.check_pause(host)
            _sleep(self._paused_until.get(host, 0.0), stop)
            # the thread sleeps after it has released the lock, so that other threads can reserve the next turns
            with self._lock:
                turn = max(time.monotonic(), self._next_turn)
                self._next_turn = turn + self._interval_s
            _sleep(turn, stop)
            # another thread may have paused the host while this thread slept
            if self._paused_until.get(host, 0.0) <= time.monotonic():
                return

    def check_pause(self, host: str) -> None:
        """Raise ArchiveDownError if a host has asked for a long pause."""
        seconds = self._paused_until.get(host, 0.0) - time.monotonic()
        if seconds > LONGEST_PAUSE_S:
            raise ArchiveDownError(f"{host} asks for a pause of {seconds:.0f} s: run the same command again later")

    def pause_host(self, host: str, seconds: float) -> None:
        """Stop all threads from sending requests to a host for some time."""
        if seconds > LOGGED_PAUSE_S:
            LOG.warning("%s asks for a pause of %.0f s", host, seconds)
        with self._lock:
            self._paused_until[host] = max(self._paused_until.get(host, 0.0), time.monotonic() + seconds)


def _sleep(until: float, stop: threading.Event) -> None:
    """Sleep until the monotonic clock shows `until` (s), or until `stop` is set."""
    seconds = until - time.monotonic()
    if seconds > 0:
        stop.wait(seconds)


class CircuitBreaker:
    """Circuit breaker that counts consecutive failed requests over all threads.

    The host counts as down after `max_failures` failures over at least `min_s` (s). Requests to this host are still
    retried. If no request succeeds within `outage_s` (s) of the first failure, the breaker opens, and no further
    request is sent. The event `is_open` wakes the threads that wait to send a request.
    """

    def __init__(self, max_failures: int, min_s: float, outage_s: float = 0.0) -> None:
        self.is_open = threading.Event()
        self._max_failures = max_failures
        self._min_s = min_s  # a minimum, because a brief outage can break many connections at once
        self._outage_s = outage_s
        self._num_failures = 0
        self._first_failure_at = self._logged_at = 0.0  # values of time.monotonic(), in seconds
        self._message = ""
        self._lock = threading.Lock()

    def record_success(self) -> None:
        """Reset the count of failures. Any complete response is a success of the host, even a 404 or a damaged file."""
        self._num_failures = 0

    def record_failure(self, host: str, reason: str) -> None:
        """Count a failed request, and open the breaker if the limits are reached."""
        with self._lock:
            now = time.monotonic()
            if not self._num_failures:
                self._first_failure_at = self._logged_at = now
            self._num_failures += 1
            self._message = (
                f"{host} is down: {self._num_failures} consecutive requests failed, the last with: {reason}."
                " Run the same command again later; it resumes where it stopped"
            )
            if self.is_down(self._outage_s):
                self.is_open.set()
            elif now - self._logged_at >= self._min_s:
                self._logged_at = now
                minutes = (now - self._first_failure_at) / 60, self._outage_s / 60
                LOG.warning("waiting for %s, failing for %.0f min (limit %.0f min): %s", host, *minutes, reason)

    def is_down(self, outage_s: float = 0.0) -> bool:
        """Return whether `max_failures` consecutive requests have failed over at least `min_s` and `outage_s` (s)."""
        lasted_s = time.monotonic() - self._first_failure_at
        return self._num_failures >= self._max_failures and lasted_s >= max(self._min_s, outage_s)

    def check(self, *, is_waited_for: bool = True) -> None:
        """Raise ArchiveDownError if the breaker is open, or if the host is down and `is_waited_for` is False."""
        if self.is_open.is_set() or (not is_waited_for and self.is_down()):
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
    """Resolve the address of a redirect, or of a link on a page. Raises RefusedError if the address is not allowed."""
    source = urlsplit(url)
    try:
        address = urljoin(url, location)
        target = urlsplit(address)
        names = {target.netloc.lower(), (target.hostname or "").lower()}
        if (source.scheme, target.scheme) == ("https", "http") and target.hostname == source.hostname:
            is_default = target.port in {None, HTTP_PORT}  # an invalid port raises ValueError
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
    """Check whether a host has an IP address that is not globally routable; True for an unknown host."""
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # a label of a host has at most 63 characters
        return True
    # a link-local IPv6 address ends with its zone, such as "%eth0", which is removed
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses)
