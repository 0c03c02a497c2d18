"""The pages: search, tile, sky map and map of the features, made on the server."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException

from hubbleclip import __version__
from hubbleclip.catalog.tile_filters import FILTERS
from hubbleclip.core.errors import HubbleclipError, NotFoundError, SearchError
from hubbleclip.core.reasons import object_class
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.fits.positions import sexagesimal
from hubbleclip.missions.links import archive_links, sky_links
from hubbleclip.search.engine import NUM_SQUARES, Search
from hubbleclip.search.export import COLUMNS, FORMATS
from hubbleclip.search.open_index import MAX_MAPPED
from hubbleclip.search.params import MAX_DEPTH, NAMES, ParameterError, SearchParams, no_parameter, split_weight
from hubbleclip.search.records import GroupBy, Hits, Mode, Note, Sort, plain
from hubbleclip.search.selections import change_selection, delete_selection, read_selections
from hubbleclip.search.server.api import MAX_IMAGES, attachment, upload_of
from hubbleclip.search.server.pages import tile_view
from hubbleclip.search.server.pages.sky_map import SkyMap, draw_sky, hammer, write_moc
from hubbleclip.search.server.search_service import BusyError, SearchService, WebParams, params_of
from hubbleclip.search.server.security import Access
from hubbleclip.search.server.uploads import PICTURES
from hubbleclip.search.sky import UnaskedNameError
from hubbleclip.search.stores.base import rows_of

Part = TypeVar("Part")
NUM_EXAMPLES = 8
FOREIGN = re.compile("utm_.*|mc_.*|_.*|.*clid|ref|token|without")
"""Matches names of parameters that a search ignores, because other sites or the page itself add them to URLs."""
MODES = {Mode.BOTH: "model and words", Mode.MODEL: "model", Mode.WORDS: "words"}
GROUPS = {GroupBy.PROPOSAL: "one per programme", GroupBy.SKY: "one per patch of sky", GroupBy.NONE: "all"}
COUNTED = {GroupBy.PROPOSAL: "programme", GroupBy.SKY: "patch", GroupBy.NONE: "tile"}
"""Noun for what one hit represents, for each grouping of hits."""
SORTS = {
    Sort.SCORE: "best first",
    Sort.DATE: "newest first",
    Sort.EXPOSURE: "longest exposure first",
    Sort.DISTANCE: "nearest to the place first",
    Sort.RANDOM: "by chance",
}
MAX_DRAWN = 100
"""Number of hits that are marked on the sky and on the map of the features."""
MAX_SEED, MAX_SELECTED, MAX_COMPARED = 10**6, 250, 4
"""Exclusive maximum of random seeds; maximum number of fields of a selection form; maximum number of compared tiles."""
CHIP_NAMES = {"q": "", "like": "like tile", "unlike": "unlike tile", "abstract_of": "abstract of", "image": "picture"}
CHIP_NAMES |= {one.name: one.label for one in FILTERS}
"""Name of each parameter of a search, as the page shows it."""
CHIP_UNITS = {one.name: f" {one.unit}" for one in FILTERS if one.unit}
CHIP_VALUES = {"true": "yes", "false": "no"}


def exposure(seconds: float | None) -> str:
    """Format an exposure time."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.3g} s"


def day(value: Any) -> str:
    """Format a time as a day."""
    return "" if value is None else str(plain(value))[:10]


def corrected(texts: list[str], note: Note) -> list[str]:
    """Replace each text that equals `note.asked` by `note.meant`; keep weights, such as `^2`, and all other texts."""
    return [note.meant + one.removeprefix(note.asked) if split_weight(one)[0] == note.asked else one for one in texts]


ENVIRONMENT = Environment(
    loader=PackageLoader("hubbleclip.search.server.pages"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(exposure=exposure, day=day, object_class=object_class, corrected=corrected, plain=plain)
ENVIRONMENT.globals.update(
    version=__version__,
    chip_names=CHIP_NAMES,
    chip_units=CHIP_UNITS,
    chip_values=CHIP_VALUES,
    modes=MODES,
    groups=GROUPS,
    counted=COUNTED,
    sorts=SORTS,
    filters=FILTERS,
    ungrouped=GroupBy.NONE,
    num_squares=NUM_SQUARES,
)


def wants_page(request: Request) -> bool:
    """Return whether the answer to a request is a page for a person, and not data for a program."""
    return not request.url.path.startswith(("/api/", "/scs", "/sia2", "/mcp", "/metrics", "/healthz"))


def render(name: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> HTMLResponse:
    """Render a page."""
    text = ENVIRONMENT.get_template(f"{name}.html").render(**values)
    return HTMLResponse(text, status_code=status, headers=dict(headers or {}))


def error_page(request: Request, message: str, status: int, headers: Mapping[str, str]) -> HTMLResponse:
    """Render an error as a page, or as a fragment if htmx requests a part of a tile's page."""
    if "hx-request" in request.headers and request.url.path.startswith("/tiles/"):
        return render("fault", status, headers, fault=message)
    text = request.query_params.get("q", "")[:200]
    return render("error", status, headers, message=message, code=status, index=None, text=text)


def page_routes(service: SearchService, access: Access) -> APIRouter:
    """Make the routes of the pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def search(request: Request) -> Response:
        params = params_of(request.query_params)
        ignored = [name for name in request.query_params if name not in NAMES and not FOREIGN.fullmatch(name)]
        is_partial = "hx-request" in request.headers or ignored
        # The form sends every field. Without the empty fields, the address is short enough to be sent to a colleague.
        if not is_partial and any(value == "" for _, value in parse_qsl(request.url.query, keep_blank_values=True)):
            return RedirectResponse(params.url(page=params.page), status_code=303)
        return await _search_page(params, service, ignored, access)

    @router.post("/")
    async def upload(request: Request) -> Response:
        return RedirectResponse((await upload_of(request, service)).url(), status_code=303)

    @router.get("/uploads/{digest}")
    async def uploaded(digest: str) -> Response:
        path = service.uploads.path(digest)
        if path.suffix not in PICTURES:
            raise NotFoundError("an uploaded FITS file has no picture to show")
        return FileResponse(path)

    _add_tile_routes(router, service)
    _add_map_routes(router, service)
    _add_selection_routes(router, service, access)
    return router


def _add_tile_routes(router: APIRouter, service: SearchService) -> None:
    """Add the routes for the page, the footprint and the occlusion map of a tile."""
    mapping = asyncio.Lock()

    @router.get("/tiles/{tile_id}")
    async def tile(request: Request, tile_id: str) -> Response:
        return await _tile_page(tile_id, params_of(request.query_params), service)

    @router.get("/tiles/{tile_id}/occlusion")
    async def occlusion(request: Request, tile_id: str) -> Response:
        text = _text_of(params_of(request.query_params))
        if not text:
            raise ParameterError("an occlusion map needs a text")
        if mapping.locked():  # an occlusion map takes as much work as tens of searches
            raise BusyError("another occlusion map is being computed: try again in a few seconds")
        async with mapping:
            found = await service.run(service.search.occlusion, tile_id, text)
        return render("occlusion", text=text, occlusion=found)

    @router.get("/tiles/{tile_id}/footprint.reg")
    async def footprint(tile_id: str) -> Response:
        record = await service.run(service.search.tile, tile_id)
        region = tile_view.ds9_region(record.tile_id, record.facts)
        if region is None:
            raise NotFoundError("the tile has no position on the sky")
        return PlainTextResponse(region, headers=attachment(f"{record.tile_id}.reg"))


def _add_map_routes(router: APIRouter, service: SearchService) -> None:
    """Add the sky map, the map of the features, and their data."""

    @router.get("/sky")
    async def sky(request: Request) -> Response:
        def draw(hits: Hits) -> tuple[Hits, SkyMap, list[tuple[Any, ...]]]:
            facts = [(hit, hit.facts["ra_deg"], hit.facts["dec_deg"]) for hit in hits.hits if any(hits.params.terms())]
            marks = [(hit, *hammer(ra_deg, dec_deg)) for hit, ra_deg, dec_deg in facts if ra_deg is not None]
            return hits, draw_sky(*service.search.positions(hits.params)), marks

        params = params_of(request.query_params).model_copy(update={"k": MAX_DRAWN, "page": 1})
        hits, drawn, marks = await service.run(service.answer, params, draw)
        shown = hits.params.model_copy(update={"k": WebParams.model_fields["k"].default})
        return render("sky", sky=drawn, marks=marks, params=shown, index=service.search.status)

    @router.get("/moc.fits")
    async def coverage() -> Response:
        content = await service.run(lambda: write_moc(*service.search.positions()))
        return Response(content, media_type="application/fits", headers=attachment("hubbleclip-moc.fits"))

    @router.get("/map")
    async def feature_map(request: Request) -> Response:
        limits: dict[str, Any] = {"num": MAX_DRAWN, "max_points": MAX_MAPPED}
        return render("map", params=params_of(request.query_params), index=service.search.status, **limits)


def _add_selection_routes(router: APIRouter, service: SearchService, access: Access) -> None:
    """Add the list of selections, the form that changes them, and the comparison of tiles."""

    @router.get("/selections")
    async def selections() -> Response:
        found = await service.run(read_selections, service.search.selections)
        return render("selections", selections=found, index=service.search.status, is_public=access.is_public)

    @router.post("/selections")
    async def change(request: Request) -> Response:
        if access.is_public:
            raise HTTPException(403, "with --public, selections cannot be changed: set HUBBLECLIP_TOKEN instead")
        async with request.form(max_files=0, max_fields=MAX_SELECTED) as form:
            name, action, note = (str(form.get(field, "")).strip() for field in ("name", "action", "note"))
            tile_ids = [str(tile_id) for tile_id in form.getlist("tile")]
        return RedirectResponse(await service.run(_change, service.search, name, action, note, tile_ids), 303)

    @router.get("/compare")
    async def compare(request: Request) -> Response:
        tile_ids = request.query_params.getlist("tile")
        if not 2 <= len(tile_ids) <= MAX_COMPARED:
            raise ParameterError(f"choose 2 to {MAX_COMPARED} tiles to compare, not {len(tile_ids)}")
        tiles = [await service.run(service.search.tile, tile_id) for tile_id in tile_ids]
        return render("compare", tiles=tiles, columns=COLUMNS, index=service.search.status)


def _change(search: Search, name: str, action: str, note: str, tile_ids: list[str]) -> str:
    """Apply a form's action to a selection; return the URL of the selected tiles or of the list of selections."""
    changes: dict[str, Any] = {"add": tile_ids, "remove": tile_ids, "note": note}
    if action == "add":
        wanted = sorted(set(tile_ids))
        rows = rows_of(search.opened.store.tile_ids, wanted)
        if None in rows:
            raise SearchError(f"there is no tile {wanted[rows.index(None)][:64]!r}")
    if action == "delete":
        delete_selection(search.selections, name)
    elif action in changes:
        change_selection(search.selections, name, **{action: changes[action]})
    else:
        raise ParameterError(f"action: must be add, remove, note or delete, not {action[:64]!r}")
    return SearchParams(selection=name, group=GroupBy.NONE).url() if action in ("add", "remove") else "/selections"


def _text_of(params: SearchParams) -> str:
    """Return the first text that a search looks for; empty if there is none."""
    return next((term.value for term in params.terms() if term.kind == "text" and term.weight > 0), "")


async def _search_page(params: SearchParams, service: SearchService, ignored: list[str], access: Access) -> Response:
    """Render the search page; the header `HX-Push-Url` has the URL of the search after its texts were interpreted."""
    fault, hits, facets = "", None, {}
    try:
        hits, facets = await service.run(
            service.answer, params, lambda hits: (hits, service.search.facets(hits.params))
        )
        notes = [Note(text=f"{name[:64]} is ignored: {no_parameter(name)}") for name in ignored]
        params, hits = hits.params, replace(hits, notes=(*notes, *hits.notes))
    except BusyError:
        raise
    except HubbleclipError as error:
        fault, facets = str(error), await service.run(service.search.facets)
    export = params.url("/api/v1/search", k=MAX_DEPTH)
    export += "&" if "?" in export else "?"
    return render(
        "search",
        400 if fault else 200,
        {"HX-Push-Url": params.url(page=params.page), "Vary": "HX-Request"},
        params=params,
        hits=hits,
        is_public=access.is_public,
        fault=fault,
        index=service.search.status,
        facets=facets,
        is_empty=not params.pairs(),
        first=(params.page - 1) * params.k + 1,
        seed=secrets.randbelow(MAX_SEED),
        examples=read_vocabulary()["queries"][:NUM_EXAMPLES],
        exports=[(form, f"{export}format={form}") for form in FORMATS]
        + [("images", params.url("/api/v1/search", k=MAX_IMAGES) + "&format=images")],
    )


async def _tile_page(tile_id: str, params: SearchParams, service: SearchService) -> Response:
    """Render the page of a tile, with links to the hits before and after it in a search."""
    record = await service.run(service.search.tile, tile_id)
    tile_id, facts, text = record.tile_id, record.facts, _text_of(params)

    def tried(part: Callable[[], Part], without: Part) -> Part:
        try:
            return part()
        except UnaskedNameError:
            raise
        except HubbleclipError:  # for example, an upload has expired, or the catalog was replaced meanwhile
            return without

    def more() -> tuple[Mapping[str, Any], Mapping[str, Any], tuple[str | None, str | None], dict[str, str]]:
        nothing: dict[str, Any] = {}
        beside: tuple[str | None, str | None] = (None, None)
        if params.pairs():
            beside = tried(lambda: service.search.around(service.with_paths(params), tile_id), beside)
        return (
            tried(lambda: service.search.phrases(tile_id), nothing),
            tried(lambda: service.explain(tile_id), nothing),
            beside,
            tried(lambda: tile_view.other_filters(service.search, facts), nothing),
        )

    phrases, lineage, beside, others = await service.run(more)
    size_px = facts.get("size_px") or 224
    ra_deg, dec_deg = facts.get("ra_deg"), facts.get("dec_deg")
    nearest = next((found[0][0] for found in phrases.values() if found), "")
    return render(
        "tile",
        tile=record,
        text=text or nearest,
        params=params,
        beside=beside,
        others={facts.get("filter") or "": tile_id} | others if others else {},
        facts=facts,
        index=service.search.status,
        size_px=size_px,
        view=tile_view.sky_view(facts["wcs"], size_px) if facts.get("wcs") else None,
        position=None if ra_deg is None or dec_deg is None else ((ra_deg, dec_deg), sexagesimal(ra_deg, dec_deg)),
        sky_links=sky_links(facts),
        archive_links=archive_links(facts),
        command=tile_view.download_command(facts),
        phrases=phrases,
        has_footprint=tile_view.ds9_region(tile_id, facts) is not None,
        lineage={name: plain(value) for name, value in lineage.items() if name != "abstract"},
    )
