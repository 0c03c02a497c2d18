"""Manners towards a server: who asks, how often, how long to wait when told to, and where to let oneself be sent."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from urllib.parse import urljoin, urlsplit

from hubbleclip import __version__

MAX_RETRY_AFTER_S = 120.0
HTTP_SCHEMES = frozenset({"http", "https"})


class RefusedError(Exception):
    """Something that trying again would not mend. `reason` is a short code of `download.REASONS`."""

    def __init__(self, words: str, reason: str = "redirect") -> None:
        super().__init__(words)
        self.reason = reason


class RateLimiter:
    """Hands out turns at most `per_s` a second, over all threads, and none for a host that asks to be left alone."""

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1 / per_s
        self._next = 0.0
        self._held_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str = "", stop: threading.Event | None = None) -> None:
        """Sleep until it is this caller's turn to ask `host`, or until `stop` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            _sleep(self._held_until.get(host, 0.0), stop)
            with self._lock:
                turn = max(time.monotonic(), self._next)
                self._next = turn + self._gap_s
            _sleep(turn, stop)
            if self._held_until.get(host, 0.0) <= time.monotonic():
                return

    def hold(self, host: str, seconds: float) -> None:
        """Let nobody ask `host` for so long; a longer wait that it asked for before stays."""
        with self._lock:
            self._held_until[host] = max(self._held_until.get(host, 0.0), time.monotonic() + seconds)


def _sleep(until: float, stop: threading.Event) -> None:
    seconds = until - time.monotonic()
    if seconds > 0:
        stop.wait(seconds)


def user_agent(contact: str) -> str:
    """Who asks, and how an operator reaches them."""
    return f"hubbleclip/{__version__}" + (f" (+{contact})" if contact else "")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks us to wait, in either form of RFC 9110 10.2.3; None when it does not say.

    A date counts from the `Date` of the same answer, as the server's clock may differ from ours.
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


def require_same_host(url: str, location: str) -> str:
    """Where a link leads, if that is the same host and scheme or better. Raises RefusedError."""
    return resolve_redirect(url, location, ())


def resolve_redirect(url: str, location: str, other_hosts: Iterable[str]) -> str:
    """Where a redirect leads: the same host, or one of `other_hosts` (`*` stands for any part). Raises RefusedError.

    A host that only a pattern allows must not lie in a private network, unless `url` does: else a server outside
    could make us ask one inside.
    """
    here = urlsplit(url)
    try:
        target = urljoin(url, location)
        there = urlsplit(target)
        names = {there.netloc.lower(), (there.hostname or "").lower()}
        _ = there.port
    except ValueError as error:
        raise RefusedError(f"{here.netloc} points to no address: {location[:80]!r}") from error
    if there.scheme not in {here.scheme, "https"} & HTTP_SCHEMES:
        raise RefusedError(f"{here.netloc} points to {there.scheme}:, which is not followed from {here.scheme}:")
    if there.netloc == here.netloc or names & set(other_hosts):
        return target
    if not any(fnmatchcase(name, pattern) for name in names for pattern in other_hosts):
        hint = "name it in fetch.redirect_hosts if you trust it"
        raise RefusedError(f"{here.netloc} points to another host, {there.netloc or location[:80]}: {hint}")
    if is_private(there.hostname or "") and not is_private(here.hostname or ""):
        raise RefusedError(f"{here.netloc} points into a private network, to {there.netloc}")
    return target


def is_private(host: str) -> bool:
    """Whether a host has an address that is not of the public internet; one that cannot be resolved counts as such."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in found)
