"""Rules of a well-behaved client: rate limit, User-Agent, Retry-After, and which redirects may be followed."""

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
"""A longer pause that a server requests is shortened to this."""
HTTP_SCHEMES = frozenset({"http", "https"})


class RefusedError(Exception):
    """A request that failed in a way that a retry cannot mend. `reason` is a short code of `download.REASONS`."""

    def __init__(self, message: str, reason: str = "redirect") -> None:
        super().__init__(message)
        self.reason = reason


class RateLimiter:
    """Limits the rate of requests over all threads, and pauses hosts that ask for it.

    Parameters
    ----------
    per_s
        Maximum number of requests per second.

    """

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        # times are those of time.monotonic()
        self._next_turn = 0.0
        self._paused_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str = "", stop: threading.Event | None = None) -> None:
        """Block until the caller may send a request.

        Parameters
        ----------
        host
            The host of the request.
        stop
            Ends the wait at once when set.

        """
        stop = stop or threading.Event()
        while not stop.is_set():
            _sleep(self._paused_until.get(host, 0.0), stop)
            # reserve a turn under the lock and sleep outside of it, so that others can reserve the next ones
            with self._lock:
                turn = max(time.monotonic(), self._next_turn)
                self._next_turn = turn + self._interval_s
            _sleep(turn, stop)
            # another thread may have paused the host while this one slept
            if self._paused_until.get(host, 0.0) <= time.monotonic():
                return

    def pause_host(self, host: str, seconds: float) -> None:
        """Let no thread send requests to a host for some time.

        Parameters
        ----------
        host
            The host to pause.
        seconds
            Length of the pause from now (s); an earlier, longer pause stays in force.

        """
        with self._lock:
            self._paused_until[host] = max(self._paused_until.get(host, 0.0), time.monotonic() + seconds)


def _sleep(until: float, stop: threading.Event) -> None:
    """Sleep until a time of the monotonic clock, or until `stop` is set."""
    seconds = until - time.monotonic()
    if seconds > 0:
        stop.wait(seconds)


def user_agent(contact: str) -> str:
    """Build the User-Agent header.

    Parameters
    ----------
    contact
        E-mail address or page by which an operator reaches the user; may be empty.

    Returns
    -------
    str
        Name and version of this package, and the contact.

    """
    return f"hubbleclip/{__version__}" + (f" (+{contact})" if contact else "")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Parse the Retry-After header.

    Parameters
    ----------
    headers
        Response headers.

    Returns
    -------
    float or None
        Requested pause (s), from 0 to `MAX_RETRY_AFTER_S`; None without a valid header.

    Notes
    -----
    Both forms of RFC 9110, section 10.2.3: seconds or a date. A date is compared with the `Date` header of the same
    response, because the server's clock may differ from ours.

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
    """Resolve a link that must stay on its page's host.

    Parameters
    ----------
    url
        The page.
    location
        The link, absolute or relative.

    Returns
    -------
    str
        The absolute address, with the same scheme or https.

    Raises
    ------
    RefusedError
        If the link leads elsewhere.

    """
    return resolve_redirect(url, location, ())


def resolve_redirect(url: str, location: str, other_hosts: Iterable[str]) -> str:
    """Resolve a redirect and check that it may be followed.

    Parameters
    ----------
    url
        The address that redirects.
    location
        The target, absolute or relative.
    other_hosts
        Hosts that are allowed besides the same one: `host` or `host:port`, with `*` as a wildcard.

    Returns
    -------
    str
        The absolute address, with the same scheme or https.

    Raises
    ------
    RefusedError
        If the target is on another host, of another scheme, or no address at all. A host that only a wildcard allows
        must also not be in a private network unless `url` is: otherwise a public server could make us send requests
        to internal ones (SSRF).

    """
    source = urlsplit(url)
    try:
        address = urljoin(url, location)
        target = urlsplit(address)
        names = {target.netloc.lower(), (target.hostname or "").lower()}
        _ = target.port  # raises ValueError for an invalid port
    except ValueError as error:
        raise RefusedError(f"{source.netloc} points to an invalid address: {location[:80]!r}") from error
    if target.scheme not in {source.scheme, "https"} & HTTP_SCHEMES:
        raise RefusedError(f"{source.netloc} points to {target.scheme}:, which is not followed from {source.scheme}:")
    if target.netloc == source.netloc or names & set(other_hosts):
        return address
    if not any(fnmatchcase(name, pattern) for name in names for pattern in other_hosts):
        hint = "add it to fetch.redirect_hosts if you trust it"
        raise RefusedError(f"{source.netloc} points to another host, {target.netloc or location[:80]}: {hint}")
    if is_private(target.hostname or "") and not is_private(source.hostname or ""):
        raise RefusedError(f"{source.netloc} points into a private network, to {target.netloc}")
    return address


def is_private(host: str) -> bool:
    """Check whether a host is outside the public internet.

    Parameters
    ----------
    host
        Host name or IP address.

    Returns
    -------
    bool
        True if any of its addresses is not globally routable, or if it cannot be resolved.

    """
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    # "%eth0": the zone of a link-local IPv6 address
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses)
