"""Session through which libraries such as astroquery send queries, with the limits and the rules of a `Transport`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from hubbleclip.archives.http.body_limits import check_json, limit_bytes
from hubbleclip.archives.http.rate_limit import resolve_redirect
from hubbleclip.archives.http.watchdog import POOLS

if TYPE_CHECKING:
    from hubbleclip.archives.http.client import Transport

MAX_REDIRECTS = 5


class QuerySession(requests.Session):
    """A session that follows a redirect to another host only if the settings allow this host.

    Parameters
    ----------
    redirect_hosts
        The other hosts that are allowed, as in `fetch.redirect_hosts`.

    """

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
    """Adapter that applies the rate limit, timeouts and circuit breakers to the requests of a session.

    The limits thus also apply to libraries that send requests through the session, such as astroquery. Requests whose
    response is streamed are exempt, because `Transport.open`, which sends them, applies the limits itself.

    Parameters
    ----------
    transport
        Transport whose limits apply.

    """

    def __init__(self, transport: Transport) -> None:
        super().__init__(pool_connections=4, pool_maxsize=max(transport.fetch.connections, 4))
        self.poolmanager.pool_classes_by_scheme = POOLS
        self.transport = transport

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request when the rate limit allows it, and read the whole response unless it is streamed."""
        if kwargs.get("stream"):
            return super().send(request, *args, **kwargs)
        host = urlsplit(request.url or "").netloc
        kwargs["timeout"] = kwargs.get("timeout") or self.transport.timeout
        with self.transport.monitored(host):
            response = super().send(request, *args, **kwargs)
            self.transport.check_status(host, response)
            self.transport.read_body(response, limit_bytes())
        check_json(response.content)
        return response
