"""The application: routes, errors and middleware put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from hubbleclip import __version__
from hubbleclip.core.errors import CatalogError, HubbleclipError
from hubbleclip.search.params import ParameterError, Short
from hubbleclip.search.server.api import NotFoundError, add_posted_schema, api_routes
from hubbleclip.search.server.cone_search import cone_routes
from hubbleclip.search.server.metrics import Metrics, MetricsMiddleware
from hubbleclip.search.server.pages.routes import error_page, page_routes, wants_page
from hubbleclip.search.server.running_server import proof_of
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access, SecurityMiddleware
from hubbleclip.search.server.uploads import UploadError
from hubbleclip.search.server.work_queue import RETRY_AFTER_S, BusyError

STATIC = Path(__file__).parent / "pages/static"
STATUS = {BusyError: 503, CatalogError: 503, NotFoundError: 404, UploadError: 422, ParameterError: 422}
"""HTTP status by type of error; 400 for all others."""


def create_app(service: SearchService, access: Access, instance: str = "") -> FastAPI:
    """Make the application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
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
    )
    metrics = Metrics(lambda: service.queue.num_open, lambda: service.search.status.num_tiles)
    app.add_middleware(SecurityMiddleware, access=access)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    app.include_router(api_routes(service))
    app.include_router(cone_routes(service))
    app.include_router(page_routes(service))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/healthz", summary="Whether the server answers")
    async def health(challenge: Short = "") -> dict[str, str]:
        return {"status": "ok", "proof": proof_of(instance, challenge)}

    @app.get("/metrics", summary="Numbers for Prometheus")
    async def numbers() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(HubbleclipError)
    async def explain_error(request: Request, error: HubbleclipError) -> Response:
        status = STATUS.get(type(error), 400)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
        if wants_page(request):
            return error_page(request, str(error), status, headers)
        return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)

    @app.exception_handler(HTTPException)
    async def explain_address(request: Request, error: HTTPException) -> Response:
        if wants_page(request):
            message = "there is no page at this address" if error.status_code == 404 else str(error.detail)
            return error_page(request, message, error.status_code, error.headers or {})
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def explain_fault(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        name, message = ".".join(map(str, fault["loc"][1:])), str(fault["msg"]).removeprefix("Value error, ")
        return JSONResponse({"detail": f"{name}: {message}" if name else message}, status_code=422)

    make_schema = app.openapi
    app.openapi = lambda: app.openapi_schema or add_posted_schema(make_schema())  # type: ignore[method-assign]
    return app
