"""The simulated archive over HTTP: what MAST and STScI answer, as far as this project asks, and labelled as simulated.

astroquery itself is the client, so the paths, the form-encoded JSON request and its answers are MAST's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import threading
import zlib
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator.server import mast_tables as tables
from hubbleclip.simulator.server import pages
from hubbleclip.simulator.server.conditional_requests import versioned
from hubbleclip.simulator.server.fault_injection import ROW_ORDER, TRANSPORT
from hubbleclip.simulator.server.fault_plan import FaultMiddleware, FaultPlan
from hubbleclip.simulator.server.product_store import Store
from hubbleclip.simulator.visits import FIRST_RELEASE_MJD, SimObservation

LOG = logging.getLogger(__name__)
HOME = """<!DOCTYPE html><html><head><title>Simulated archive (not real)</title></head><body><h1>Simulated archive</h1>
<p>Everything here is made by hubbleclip; nothing is of the real sky.
<a href="/hst/proposal_abstracts.html">Proposals</a></p></body></html>"""
EXECUTING_EVERY = 5
MAX_ROWS = 50_000
SHUTDOWN_S = 2
Found = tuple[Sequence[Any], Callable[[Any], tables.Row], dict[str, str]]
"""What a query found, how an item of it becomes a row, and the types of the row's columns."""
MEDIA_TYPES = {".jpg": "image/jpeg", ".fits": "application/fits"}


class LabelMiddleware:
    """Says `X-Simulated: true` on every answer, dates it, and lets the faults reach the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and label the answer."""

        async def label(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Simulated"] = "true"
                headers.setdefault("Date", formatdate(usegmt=True))
            await send(message)

        connection = getattr(getattr(send, "__self__", None), "transport", None)
        await self.app({**scope, TRANSPORT: connection}, receive, label)


class Mashup:
    """MAST's query service: one address, a JSON request that names a service, pages, and a poll now and then."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.services: dict[str, Callable[[dict[str, Any]], Found]] = {
            "Mast.Caom.Filtered": self._observations,
            "Mast.Caom.Filtered.Position": self._near,
            "Mast.Caom.Products": self._products,
        }
        self._polled: set[int] = set()
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any], order: float | None = None) -> dict[str, Any]:
        """The answer to a request, as MAST words it; a wrong one is status ERROR with HTTP 200, as there.

        `order` is the seed of another order of the rows than the archive's own, which it falls into at times.
        """
        if self._is_first_poll(request):
            return {"status": "EXECUTING", "msg": "", "data": [], "fields": []}
        params = request.get("params") or {}
        service = self.services.get(str(request.get("service")))
        if service is None:
            return _error(f"Service {request.get('service')!r} is not known to the simulated archive.")
        try:
            items, make_row, types = service(params)
        except (ValueError, KeyError) as error:
            return _error(str(error))
        if order is not None:
            items = random.Random(order).sample(items, len(items))
        if "COUNT_BIG" in str(params.get("columns", "")):
            items, make_row, types = [{"Column1": len(items)}], dict, {"Column1": "string"}
        return _page(items, make_row, types, int(request.get("page") or 1), int(request.get("pagesize") or MAX_ROWS))

    def _observations(self, params: dict[str, Any]) -> Found:
        return self.store.find_observations(params.get("filters", [])), self.store.row, tables.OBSERVATION_FIELDS

    def _near(self, params: dict[str, Any]) -> Found:
        """Observations in a circle: `position` is `ra, dec, radius` in degrees."""
        cone = tables.Cone(*(float(part) for part in str(params["position"]).split(",")))
        items = [item for item in self.store.find_observations(params.get("filters", [])) if item in cone]

        def row(item: SimObservation) -> tables.Row:
            return self.store.row(item) | {"distance": cone.distance_arcsec(item)}

        return items, row, tables.OBSERVATION_FIELDS | {"distance": "float"}

    def _products(self, params: dict[str, Any]) -> Found:
        numbers = [int(part) for part in str(params.get("obsid", "")).split(",")]
        return self.store.find_products(numbers), lambda pair: tables.product_row(*pair), tables.PRODUCT_FIELDS

    def _is_first_poll(self, request: dict[str, Any]) -> bool:
        """True once for one request in five: a real query may take longer than the service lets a client wait."""
        known = {key: value for key, value in request.items() if key != "cacheBreaker"}
        key = zlib.crc32(json.dumps(known, sort_keys=True).encode())
        with self._lock:
            is_first = key % EXECUTING_EVERY == 0 and key not in self._polled
            self._polled.add(key)
            return is_first


def _error(message: str) -> dict[str, Any]:
    return {"status": "ERROR", "msg": message, "data": [], "fields": []}


def _page(
    items: Sequence[Any], make_row: Callable[[Any], tables.Row], types: dict[str, str], page: int, page_size: int
) -> dict[str, Any]:
    """One page of rows under MAST's paging object; no answer has more than 50,000 rows."""
    page_size = min(max(page_size, 1), MAX_ROWS)
    shown = [make_row(item) for item in items[(page - 1) * page_size : page * page_size]]
    num_pages = max(-(-len(items) // page_size), 1)
    paging = {"page": page, "pageSize": page_size, "pagesFiltered": num_pages, "rows": len(shown),
              "rowsFiltered": len(items), "rowsTotal": len(items)}  # fmt: skip
    return {"status": "COMPLETE", "msg": "", "data": shown, "fields": tables.fields_of(types), "paging": paging}


class Endpoints:
    """The addresses that the archive answers at."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mashup = Mashup(store)

    def routes(self) -> list[Route]:
        """The paths are MAST's and STScI's own."""
        return [
            Route("/", lambda _: HTMLResponse(HOME)),
            Route("/api/v0/invoke", self.invoke, methods=["GET", "POST"]),
            Route("/portal/Mashup/Mashup.asmx/columnsconfig", self.columns_config, methods=["POST"]),
            Route("/api/v0.1/Download/file", self.download, methods=["GET", "HEAD"]),
            Route("/hst/proposal_abstracts.html", lambda _: HTMLResponse(pages.BULK_PAGE)),
            Route("/hst/abstracts.cat", self.abstracts, methods=["GET", "HEAD"]),
            Route("/hst-program-info/download/hst/apt/{number}/", self.apt),
            Route("/hst-program-info/program/", self.program),
            Route("/jwst-program-info/download/jwst/apt/{number}/", self.apt_archive),
            Route("/jwst-program-info/program/", self.program),
        ]

    async def invoke(self, request: Request) -> Response:
        """A query. The body is `request=` and URL-encoded JSON."""
        form = parse_qs((await request.body()).decode() or request.url.query)
        try:
            query = json.loads(form["request"][0])
        except (KeyError, json.JSONDecodeError):
            return PlainTextResponse("request= with JSON is missing", status_code=400)
        order = request.scope.get(ROW_ORDER)
        return await asyncio.to_thread(lambda: JSONResponse(self.mashup.answer(query, order)))

    async def columns_config(self, request: Request) -> Response:
        """The columns of a service's table."""
        config_id = parse_qs((await request.body()).decode()).get("colConfigId", [""])[0]
        return JSONResponse(tables.columns_config(config_id))

    async def download(self, request: Request) -> Response:
        """A file, whole or from a byte on; rendered only when its bytes are asked for."""
        uri = request.query_params.get("uri", "")
        found = await asyncio.to_thread(self.store.find_file, uri)
        if found is None:
            return PlainTextResponse(f"no file {uri}", status_code=404)
        observation, product = found
        return await versioned(
            request,
            lambda: asyncio.wrap_future(self.store.render(observation, product)),
            size=product.size_bytes,
            etag=self.store.etag(observation, product),
            modified_mjd=observation.released_mjd + observation.version,
            media_type=MEDIA_TYPES.get(PurePath(product.file_name).suffix, "application/octet-stream"),
            headers={"Content-Disposition": f'attachment; filename="{product.file_name}"'},
        )

    async def abstracts(self, request: Request) -> Response:
        """The bulk list of proposals, with a version, so that an unchanged one is not sent again."""
        data = await asyncio.to_thread(lambda: self.store.abstracts_cat)

        async def read() -> bytes:
            return data

        return await versioned(
            request,
            read,
            size=len(data),
            etag=f'"{zlib.crc32(data):08x}-{len(data)}"',
            modified_mjd=FIRST_RELEASE_MJD + self.store.settings.nights,
            media_type="text/plain; charset=utf-8",
        )

    def apt(self, request: Request) -> Response:
        """A programme's APT file."""
        proposal = self.store.proposals.get(request.path_params["number"])
        if proposal is None:
            return HTMLResponse("<title>Simulated: no such programme</title>", status_code=404)
        return Response(pages.apt_xml(proposal), media_type="application/xml")

    def apt_archive(self, request: Request) -> Response:
        """A JWST programme's APT file."""
        proposal = self.store.proposals.get(request.path_params["number"])
        if proposal is None:
            return HTMLResponse("<title>Simulated: no such programme</title>", status_code=404)
        return Response(pages.apt_archive(proposal), media_type="application/zip")

    def program(self, request: Request) -> Response:
        """A programme's page."""
        proposal = self.store.proposals.get(request.query_params.get("program", ""))
        if proposal is None:
            return HTMLResponse("<title>Simulated: no such programme</title>", status_code=404)
        return HTMLResponse(pages.program_page(proposal))


def make_app(settings: SimulatorSettings, faults: FaultPlan | None = None) -> ASGIApp:
    """The archive as an ASGI application."""
    app = Starlette(routes=Endpoints(Store(settings)).routes())
    return LabelMiddleware(FaultMiddleware(app, faults or FaultPlan()))


class AnnouncingServer(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self.announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets)
        self.announce()


def serve(
    settings: SimulatorSettings,
    faults: FaultPlan | None = None,
    *,
    announce: Callable[[str, uvicorn.Server], None] = lambda url, _: LOG.info("simulated archive at %s", url),
) -> None:
    """Serve until interrupted. `announce` is called with the address and the server once it answers.

    Raises SettingsError when the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot serve on {settings.host}:{settings.port} ({error.strerror}): set simulator.port to 0 or a free one"
        ) from error
    url = f"http://{settings.host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        make_app(settings, faults), log_level="critical", access_log=False, lifespan="off",
        date_header=False, timeout_graceful_shutdown=SHUTDOWN_S,
    )  # fmt: skip
    server = AnnouncingServer(config, lambda: announce(url, server))
    with listener:
        server.run(sockets=[listener])
