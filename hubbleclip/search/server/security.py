"""Access control of the server: checks of host, site, token and request size, and the content security policy."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.core.errors import HubbleclipError

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::\d+)?")
"""Matches a Host header; the group is the host without the port."""
COOKIE = "hubbleclip_token"
MAX_UPLOAD_BYTES, MAX_JSON_BYTES, MAX_BODY_S = 64 * 2**20, 2**20, 30.0
"""Maximum bytes of a multipart form (files go to disk) and of any other body; maximum seconds to receive a body."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN_PATHS = ("/healthz",)
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may send requests to the server.

    Attributes
    ----------
    host
        Address on which the server listens.
    token
        Token that each request needs; None with `--public`, or on loopback if no token is set.
    is_public
        If True, everybody may search, and nobody may change the selections.

    """

    host: str = "127.0.0.1"
    token: str | None = None
    is_public: bool = False


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_access(host: str, token: str | None, is_public: bool) -> Access:
    """Check that a server which other machines can reach has a token, or is declared public."""
    if not is_loopback(host) and not token and not is_public:
        message = "other machines can reach {}: set HUBBLECLIP_TOKEN, or pass --public to let everybody search"
        raise HubbleclipError(message.format(host))
    return Access(host=host, token=None if is_public else token, is_public=is_public)


class SecurityMiddleware:
    """Refuses requests that `Access` does not allow, and adds headers that restrict what a browser may do."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def protect(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if scope["method"] == "HEAD":  # HEAD is answered as GET; the HTTP library omits the body
            scope = dict(scope, method="GET")
        if refusal is None:
            await self.app(scope, _bounded(receive, _max_bytes(Headers(scope=scope))), protect)
        else:
            await refusal(scope, receive, protect)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the response that refuses a request; None if it is allowed."""
        headers = Headers(scope=scope)
        host = HOST.fullmatch(headers.get("host", ""))
        # Without this check, a web page of another site could read the answers by DNS rebinding.
        if is_loopback(self.access.host) and not is_loopback(host[1] if host else ""):
            return JSONResponse({"detail": "this server answers to localhost only"}, 421)
        if _is_from_another_site(headers, scope["method"]):
            return JSONResponse({"detail": "requests from other sites are refused"}, 403)
        length, max_bytes = headers.get("content-length", ""), _max_bytes(headers)
        if length.isdecimal() and int(length) > max_bytes:
            return JSONResponse({"detail": f"at most {max_bytes >> 20} MiB are accepted"}, 413)
        return None if scope["path"] in OPEN_PATHS else self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Return a 401 response if no token is valid, a redirect that drops a URL's token, or None to allow access."""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        given = headers.get("authorization", "").removeprefix("Bearer ")
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        in_url = dict(pairs).get("token", "")
        if not any(map(self._is_token, (given, cookie, in_url))):
            return JSONResponse(
                {"detail": "a token is needed: open /?token=..."}, 401, headers={"WWW-Authenticate": "Bearer"}
            )
        if not in_url:
            return None
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        response = RedirectResponse(f"/{'?' + rest if rest else ''}", status_code=303)
        if self.access.token and self._is_token(in_url):
            response.set_cookie(COOKIE, self.access.token, httponly=True, samesite="strict")
        return response

    def _is_token(self, text: str) -> bool:
        """Return whether a text is the access token; True for every text if the server needs no token."""
        return self.access.token is None or hmac.compare_digest(text.encode(), self.access.token.encode())


def _is_from_another_site(headers: Headers, method: str) -> bool:
    """Return whether a page of another site sent a request; False if a user followed a link from the other site.

    Without this check, any page that is open in the browser could upload files here, or keep the model and Sesame busy.
    """
    site = headers.get("sec-fetch-site")
    if site is None:  # the client is a program, or a browser older than 2023, which sends Origin with a form
        origin = headers.get("origin")
        return method not in READING and origin is not None and urlsplit(origin).netloc != headers.get("host")
    is_link = method in READING and headers.get("sec-fetch-dest") == "document" and "sec-fetch-user" in headers
    return site not in ("none", "same-origin") and not is_link


def _max_bytes(headers: Headers) -> int:
    """Return the maximum allowed size of a request's body in bytes."""
    is_form = headers.get("content-type", "").startswith("multipart/form-data")
    return MAX_UPLOAD_BYTES if is_form else MAX_JSON_BYTES


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    """Limit a request's body in bytes and in time, even if the request has no Content-Length."""
    num_bytes, deadline = 0, None

    async def receive_bounded() -> Message:
        nonlocal num_bytes, deadline
        now = asyncio.get_running_loop().time()
        deadline = deadline or now + MAX_BODY_S
        if num_bytes < 0:  # -1 means that the body is complete; only the message http.disconnect can follow
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, "the request took too long") from error
        if message["type"] == "http.request":
            num_bytes += len(message.get("body", b""))
            if num_bytes > max_bytes:
                raise HTTPException(413, f"at most {max_bytes >> 20} MiB are accepted")
            if not message.get("more_body", False):
                num_bytes = -1
        return message

    return receive_bounded
