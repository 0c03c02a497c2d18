"""HTTP application of the simulated archive: it imitates those services of MAST and STScI that this project queries.

Every response is labelled as simulated. The paths, requests and responses have the same form as those of MAST, because
the clients are unmodified libraries such as astroquery.
"""

from __future__ import annotations

import asyncio
import json
import logging
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
from hubbleclip.simulator.observations import FIRST_RELEASE_MJD, SimObservation, SimProposal, SkySettings
from hubbleclip.simulator.server import mast_tables as tables
from hubbleclip.simulator.server import pages
from hubbleclip.simulator.server.conditional_requests import versioned_response
from hubbleclip.simulator.server.mission_search import MissionSearch
from hubbleclip.simulator.server.product_store import ArchiveStore

LOG = logging.getLogger(__name__)
HOME = """<!DOCTYPE html><html><head><title>Simulated archive (not real)</title></head><body><h1>Simulated archive</h1>
<p>Everything here is made by hubbleclip; nothing is of the real sky.
<a href="/hst/proposal_abstracts.html">Proposals</a></p></body></html>"""
EXECUTING_EVERY = 5  # One in EXECUTING_EVERY queries must be sent twice; the first response has no result.
MAX_ROWS = 50_000  # Maximum number of rows per response, as in MAST.
LOOPBACK = "127.0.0.1"  # Only clients on this machine reach the archive, because its data are not real.
SHUTDOWN_S = 2  # On shutdown, open requests have this many seconds to finish.
QueryResult = tuple[Sequence[Any], Callable[[Any], tables.Row], dict[str, str]]
"""Result of a query: the matching items, a function that converts one item to a row, and the type of each column."""
MEDIA_TYPES = {".jpg": "image/jpeg", ".fits": "application/fits"}


class LabelMiddleware:
    """Middleware that adds the headers `X-Simulated: true` and `Date` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and add the headers to its response."""

        async def label(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Simulated"] = "true"
                headers.setdefault("Date", formatdate(usegmt=True))
            await send(message)

        await self.app(scope, receive, label)


class MashupService:
    """Imitation of MAST's query service, which takes JSON requests and answers page by page.

    Some queries must be polled until the result is ready.
    """

    def __init__(self, store: ArchiveStore) -> None:
        self.store = store
        # Only the services that astroquery uses are simulated.
        self.services: dict[str, Callable[[dict[str, Any]], QueryResult]] = {
            "Mast.Caom.Filtered": self._observations,
            "Mast.Caom.Filtered.Position": self._observations_in_cone,
            "Mast.Caom.Products": self._products,
        }
        # Hashes of the queries that were received at least once.
        self._polled: set[int] = set()
        self._lock = threading.Lock()

    def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a query, in the format of MAST's responses."""
        if self._must_poll(request):
            return {"status": "EXECUTING", "msg": "", "data": [], "fields": []}
        params = request.get("params") or {}
        service = self.services.get(str(request.get("service")))
        if service is None:
            return _error_response(f"Service {request.get('service')!r} is not known to the simulated archive.")
        try:
            items, make_row, types = service(params)
        except (ValueError, KeyError) as error:
            return _error_response(str(error))
        # Clients ask for the number of rows before they request the pages.
        if "COUNT_BIG" in str(params.get("columns", "")):
            items, make_row, types = [{"Column1": len(items)}], dict, {"Column1": "string"}
        return _page_response(
            items, make_row, types, int(request.get("page") or 1), int(request.get("pagesize") or MAX_ROWS)
        )

    def _observations(self, params: dict[str, Any]) -> QueryResult:
        """Find the observations that match the filters of a query."""
        return self.store.find_observations(params.get("filters", [])), self.store.row, tables.OBSERVATION_FIELDS

    def _observations_in_cone(self, params: dict[str, Any]) -> QueryResult:
        """Find the observations in a circle; the parameter `position` is the text `ra, dec, radius`, in degrees."""
        # As in MAST, the position is one string of three numbers.
        cone = tables.Cone(*(float(part) for part in str(params["position"]).split(",")))
        items = [item for item in self.store.find_observations(params.get("filters", [])) if item in cone]

        def row(item: SimObservation) -> tables.Row:
            return self.store.row(item) | {"distance": cone.distance_arcsec(item)}

        return items, row, tables.OBSERVATION_FIELDS | {"distance": "float"}

    def _products(self, params: dict[str, Any]) -> QueryResult:
        """List the products of observations; the parameter `obsid` is a comma-separated list of observation numbers."""
        numbers = [int(part) for part in str(params.get("obsid", "")).split(",")]
        return self.store.product_rows(numbers), dict, tables.PRODUCT_FIELDS

    def _must_poll(self, request: dict[str, Any]) -> bool:
        """Decide whether the client must repeat its request to get the result of its query.

        One in EXECUTING_EVERY queries must be sent twice.
        MAST requires a second request if a query takes longer than the time limit of a request.
        """
        known = {key: value for key, value in request.items() if key != "cacheBreaker"}
        # `cacheBreaker` differs in every request. It is not part of the key, so that a poll has the same key as the
        # query that it repeats.
        key = zlib.crc32(json.dumps(known, sort_keys=True).encode())
        with self._lock:  # Queries run in several threads.
            is_first = key % EXECUTING_EVERY == 0 and key not in self._polled
            self._polled.add(key)
            return is_first


def _error_response(message: str) -> dict[str, Any]:
    """Make a response with the status ERROR and a message."""
    return {"status": "ERROR", "msg": message, "data": [], "fields": []}


def _page_response(
    items: Sequence[Any], make_row: Callable[[Any], tables.Row], types: dict[str, str], page: int, page_size: int
) -> dict[str, Any]:
    """Make the response for one page of rows, with MAST's `paging` object; a page has at most MAX_ROWS rows."""
    page_size = min(max(page_size, 1), MAX_ROWS)  # MAST reduces a larger page size without an error.
    rows = [make_row(item) for item in items[(page - 1) * page_size : page * page_size]]
    num_pages = max(-(-len(items) // page_size), 1)  # An empty result has one page.
    paging = {
        "page": page,
        "pageSize": page_size,
        "pagesFiltered": num_pages,
        "rows": len(rows),
        "rowsFiltered": len(items),
        "rowsTotal": len(items),
    }
    return {"status": "COMPLETE", "msg": "", "data": rows, "fields": tables.table_fields(types), "paging": paging}


class Endpoints:
    """HTTP endpoints of the archive."""

    def __init__(self, store: ArchiveStore) -> None:
        self.store = store
        self.mashup_service = MashupService(store)

    def routes(self) -> list[Route]:
        """List the routes, whose paths are the same as those of MAST and STScI."""
        return [
            Route("/", lambda _: HTMLResponse(HOME)),
            Route("/api/v0/invoke", self.invoke, methods=["GET", "POST"]),
            Route("/portal/Mashup/Mashup.asmx/columnsconfig", self.columns_config, methods=["POST"]),
            Route("/api/v0.1/Download/file", self.download, methods=["GET", "HEAD"]),
            *MissionSearch(self.store).routes(),
            Route("/stpubdata/{path:path}", self.public_copy, methods=["GET", "HEAD"]),
            Route("/hst/proposal_abstracts.html", lambda _: HTMLResponse(pages.BULK_PAGE)),
            Route("/hst/abstracts.cat", self.abstracts, methods=["GET", "HEAD"]),
            Route("/hst-program-info/download/hst/apt/{number}/", self.apt),
            Route("/hst-program-info/program/", self.program),
            Route("/jwst-program-info/download/jwst/apt/{number}/", self.apt_archive),
            Route("/jwst-program-info/program/", self.program),
        ]

    async def invoke(self, request: Request) -> Response:
        """Run a query."""
        # astroquery sends the query as the body of a POST.
        form = parse_qs((await request.body()).decode() or request.url.query)
        try:
            query = json.loads(form["request"][0])
        except (KeyError, json.JSONDecodeError):
            return PlainTextResponse("the form field `request` is missing or is not valid JSON", status_code=400)
        # The query runs in a thread, because its search and JSON encoding would block the event loop.
        return await asyncio.to_thread(lambda: JSONResponse(self.mashup_service.respond(query)))

    async def columns_config(self, request: Request) -> Response:
        """Describe the columns of a service's table."""
        config_id = parse_qs((await request.body()).decode()).get("colConfigId", [""])[0]
        return JSONResponse(tables.columns_config(config_id))

    async def download(self, request: Request) -> Response:
        """Send a file, or a range of its bytes; the file is rendered only if the response has a body."""
        return await self._send_file(request, request.query_params.get("uri", ""))

    async def public_copy(self, request: Request) -> Response:
        """Send a file of the simulated public S3 bucket of MAST; the bucket's folders are named after observations."""
        mission, _, path = request.path_params["path"].partition("/public/")
        folder, _, name = path.rpartition("/")
        if not self.store.is_public_folder(folder, name):
            return PlainTextResponse(f"the simulated bucket has no file {path}", status_code=404)
        return await self._send_file(request, f"mast:{mission.upper()}/product/{name}")

    async def _send_file(self, request: Request, uri: str) -> Response:
        """Send the file that has the MAST data URI `uri`, or only the requested byte range."""
        entry = await asyncio.to_thread(self.store.find_file, uri)
        if entry is None:
            return PlainTextResponse(f"the simulated archive has no file {uri}", status_code=404)
        observation, product = entry
        return await versioned_response(
            request,
            lambda: asyncio.wrap_future(self.store.render(observation, product)),
            size=product.size_bytes,
            etag=self.store.etag(observation, product),
            # Each reprocessing raises the version by 1 and moves the modification date by one day.
            modified_mjd=observation.released_mjd + observation.version,
            media_type=MEDIA_TYPES.get(PurePath(product.file_name).suffix, "application/octet-stream"),
            headers={"Content-Disposition": f'attachment; filename="{product.file_name}"'},
        )

    async def abstracts(self, request: Request) -> Response:
        """Send the bulk list of proposals, with an ETag, so that a client need not download an unchanged list."""
        data = await asyncio.to_thread(lambda: self.store.abstracts_cat)

        async def read() -> bytes:
            return data

        return await versioned_response(
            request,
            read,
            size=len(data),
            etag=f'"{zlib.crc32(data):08x}-{len(data)}"',
            modified_mjd=FIRST_RELEASE_MJD + self.store.settings.nights,
            media_type="text/plain; charset=utf-8",
        )

    def apt(self, request: Request) -> Response:
        """Send the APT file of an HST programme."""
        return self._proposal_file(request.path_params["number"], pages.apt_xml, "application/xml")

    def apt_archive(self, request: Request) -> Response:
        """Send the APT file of a JWST programme."""
        return self._proposal_file(request.path_params["number"], pages.apt_archive, "application/zip")

    def program(self, request: Request) -> Response:
        """Send the web page of a programme."""
        return self._proposal_file(request.query_params.get("program", ""), pages.program_page, "text/html")

    def _proposal_file(self, number: str, write: Callable[[SimProposal], str | bytes], media_type: str) -> Response:
        """Send the document that `write` makes for a proposal; 404 if there is no such proposal."""
        proposal = self.store.proposals.get(number)
        if proposal is None:
            return HTMLResponse("<title>Simulated: no such programme</title>", status_code=404)
        return Response(write(proposal), media_type=media_type)


def make_app(store: ArchiveStore) -> ASGIApp:
    """Make the ASGI application of the simulated archive."""
    return LabelMiddleware(Starlette(routes=Endpoints(store).routes()))


class NotifyingServer(uvicorn.Server):
    """Uvicorn server that calls a function once the server accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then call `on_ready`."""
        await super().startup(sockets)
        self.on_ready()


def serve(
    settings: SimulatorSettings,
    *,
    host: str = LOOPBACK,
    app: ASGIApp | None = None,
    on_ready: Callable[[str, uvicorn.Server], None] = lambda url, _: LOG.info("simulated archive at %s", url),
) -> None:
    """Serve the archive until interrupted. Raises SettingsError if the port is in use or `host` is not this machine."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # A restarted server can reuse the port immediately.
    try:
        listener.bind((host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot bind to {host}:{settings.port} ({error.strerror}): set simulator.port to 0 or a free port"
        ) from error
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app or make_app(ArchiveStore(SkySettings(**settings.model_dump()))),
        log_level="critical",
        access_log=False,
        lifespan="off",
        date_header=False,  # `LabelMiddleware` adds the header `Date`
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = NotifyingServer(config, lambda: on_ready(url, server))
    with listener:
        server.run(sockets=[listener])
