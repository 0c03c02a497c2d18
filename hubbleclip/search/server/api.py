"""The HTTP API: searches and tiles as JSON, and hits as tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError, WithJsonSchema
from starlette.datastructures import FormData, UploadFile

from hubbleclip.catalog.tile_facts import FACTS, INTEGER, REAL, TEXT, Column
from hubbleclip.search.export import COLUMNS, FORMATS, as_json, infos_of
from hubbleclip.search.params import MAX_DEPTH, ParameterError, Whole, first_fault
from hubbleclip.search.records import Hits, IndexStatus, Note, Points, plain
from hubbleclip.search.server.search_service import MAX_K, BusyError, SearchService, WebParams, params_of

Format = Literal["json", "csv", "votable", "ecsv", "parquet", "images"]
MAX_FIELD_BYTES, CHUNK_BYTES = 64 * 2**10, 2**18
MAX_IMAGES = 1000
"""Largest number of hits that are exported with pictures."""


class StrictParams(WebParams):
    """Search parameters from a program, for which an empty value is an error; see `SearchTerms.is_strict`."""

    is_strict = True


class ApiParams(StrictParams):
    """Parameters of a search, and the format of its result."""

    format: Format = Field("json", description="Format of the result.")
    k: Whole = Field(24, ge=1, le=MAX_DEPTH, description="Hits per page.")


def schema_of(columns: Iterable[Column], *links: str) -> dict[str, Any]:
    """Make the JSON schema of an object with a nullable field for each column and a URL field for each of `links`."""
    types = {TEXT: "string", REAL: "number", INTEGER: "integer"}
    facts = {one.name: {"type": [types[one.kind], "null"], "description": one.description} for one in columns}
    return {
        "type": "object",
        "properties": facts | {one: {"type": "string", "description": f"Address of the {one}"} for one in links},
    }


HitBody = Annotated[dict[str, Any], WithJsonSchema(schema_of(COLUMNS, "page", "picture"))]
TileBody = Annotated[dict[str, Any], WithJsonSchema(schema_of(FACTS, "picture"))]


class SearchResult(BaseModel):
    """One page of hits, best first; `understood` has the search parameters, including those recognised in the texts."""

    hits: list[HitBody]
    num_hits: int = Field(description="Hits on all pages, or a lower bound if not `is_counted`.")
    is_counted: bool
    num_admitted: int
    has_more: bool
    understood: dict[str, list[str]]
    notes: list[Note]
    index: IndexStatus


class ErrorBody(BaseModel):
    """An error: `detail` says what is wrong and what to change."""

    detail: str


def respond(hits: Hits, form: Format) -> Response:
    """Write hits in a format."""
    if form == "json":
        answer = as_json(hits)
        for row in answer["hits"]:
            row |= {"page": f"/tiles/{row['tile_id']}", "picture": f"/api/v1/tiles/{row['tile_id']}/image.png"}
        return JSONResponse(answer)
    media_type, suffix, write = FORMATS[form]
    content = write([hit.row() for hit in hits.hits], infos_of(hits.index))
    return Response(content, media_type=media_type, headers=attachment(f"hubbleclip.{suffix}"))


def attachment(name: str) -> dict[str, str]:
    """Return the headers that make a browser save a response as a file."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


async def _images(params: ApiParams, service: SearchService) -> Response:
    """Write hits with pictures and features to an unnamed temporary file, and send it."""
    if params.k > MAX_IMAGES:
        raise ParameterError(f"k: at most {MAX_IMAGES:,} hits are exported with pictures")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - sent after this function has returned
    await service.run(service.answer, params, lambda hits: service.search.save(hits, file), queue=service.tables)
    file.seek(0)
    chunks = iter(partial(file.read, CHUNK_BYTES), b"")
    headers = attachment("hubbleclip-images.parquet")
    return StreamingResponse(chunks, media_type=FORMATS["parquet"][0], headers=headers)


async def _answer(params: ApiParams, service: SearchService) -> Response:
    """Answer a search; tables and long pages use a separate queue, so that they do not delay other searches."""
    if params.format == "images":
        return await _images(params, service)
    queue = service.queue if params.format == "json" and params.k <= MAX_K else service.tables
    return await service.run(service.answer, params, lambda hits: respond(hits, params.format), queue=queue)


async def upload_of(request: Request, service: SearchService) -> WebParams:
    """Read a form with a picture, store the picture, and return the search."""
    if service.receiving.locked():
        raise BusyError("the server is receiving other files: try again in a few seconds")
    async with service.receiving, request.form(max_files=1, max_fields=100, max_part_size=MAX_FIELD_BYTES) as form:
        picture = form.get("picture")
        if not isinstance(picture, UploadFile):
            raise ParameterError("the form has no file `picture`")
        # A large upload is on disk. It is read in the search queue, which limits the number of uploads in memory.
        digest = await service.run(lambda: service.uploads.add(picture.file.read()))
        fields = FormData([(name, value) for name, value in form.multi_items() if name != "picture"])
        return params_of(fields, WebParams).model_copy(update={"image": [digest]})


MEANINGS = {
    400: "The search is not possible; the body is plain text if the URL exceeds 64 KiB",
    401: "A token is needed",
    403: "The request is from a page of another site",
    408: "The body came too slowly",
    413: "The body is too large",
    421: "The server answers to localhost only",
    422: "A parameter is wrong",
    503: "The server is busy (see Retry-After), or the index or catalog is damaged",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning} for status, meaning in MEANINGS.items()
}
"""Error responses that every route may send."""
ERRORS[400]["content"] = {"text/plain": {}}  # uvicorn itself sends this response
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "There is no such tile"}}
EXPORTS: dict[int | str, dict[str, Any]] = {200: {"content": {media_type: {} for media_type, *_ in FORMATS.values()}}}
POSTED = {
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"picture": {"type": "string", "format": "binary"}}}
    },
    "application/json": {"schema": {"$ref": "#/components/schemas/SearchBody"}},
}


def api_routes(service: SearchService) -> APIRouter:
    """Make the routes of the API."""
    router = APIRouter(prefix="/api/v1")

    @router.get(
        "/search", response_model=SearchResult, responses=EXPORTS, summary="Search by the parameters of the URL"
    )
    async def search(params: Annotated[ApiParams, Query()]) -> Response:
        return await _answer(params, service)

    @router.post(
        "/search",
        response_model=SearchResult,
        responses=EXPORTS,
        summary="Search by a picture, or by the search parameters as JSON",
        openapi_extra={"requestBody": {"content": POSTED}},
    )
    async def search_posted(request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            params = await upload_of(request, service)
            return await service.run(service.answer, params, lambda hits: respond(hits, "json"))
        try:
            body = ApiParams.model_validate_json(await request.body())
        except ValidationError as error:
            raise ParameterError(first_fault(error.errors())) from error
        return await _answer(body, service)

    @router.get("/tiles/{tile_id}", responses=NOT_FOUND, summary="Facts of a tile, by its id or the start of the id")
    async def tile(tile_id: str) -> TileBody:
        record = await service.run(service.search.tile, tile_id)
        facts = {name: plain(value) for name, value in record.facts.items()}
        return facts | {"picture": f"/api/v1/tiles/{record.tile_id}/image.png"}

    @router.get("/points", summary="First two principal components of the tiles' features, for a map")
    async def points(params: Annotated[StrictParams, Query()]) -> Points:
        return await service.run(lambda: service.search.points(service.with_paths(params)))

    return router


def add_posted_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the JSON body of a POST search to an OpenAPI schema; FastAPI can declare only one media type per body."""
    body = ApiParams.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"].update(body.pop("$defs") | {"SearchBody": body})
    return schema
