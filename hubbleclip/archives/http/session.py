"""Session through which libraries such as astroquery send queries, with the limits and the rules of a `Transport`."""

from __future__ import annotations

import io
import logging
import math
import socket
import time
from collections.abc import Sequence
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from hubbleclip.archives.http.body_limits import LIMIT_BYTES, check_json
from hubbleclip.archives.http.rate_limit import resolve_redirect

if TYPE_CHECKING:
    from hubbleclip.archives.http.client import Transport

LOG = logging.getLogger(__name__)
MAX_REDIRECTS = 5
LOGGED_S, SLOW_BYTES = 60.0, 60_000
"""If fewer than `SLOW_BYTES` of a response arrive within `LOGGED_S` seconds, the response is logged as slow."""


class QuerySession(requests.Session):
    """A session that follows a redirect to another host only if `redirect_hosts` has this host."""

    def __init__(self, redirect_hosts: Sequence[str]) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS
        self.redirect_hosts = redirect_hosts
        # without this function, credentials in ~/.netrc would replace the Authorization header of a request
        self.auth = lambda request: request

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the address to which a response redirects; RefusedError if it is not allowed."""
        location = super().get_redirect_target(resp)
        return None if location is None else resolve_redirect(resp.url, location, self.redirect_hosts)


class RateLimitedAdapter(HTTPAdapter):
    """Adapter that applies the rate limit, timeouts and circuit breakers of a transport to a session's requests.

    The limits thus also apply to libraries that send requests through the session, such as astroquery. Requests whose
    response is streamed are exempt, because `Transport.open`, which sends them, applies the limits itself.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__(pool_connections=4, pool_maxsize=max(transport.fetch.connections, 4))
        self.poolmanager.pool_classes_by_scheme = {"http": TimedHttpPool, "https": TimedHttpsPool}
        self.transport = transport
        self.tokens: dict[str, str] = {}  # by host; `send` adds a token, so that no redirect takes it to another host

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request when the rate limit allows it, and read the whole response unless it is streamed."""
        host = urlsplit(request.url or "").netloc
        if host in self.tokens:
            cookies = request.headers.get("Cookie"), f"mast_token={self.tokens[host]}"  # as astroquery's MastAuth
            request.headers["Cookie"] = "; ".join(filter(None, cookies))
        if kwargs.get("stream"):
            return super().send(request, *args, **kwargs)
        kwargs["timeout"] = kwargs.get("timeout") or self.transport.timeout
        with self.transport.monitored(host):
            response = super().send(request, *args, **kwargs)
            self.transport.check_status(host, response)
            self.transport.read_body(response, LIMIT_BYTES.get())
        check_json(response.content)
        return response


class TimedReader(io.RawIOBase):
    """Reader of a response whose reads fail after `deadline`, a value of `time.monotonic()`.

    A socket's own timeout starts again with every byte. A server that sends its headers or its trailers one byte at a
    time could therefore block a connection without end.
    """

    def __init__(self, sock: socket.socket, host: str) -> None:
        self._sock, self._raw, self._host = sock, sock.makefile("rb", buffering=0), host
        self._timeout_s = sock.gettimeout() or math.inf
        self._started = self._logged = time.monotonic()
        self._num_bytes = 0  # bytes that have arrived since the time `_logged`
        self.deadline = self._started + self._timeout_s  # that of the headers; `iter_chunks` sets that of the body

    def makefile(self, _: str) -> io.BufferedReader:
        """Return a buffered reader; `http.client` calls this method as it would that of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """See `io.RawIOBase.readable`."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the bytes that have arrived; TimeoutError at the deadline."""
        now = time.monotonic()
        if now >= self.deadline:
            raise TimeoutError("the response did not arrive in time")
        if now - self._logged >= LOGGED_S:
            if self._num_bytes < SLOW_BYTES:
                LOG.warning("%s has been sending a response for %.0f s, slowly", self._host, now - self._started)
            self._logged, self._num_bytes = now, 0
        self._sock.settimeout(min(self.deadline - now, self._timeout_s))
        num_bytes = self._raw.readinto(buffer)
        self._num_bytes += num_bytes or 0
        return num_bytes

    def close(self) -> None:
        """Close the reader; the connection closes its socket."""
        self._raw.close()
        super().close()


class TimedHttp(HTTPConnection):
    """A connection whose response headers must all arrive within the read timeout; `reader` limits the body."""

    reader: TimedReader

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:  # type: ignore[override]
        """Make the response, which reads from a `TimedReader`."""
        self.reader = TimedReader(sock, self.host)
        return HTTPResponse(self.reader, *args, **options)  # type: ignore[arg-type]


class TimedHttps(TimedHttp, HTTPSConnection):
    """An HTTPS connection with the limits of `TimedHttp`."""


class TimedHttpPool(HTTPConnectionPool):
    """A pool of `TimedHttp` connections."""

    ConnectionCls = TimedHttp


class TimedHttpsPool(HTTPSConnectionPool):
    """A pool of `TimedHttps` connections."""

    ConnectionCls = TimedHttps
