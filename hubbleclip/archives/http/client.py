"""One polite HTTP client for all hosts of an archive: pools, a rate limit, time limits, retries, typed errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast
from urllib.parse import urlsplit

import requests
import stamina
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import HTTPError as PoolError
from urllib3.util import Timeout

from hubbleclip.archives.http.circuit_breaker import Breakers
from hubbleclip.archives.http.rate_limit import (
    RateLimiter,
    RefusedError,
    next_address,
    retry_after_s,
    same_host,
    user_agent,
)
from hubbleclip.archives.http.watchdog import POOLS
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveTimeoutError,
    ArchiveUnreachableError,
    WebPageError,
)

__all__ = ["DamagedError", "RateLimiter", "RefusedError", "Transport", "in_words", "same_host", "user_agent"]

CONNECT_TIMEOUT_S = 5.0
FIRST_CONTACT_S = 2.0
MAX_WAIT_S = 30.0
MAX_REDIRECTS = 5
MAX_PAGE_BYTES = 500_000_000
CHUNK_BYTES = 1 << 18
BUSY = frozenset({429, 503})
RETRIED_STATUS = frozenset({408, 425, 429})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class DamagedError(Exception):
    """An answer that is not what was asked for; the next try may be. `reason` is a short code of `download.REASONS`."""

    def __init__(self, words: str, reason: str = "damaged") -> None:
        super().__init__(words)
        self.reason = reason


def is_unreachable(error: BaseException) -> bool:
    """True when no connection was made at all: refused, no such host, no route."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def is_failing(status: int) -> bool:
    """Whether a status says that the server does not serve now; others are answers, also those that say no."""
    return status >= 500 or status in RETRIED_STATUS


def is_worth_retrying(error: Exception) -> bool:
    """Whether another try may help."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and is_failing(error.response.status_code)
    retried = requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, DamagedError
    return isinstance(error, retried)


def in_words(error: Exception, url: str) -> ArchiveError:
    """The typed error of a failed request, one line that says which host and what to do."""
    host = urlsplit(url).netloc
    if is_unreachable(error):
        hint = "check the network and the archive's address, or use PROFILE=demo, which needs neither"
        return ArchiveUnreachableError(f"cannot reach {host}: {hint}")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        kind = ArchiveBusyError if status in BUSY else ArchiveError
        return kind(f"{host} answered {status} to {urlsplit(url).path or 'a query'}: try again later")
    if isinstance(error, requests.Timeout):
        return ArchiveTimeoutError(f"{host} did not answer in time: try again later, or raise fetch.timeout_s")
    kind = WebPageError if getattr(error, "reason", "") == "html" else ArchiveError
    return kind(f"{host} gave no usable answer ({' '.join(str(error).split())[:240]}): try again later")


@contextmanager
def requests_errors() -> Iterator[None]:
    """Let urllib3's errors out as those of requests, which all of us catch."""
    try:
        yield
    except ConnectTimeoutError as error:
        raise requests.ConnectTimeout(error) from error
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except SSLError as error:
        raise requests.exceptions.SSLError(error) from error
    except PoolError as error:
        raise requests.ConnectionError(error) from error


def read_some(response: requests.Response) -> bytes:
    """What has come of a body; empty at its end. Raises requests' errors."""
    with requests_errors():
        data: bytes = response.raw.read1(CHUNK_BYTES)
    return data


class LimitedBody:
    """The body of an answer as its chunks come within the limits of a transport; in all else as `raw`."""

    def __init__(self, raw: Any, chunks: Iterator[bytes]) -> None:
        self.raw = raw
        self.chunks = chunks

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """What `requests.Response.content` is made of."""
        return self.chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class PoliteAdapter(HTTPAdapter):
    """Gives every request of a session its turn and its time limits; astroquery sets neither."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(pool_connections=4, pool_maxsize=max(transport.fetch.connections, 4))
        self.poolmanager.pool_classes_by_scheme = POOLS
        self.transport = transport

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send in turn and read the whole answer, with the session's time limits unless the caller has its own.

        Raises DamagedError for an answer that stalls or never ends.
        """
        host = urlsplit(request.url or "").netloc
        kwargs["timeout"] = kwargs.get("timeout") or self.transport.timeout
        with self.transport.judged(host), requests_errors():
            response = super().send(request, *args, **kwargs)
            self.transport.note(host, response)
            self.transport.read_whole(response)
        return response


class Transport:
    """The requests of one archive object, to whatever host: one rate limit and one number of connections hold over all
    of them, while each has a breaker of its own. Threads may share it.
    """

    def __init__(self, fetch: FetchSettings) -> None:
        self.fetch = fetch
        self.limiter = RateLimiter(fetch.requests_per_s)
        self.breakers = Breakers(fetch.breaker_failures, fetch.breaker_s)
        self.timeout = min(CONNECT_TIMEOUT_S, fetch.timeout_s), fetch.timeout_s
        self.slots = threading.BoundedSemaphore(fetch.connections)
        self.reached: set[str] = set()
        self.session = requests.Session()
        self.session.headers["User-Agent"] = user_agent(fetch.contact)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, PoliteAdapter(self))
        self._pools: dict[str, tuple[HTTPConnectionPool, bool]] = {}
        slowest_s = fetch.stall_s if fetch.stall_bytes else fetch.timeout_s
        self.patience_s = min(fetch.timeout_s, slowest_s, fetch.file_timeout_s)

    def attempts(self, url: str) -> Iterable[Any]:
        """Retry contexts; a host that has never answered is given up within seconds."""
        started, host = time.monotonic(), urlsplit(url).netloc

        def hook(error: Exception) -> bool:
            self.breakers.of(host).check()
            if is_unreachable(error) and host not in self.reached:
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
    def judged(self, host: str) -> Iterator[None]:
        """Let one request, and what is made of its answer, wait for its turn and count for or against its host.

        Raises ArchiveDownError when too many in a row have failed.
        """
        breaker = self.breakers.of(host)
        self.limiter.wait(host, breaker.opened)
        breaker.check()
        try:
            yield
        except (requests.RequestException, DamagedError) as error:
            if is_worth_retrying(error):
                breaker.failed(host, " ".join(str(error).split())[:160])
            else:
                breaker.succeeded()
            raise
        breaker.succeeded()

    def note(self, host: str, response: requests.Response) -> None:
        """Heed what an answer's head says. Raises requests.HTTPError when the server does not serve."""
        self.reached.add(host)
        if is_failing(response.status_code):
            seconds = retry_after_s(response.headers)
            if seconds is not None:
                self.limiter.hold(host, seconds)
            response.raise_for_status()

    def _pool(self, url: str) -> tuple[HTTPConnectionPool, bool]:
        """The session's own pool for this host, and whether a proxy wants whole addresses. Looked up once a host."""
        parts = urlsplit(url)
        root = f"{parts.scheme}://{parts.netloc}"
        if root not in self._pools:
            request = requests.Request("GET", url).prepare()
            known = self.session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
            adapter = cast(PoliteAdapter, self.session.get_adapter(url))
            pool: HTTPConnectionPool = adapter.get_connection_with_tls_context(  # type: ignore[assignment]
                request, known["verify"], proxies=known["proxies"], cert=known["cert"]
            )
            self._pools[root] = pool, pool.proxy is not None and parts.scheme == "http"
        return self._pools[root]

    def _request(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """One request through urllib3 itself: what requests does around it costs twice as much as it."""
        pool, wants_whole_url = self._pool(url)
        parts = urlsplit(url)
        target = url if wants_whole_url else f"{parts.path or '/'}?{parts.query}".rstrip("?")
        raw = pool.urlopen(
            "GET",
            target,
            headers=headers,
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=Timeout(self.timeout[0], self.patience_s),
        )
        response = requests.Response()
        response.url, response.raw, response.status_code, response.reason = url, raw, raw.status, raw.reason or ""
        response.headers = CaseInsensitiveDict(raw.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        return response

    @contextmanager
    def open(
        self, url: str, headers: Mapping[str, str] | None = None, *, redirect_hosts: Sequence[str] | None = None
    ) -> Iterator[requests.Response]:
        """One GET, not retried, its body still to be streamed; to `redirect_hosts` it may be redirected, by default
        those of the settings. Raises requests' errors and RefusedError.
        """
        hosts = self.fetch.redirect_hosts if redirect_hosts is None else redirect_hosts
        asked = {**cast("dict[str, str]", self.session.headers), **(headers or {})}
        for _ in range(MAX_REDIRECTS + 1):
            host = urlsplit(url).netloc
            with self.slots, self.judged(host), requests_errors(), self._request(url, asked) as response:
                if response.status_code not in REDIRECTS:
                    self.note(host, response)
                    response.raise_for_status()
                    yield response
                    return
                url = next_address(url, response.headers.get("Location", ""), hosts)
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects from {url}")

    def chunks(self, response: requests.Response, limit_bytes: int) -> Iterator[bytes]:
        """A body, each piece as soon as it has come: a read of a set size would wait for a slow drip, and never end.

        Raises DamagedError `stalled` or `timeout`, and RefusedError `too_large`, once that is seen.
        """
        fetch, num_bytes, num_marked = self.fetch, 0, 0
        started = marked = time.monotonic()
        while data := read_some(response):
            num_bytes += len(data)
            if num_bytes > limit_bytes:
                raise RefusedError(f"more than {limit_bytes} bytes come", "too_large")
            yield data
            now = time.monotonic()
            if now - started > fetch.file_timeout_s:
                raise DamagedError(f"{num_bytes} bytes took more than fetch.file_timeout_s", "timeout")
            if now - marked > fetch.stall_s:
                if num_bytes - num_marked < fetch.stall_bytes:
                    raise DamagedError(f"fewer than fetch.stall_bytes came in {fetch.stall_s:g} s", "stalled")
                marked, num_marked = now, num_bytes

    def read_whole(self, response: requests.Response, into: IO[bytes] | None = None) -> None:
        """Read a page's body into `response.content`, or into a file, from its start; what `chunks` raises."""
        response.raw.decode_content = True
        chunks = self.chunks(response, MAX_PAGE_BYTES)
        if into is None:
            response.raw = LimitedBody(response.raw, chunks)
            len(response.content)  # which keeps it
            return
        into.seek(0)
        into.truncate()
        into.writelines(chunks)

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, into: IO[bytes] | None = None
    ) -> requests.Response:
        """A whole answer, retried, its body in a file where one is given. Raises ArchiveError; an HTTP status that is
        final raises requests.HTTPError.
        """
        try:
            for attempt in self.attempts(url):
                with attempt, self.open(url, headers) as response:
                    self.read_whole(response, into)
                    return response
        except requests.HTTPError as error:
            if is_worth_retrying(error):
                raise in_words(error, url) from error
            raise
        except (requests.RequestException, RefusedError, DamagedError) as error:
            raise in_words(error, url) from error
        raise AssertionError("a retry context ends by an answer or an error")
