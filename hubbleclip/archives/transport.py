"""One polite HTTP client for every archive: a pool, a rate limit, time limits, retries with jitter, typed errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import stamina
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from hubbleclip import __version__
from hubbleclip.errors import ArchiveError, ArchiveUnreachableError
from hubbleclip.settings import FetchSettings

CONNECT_TIMEOUT_S = 5.0
FIRST_CONTACT_S = 2.0
MAX_WAIT_S = 30.0
MAX_RETRY_AFTER_S = 120.0
MAX_REDIRECTS = 5
RETRIED_STATUS = frozenset({408, 425, 429})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RefusedError(Exception):
    """An answer that trying again would not mend, such as a redirect to another host."""


class DamagedError(Exception):
    """An answer that is not what was asked for; the next try may be. `reason` is a short code of `download.REASONS`."""

    def __init__(self, words: str, reason: str = "damaged") -> None:
        super().__init__(words)
        self.reason = reason


class RateLimiter:
    """Hands out turns at most `per_s` a second, over all threads."""

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1 / per_s
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until it is this caller's turn."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap_s
        time.sleep(start - now)


class PoliteAdapter(HTTPAdapter):
    """Gives every request of a session its turn and its time limits; astroquery sets neither."""

    def __init__(self, limiter: RateLimiter, timeout_s: float, connections: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=max(connections, 4))
        self.limiter = limiter
        self.timeout = (min(CONNECT_TIMEOUT_S, timeout_s), timeout_s)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send in turn, with the session's time limits unless the caller has its own."""
        self.limiter.wait()
        kwargs["timeout"] = kwargs.get("timeout") or self.timeout
        return super().send(request, *args, **kwargs)


def user_agent(contact: str) -> str:
    """Who asks, and how an operator reaches them."""
    return f"hubbleclip/{__version__}" + (f" (+{contact})" if contact else "")


def is_unreachable(error: BaseException) -> bool:
    """True when no connection was made at all: refused, no such host, no route."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def retry_after_s(response: requests.Response | None) -> float | None:
    """Seconds that the server asks us to wait; None when it does not say (dates are not read: the back-off serves)."""
    text = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER_S) if text.strip().isdigit() else None


def is_worth_retrying(error: Exception) -> bool | float:
    """Whether another try may help, or the wait that the server asked for, in seconds."""
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        wait_s = retry_after_s(error.response)
        return (wait_s if wait_s is not None else True) if status >= 500 or status in RETRIED_STATUS else False
    retried = requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, DamagedError
    return isinstance(error, retried)


def in_words(error: Exception, url: str) -> ArchiveError:
    """The typed error of a failed request, one line that says which host and what to do."""
    host = urlsplit(url).netloc
    if is_unreachable(error):
        hint = "check the network and the archive's address, or use PROFILE=demo, which needs neither"
        return ArchiveUnreachableError(f"cannot reach {host}: {hint}")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return ArchiveError(f"{host} answered {error.response.status_code} to {urlsplit(url).path}: try again later")
    if isinstance(error, requests.Timeout):
        return ArchiveError(f"{host} did not answer in time: try again later, or raise fetch.timeout_s")
    return ArchiveError(f"{host} gave no usable answer ({' '.join(str(error).split())[:160]}): try again later")


class Transport:
    """The requests of one archive object. Threads may share it."""

    def __init__(self, fetch: FetchSettings) -> None:
        self.fetch = fetch
        self.limiter = RateLimiter(fetch.requests_per_s)
        self.reached = False
        self.session = requests.Session()
        self.session.headers["User-Agent"] = user_agent(fetch.contact)
        self.mount_on(self.session)

    def mount_on(self, session: requests.Session) -> None:
        """Put a session, also a library's, under this rate limit and these time limits."""
        for scheme in ("http://", "https://"):
            session.mount(scheme, PoliteAdapter(self.limiter, self.fetch.timeout_s, self.fetch.connections))

    def attempts(self) -> Iterable[Any]:
        """Retry contexts; a host that has never answered is given up within seconds."""
        started = time.monotonic()

        def hook(error: Exception) -> bool | float:
            if is_unreachable(error) and not self.reached:
                return time.monotonic() - started < FIRST_CONTACT_S
            return is_worth_retrying(error)

        return stamina.retry_context(
            on=hook,
            attempts=self.fetch.attempts,
            timeout=None,
            wait_initial=self.fetch.backoff_s,
            wait_max=MAX_WAIT_S,
            wait_jitter=self.fetch.backoff_s,
        )

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """One GET, not retried, its body still to be streamed. Raises requests' errors and RefusedError."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self.session.get(url, headers=dict(headers or {}), stream=True, allow_redirects=False)
            self.reached = True
            with response:
                if response.status_code not in REDIRECTS:
                    response.raise_for_status()
                    yield response
                    return
                url = same_host(url, response.headers.get("Location", ""))
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects from {url}")

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """A whole answer, retried. Raises ArchiveError; an HTTP status that is final raises requests.HTTPError."""
        try:
            for attempt in self.attempts():
                with attempt, self.open(url, headers) as response:
                    _ = response.content
                    return response
        except requests.HTTPError as error:
            if is_worth_retrying(error) is not False:
                raise in_words(error, url) from error
            raise
        except (requests.RequestException, RefusedError) as error:
            raise in_words(error, url) from error
        raise AssertionError("a retry context ends by an answer or an error")


def same_host(url: str, location: str) -> str:
    """Where a redirect or a link leads, if that is the same host and scheme or better. Raises RefusedError."""
    target = urljoin(url, location)
    here, there = urlsplit(url), urlsplit(target)
    if there.netloc != here.netloc or there.scheme not in {here.scheme, "https"}:
        raise RefusedError(f"{here.netloc} points to another host, {there.netloc or location[:80]}")
    return target
