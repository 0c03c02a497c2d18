"""The application: routes, error handlers and middleware, and metrics in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip import __version__
from hubbleclip.core.errors import CatalogError, DamagedIndexError, HubbleclipError, NotFoundError
from hubbleclip.search.params import ParameterError, Short, first_fault
from hubbleclip.search.server.api import ERRORS, add_posted_schema, api_routes
from hubbleclip.search.server.pages.routes import error_page, page_routes, wants_page
from hubbleclip.search.server.pictures import picture_routes
from hubbleclip.search.server.running_server import proof_of
from hubbleclip.search.server.search_service import LOADING, OK, RETRY_AFTER_S, BusyError, SearchService
from hubbleclip.search.server.security import Access, SecurityMiddleware
from hubbleclip.search.server.uploads import UploadError
from hubbleclip.search.server.virtual_observatory import observatory_routes

if TYPE_CHECKING:
    from mcp.server import MCPServer

STATIC = Path(__file__).parent / "pages/static"
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STATUS: dict[type, int] = {NotFoundError: 404, UploadError: 422, ParameterError: 422}
STATUS |= dict.fromkeys((BusyError, CatalogError, DamagedIndexError), 503)
"""HTTP status of each class of error and its subclasses; all other errors have the status 400."""


class Health(BaseModel):
    """Status of the server, and proof (`proof_of`) that the server knows the secret of the `RunningServer` record."""

    status: str
    proof: str


class MetricsMiddleware:
    """Counts and times the requests by route, not by path, because the number of different paths has no limit."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self.requests = Counter(
            "hubbleclip_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "hubbleclip_request_seconds", "Time from request to response", ["route"], registry=registry, buckets=BUCKETS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 500, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.requests.labels(route, status).inc()
            self.seconds.labels(route).observe(time.monotonic() - started)


def create_app(service: SearchService, access: Access, instance: str = "", agents: MCPServer | None = None) -> FastAPI:
    """Make the application; `agents` has the tools that are served at `/mcp`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with agents.session_manager.run() if agents else nullcontext():
            yield
        service.close()

    app = FastAPI(
        title="hubbleclip search",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        description="Search the tiles of Hubble images by text, picture, tile, position and facts.",
        responses=ERRORS,
    )
    registry = CollectorRegistry()
    waiting = Gauge("hubbleclip_searches_open", "Searches that wait or run", registry=registry)
    waiting.set_function(lambda: service.queue.num_open)
    tiles = Gauge("hubbleclip_index_tiles", "Tiles of the index", registry=registry)
    tiles.set_function(lambda: service.search.status.num_tiles)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(SecurityMiddleware, access=access)
    app.add_middleware(MetricsMiddleware, registry=registry)
    app.include_router(api_routes(service))
    app.include_router(picture_routes(service))
    app.include_router(observatory_routes(service))
    app.include_router(page_routes(service, access))
    if agents:
        from hubbleclip.search.agents import http_routes  # noqa: PLC0415 - needs an extra

        app.router.routes.extend(http_routes(agents))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/healthz", summary="Whether searches are answered", responses={503: {"model": Health}})
    def health(response: Response, challenge: Short = "") -> Health:
        status = service.health()
        response.status_code = 200 if status in (OK, LOADING) else 503
        return Health(status=status, proof=proof_of(instance, challenge))

    @app.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
    async def numbers() -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    _explain_errors(app)
    make_schema = app.openapi
    app.openapi = lambda: app.openapi_schema or add_posted_schema(make_schema())  # type: ignore[method-assign]
    return app


def _explain_errors(app: FastAPI) -> None:
    """Answer errors as pages to people, and as JSON to programs."""

    @app.exception_handler(HubbleclipError)
    async def explain_error(request: Request, error: HubbleclipError) -> Response:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 400)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
        if wants_page(request):
            return error_page(request, str(error), status, headers)
        return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)

    @app.exception_handler(HTTPException)
    async def explain_address(request: Request, error: HTTPException) -> Response:
        path = getattr(request.scope.get("route"), "path", None)
        # the methods of all routes with this path
        if error.status_code == 405 and (methods := app.openapi()["paths"].get(path)):
            error.headers = {"Allow": ", ".join(map(str.upper, methods))}
        if wants_page(request):
            message = "there is no page at this address" if error.status_code == 404 else str(error.detail)
            return error_page(request, message, error.status_code, error.headers or {})
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def explain_fault(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"detail": first_fault(error.errors())}, status_code=422)
