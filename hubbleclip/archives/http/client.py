"""The HTTP client for all hosts of an archive. It limits the rate and the time of requests, and retries failures."""

from __future__ import annotations

import io
import math
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import stamina
from requests.adapters import HTTPAdapter
from requests.models import REDIRECT_STATI
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.exceptions import HTTPError as PoolError

from hubbleclip import __version__
from hubbleclip.archives.http.rate_limit import CircuitBreaker, RateLimiter, resolve_redirect, retry_after_s
from hubbleclip.archives.http.responses import PAGE_BYTES, DamagedError, IncompleteError, RefusedError, ResponseError
from hubbleclip.archives.http.timed_connections import POOLS
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, ArchiveTimeoutError, PartialResultError
from hubbleclip.core.io import TooLargeError, chunks

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts to which a token may be sent unencrypted."""
CONNECT_TIMEOUT_S = 5.0
FIRST_CONTACT_S = 2.0
"""Time (s) for which a host that has never responded is retried. The time is short, because such a failure probably
means a wrong address or no network.
"""
MAX_WAIT_S = 30.0
"""Longest pause (s) between two tries, without the random jitter that is added to the pause."""
QUERY_PATIENCE = 5
"""Longest time to read the body of a response that is not a file, as a multiple of `fetch.timeout_s`."""
RETRIED_STATUS = frozenset({408, 425, 429})
"""Client errors (4xx) after which a retry may succeed. All server errors (5xx) are retried too."""
TIMEOUT_STATUS = frozenset({408, 504})
STATUS_REASONS = {
    **dict.fromkeys((401, 403), "denied"),
    **dict.fromkeys((404, 410), "missing"),
    **dict.fromkeys((425, 429, 503), "busy"),
    408: "timeout",
}
MAX_REDIRECTS = 5
SMALLER_HELPS: dict[str, type[ArchiveError]] = {
    "timeout": ArchiveTimeoutError,
    "partial": PartialResultError,
    "too_large": PartialResultError,
}
"""Error classes by `ResponseError.reason`, for failures that a smaller query may avoid."""


Result = TypeVar("Result")


def is_unreachable(error: BaseException) -> bool:
    """Check whether a request failed before a connection was made.

    Causes are, for example, an unknown host, a certificate that cannot be verified, or a proxy that fails.
    """
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError) or certificate_problem(error):
        return True
    return isinstance(_pool_error(error), NewConnectionError | ConnectTimeoutError)


def certificate_problem(error: BaseException) -> str:
    """Say why a host's certificate was not accepted, such as "self-signed certificate"; "" for another failure."""
    reason = _pool_error(error)
    cause = reason.args[0] if isinstance(reason, SSLError) and reason.args else None
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else ""


def _pool_error(error: BaseException) -> object:
    """Return the urllib3 error that originally caused an error of `requests`, or None."""
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return cause.reason if isinstance(cause, MaxRetryError) else cause


def is_server_failure(status: int) -> bool:
    """Check whether a status means that the server is temporarily unable to respond."""
    return status >= 500 or status in RETRIED_STATUS


def is_retryable(error: Exception) -> bool:
    """Check whether a failed request may succeed when it is sent again."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and is_server_failure(error.response.status_code)
    retried = requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, DamagedError
    return isinstance(error, retried)


def is_host_failure(error: Exception) -> bool:
    """Check whether a request failed because of the host; a complete but damaged response does not count."""
    return isinstance(error, IncompleteError) or (is_retryable(error) and not isinstance(error, DamagedError))


def failure_reason(error: Exception) -> str:
    """Find the reason code for the exception of a failed request."""
    if isinstance(error, ResponseError):
        return error.reason
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return STATUS_REASONS.get(status, "server_error" if status >= 500 else "refused")
    return "timeout" if isinstance(error, requests.Timeout) else "connection"


def to_archive_error(error: Exception, url: str) -> ArchiveError:
    """Convert the exception of a failed request to an ArchiveError that says what the user can do."""
    host = urlsplit(url).netloc
    problem = certificate_problem(error)
    if problem:
        hint = "check the clock of this machine, or set REQUESTS_CA_BUNDLE to the certificates of your network"
        return ArchiveDownError(f"the certificate of {host} cannot be verified ({problem}): {hint}")
    if isinstance(error, requests.exceptions.ProxyError):
        words = " ".join(str(getattr(_pool_error(error), "original_error", error)).split())[:160]
        hint = "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
        return ArchiveDownError(f"the proxy gives no connection to {host} ({words}): {hint}")
    if is_unreachable(error):
        hint = "check the network and the archive's address, or use PROFILE=demo, which needs neither"
        return ArchiveDownError(f"cannot reach {host}: {hint}")
    reason = failure_reason(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        error_type = ArchiveTimeoutError if status in TIMEOUT_STATUS else ArchiveError
        asked = urlsplit(url).path or "a query"
        return error_type(f"{host} responded with {status} to {asked}: try again later", reason)
    if isinstance(error, requests.Timeout):
        return ArchiveTimeoutError(f"{host} did not respond in time: try again later, or raise fetch.timeout_s", reason)
    error_type = SMALLER_HELPS.get(reason, ArchiveError)
    return error_type(f"{host} gave no usable response ({' '.join(str(error).split())[:240]}): try again later", reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits of an archive's requests: retries, time, and rows per page. Tests use lower limits.

    All times are in seconds. `attempts` is the maximum number of tries of a request. The wait before the second try is
    `backoff_s`, and doubles before each further try; jitter is added. A file must arrive within `file_timeout_s`. A
    download that receives fewer than `stall_bytes` in `stall_s` is aborted, and the next try resumes the download. A
    host counts as down after `breaker_failures` consecutive failed requests over at least `breaker_s`. This minimum
    time is needed, because a short outage may break all connections at once. The run stops if a host is down for
    `outage_s`. A page has at most `page_rows` observations: MAST truncates responses at 50,000 rows.
    """

    attempts: int = 5
    backoff_s: float = 0.5
    file_timeout_s: float = 3600.0
    stall_s: float = 60.0
    stall_bytes: int = 60_000
    breaker_failures: int = 40
    breaker_s: float = 60.0
    outage_s: float = 3600.0
    page_rows: int = 5000


LIMITS = RequestLimits()


class Transport:
    """HTTP client that sends all requests of one archive object. Threads may share one client.

    All hosts together share the rate limit of the settings; each host has its own circuit breaker.
    """

    def __init__(self, fetch: FetchSettings, limits: RequestLimits | None = None) -> None:
        self.fetch = fetch
        self.limits = limits = limits or LIMITS
        self.limiter = RateLimiter(fetch.requests_per_s)
        self._breakers: dict[str, CircuitBreaker] = {}
        self.timeout = min(CONNECT_TIMEOUT_S, fetch.timeout_s), fetch.timeout_s  # for connecting, and for each read
        # iter_chunks measures the rate only between two reads, so no read of a file may take longer than stall_s
        stall_s = limits.stall_s if limits.stall_bytes else math.inf
        self.file_timeout = self.timeout[0], min(fetch.timeout_s, stall_s, limits.file_timeout_s)
        self.reached_hosts: set[str] = set()
        self.session = requests.Session()
        # without this function, credentials in ~/.netrc would replace the Authorization header of a request
        self.session.auth = lambda request: request
        contact = f" (+{fetch.contact})" if fetch.contact else ""
        self.session.headers["User-Agent"] = f"hubbleclip/{__version__}{contact}"
        self.adapter = HTTPAdapter(pool_connections=4, pool_maxsize=max(fetch.connections, 4))
        self.adapter.poolmanager.pool_classes_by_scheme = POOLS
        self.tokens: dict[str, str] = {}  # MAST tokens by host, so that a redirect sends no token to another host

    def breaker_of(self, host: str) -> CircuitBreaker:
        """Return the circuit breaker of a host. If one host is down, requests to other hosts continue."""
        # setdefault is atomic, so two threads that both create a breaker get the same one
        limits = self.limits
        breaker = CircuitBreaker(limits.breaker_failures, limits.breaker_s, limits.outage_s)
        return self._breakers.setdefault(host, breaker)

    def retried(
        self, url: str, send: Callable[[], Result], most_damaged: int | None = None, *, is_waited_for: bool = True
    ) -> Result:
        """Call `send`, which sends one request, and repeat the call after failures, with exponential backoff.

        The tries end after `RequestLimits.attempts`, or after `most_damaged` complete but damaged responses. Tries are
        not counted while the host is down. A host that has never responded is retried for `FIRST_CONTACT_S`. If
        `is_waited_for` is False, ArchiveDownError is raised if the host is down or asks for a long pause.
        """
        started, host, num_damaged, num_tries = time.monotonic(), urlsplit(url).netloc, 0, 0

        def should_retry(error: Exception) -> bool:
            nonlocal num_damaged, num_tries
            breaker = self.breaker_of(host)
            breaker.check(is_waited_for=is_waited_for)  # an open breaker raises here, which ends the retries
            if not is_waited_for:
                self.limiter.check_pause(host)
            if is_unreachable(error) and host not in self.reached_hosts:
                return time.monotonic() - started < FIRST_CONTACT_S
            if is_waited_for and (is_unreachable(error) or (breaker.is_down() and is_host_failure(error))):
                return True
            num_tries += 1
            num_damaged += isinstance(error, DamagedError) and not is_host_failure(error)
            if num_tries >= self.limits.attempts or (most_damaged is not None and num_damaged >= most_damaged):
                return False
            return is_retryable(error)

        waits = {"wait_initial": self.limits.backoff_s, "wait_jitter": self.limits.backoff_s, "wait_max": MAX_WAIT_S}
        return stamina.RetryingCaller(attempts=None, timeout=None, **waits)(should_retry, send)

    @contextmanager
    def monitored(self, host: str, *, is_waited_for: bool = True) -> Iterator[None]:
        """Wait for the rate limit before a request, and record in the host's breaker whether the host failed.

        Raises ArchiveDownError if the breaker is open, or if `is_waited_for` is False and the host asks for a long
        pause.
        """
        breaker = self.breaker_of(host)
        self.limiter.wait(host, breaker.is_open, is_waited_for=is_waited_for)
        breaker.check()
        try:
            yield
        except (requests.RequestException, DamagedError) as error:
            if is_host_failure(error):
                breaker.record_failure(host, " ".join(str(error).split())[:160])
            else:
                breaker.record_success()
            raise
        breaker.record_success()

    def check_status(self, host: str, response: requests.Response) -> None:
        """Raise HTTPError if the server failed; the response's Retry-After header delays later requests to the host."""
        self.reached_hosts.add(host)
        if is_server_failure(response.status_code):
            seconds = retry_after_s(response.headers)
            if seconds is not None:
                self.limiter.pause_host(host, seconds)
            response.raise_for_status()

    @contextmanager
    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        redirect_hosts: Sequence[str] | None = None,
        is_redirected: bool = True,
        is_waited_for: bool = True,
        **content: Any,
    ) -> Iterator[requests.Response]:
        """Send one request without retries, and yield the response before its body is read.

        The request is a POST if there is `json` or `data` to send, else a GET. Redirects are followed, unless
        `is_redirected` is False. Raises requests.RequestException if the request fails, or if the status is a server
        failure (see `is_server_failure`). Raises RefusedError for a redirect to another host that is not in
        `redirect_hosts` (by default `fetch.redirect_hosts`).
        """
        hosts = self.fetch.redirect_hosts if redirect_hosts is None else redirect_hosts
        method, timeout = ("POST", self.timeout) if content else ("GET", self.file_timeout)
        for _ in range(MAX_REDIRECTS + 1):
            host = urlsplit(url).netloc
            cookies = {"mast_token": self.tokens[host]} if host in self.tokens else None
            request = self.session.prepare_request(requests.Request(method, url, headers, cookies=cookies, **content))
            options: Mapping[str, Any] = self.session.merge_environment_settings(url, {}, True, None, None)
            # `Session.send` is not used, because it would read the whole body of a redirect, without limits
            with (
                self.monitored(host, is_waited_for=is_waited_for),
                self.adapter.send(request, timeout=timeout, **options) as response,
            ):
                if not is_redirected or response.status_code not in REDIRECT_STATI:
                    self.check_status(host, response)
                    yield response
                    return
                url = resolve_redirect(url, response.headers.get("Location", ""), hosts)
                if response.status_code not in {307, 308}:
                    # the next request is a GET, as in browsers and `requests`; CADC refuses a POST to a redirect's URL
                    method, timeout, content = "GET", self.file_timeout, {}
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects from {url}")

    def iter_chunks(
        self, response: requests.Response, limit_bytes: int, limit_s: float | None = None
    ) -> Iterator[bytes]:
        """Yield the chunks of a body as they arrive; the body must end within `limit_s`, by default `file_timeout_s`.

        Raises IncompleteError (reason `stalled` or `timeout`) or RefusedError (reason `too_large`).
        """
        limits, num_bytes = self.limits, 0
        checkpoint = time.monotonic()
        limit_s = limit_s or limits.file_timeout_s
        deadline = checkpoint + limit_s
        reader = getattr(response.raw.connection, "reader", None)  # None for a connection through a proxy

        def read(num_bytes: int) -> bytes:
            if reader:  # the deadline limits each read, because a server may send trailers one byte at a time
                reader.deadline = min(deadline, time.monotonic() + reader.timeout_s)
            return bytes(response.raw.read1(num_bytes))

        try:
            # `Response.iter_content` is not used, because it waits until a chunk is full, without a limit on this time
            for data in chunks(read, limit_bytes, limit_s):
                num_bytes += len(data)
                yield data
                now = time.monotonic()
                # the rate is measured over intervals of at least stall_s, because single chunks arrive irregularly
                if now - checkpoint > limits.stall_s:
                    if num_bytes < limits.stall_bytes:
                        words = f"fewer than {limits.stall_bytes} bytes arrived in {limits.stall_s:g} s"
                        raise IncompleteError(words, "stalled")
                    checkpoint, num_bytes = now, 0
        except TooLargeError as error:
            raise RefusedError(str(error), "too_large") from error
        except (ReadTimeoutError, TimeoutError) as error:
            if time.monotonic() >= deadline:
                raise IncompleteError(f"the response did not end within {limit_s:g} s", "timeout") from error
            raise requests.ReadTimeout(error) from error
        except PoolError as error:
            raise requests.ConnectionError(error) from error

    def read_body(self, response: requests.Response, limit_bytes: int) -> None:
        """Read and decompress a whole body into `response.content`; errors as in `iter_chunks`."""
        response.raw.decode_content = True
        limit_s = min(QUERY_PATIENCE * self.fetch.timeout_s, self.limits.file_timeout_s)
        chunks = self.iter_chunks(response, limit_bytes, limit_s)
        raw, response.raw = response.raw, io.BytesIO(b"".join(chunks))
        len(response.content)  # the property reads the body and caches it
        response.raw = raw

    def ask(self, url: str, limit_bytes: int = PAGE_BYTES, **request: Any) -> requests.Response:
        """Send one request without retries, as `open` does, and read the whole response; HTTPError for a failure."""
        failures = requests.RequestException, ResponseError
        # for an error status, HTTPError is raised below, even if the body of the response cannot be read
        with self.open(url, **request) as response, suppress(*() if response.ok else failures):
            self.read_body(response, limit_bytes)
        for hook in self.session.hooks["response"]:
            hook(response)
        response.raise_for_status()
        return response

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, limit_bytes: int = PAGE_BYTES
    ) -> requests.Response:
        """Send a GET request with retries, and read the whole response, whose status is a success or 304.

        Raises ArchiveError if all tries failed, and HTTPError for a status that a retry would not change, such as 404.
        """
        try:
            return self.retried(url, lambda: self.ask(url, limit_bytes, headers=headers))
        except (requests.RequestException, ResponseError) as error:
            if isinstance(error, requests.HTTPError) and not is_retryable(error):
                raise
            raise to_archive_error(error, url) from error
