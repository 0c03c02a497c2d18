"""The HTTP API: searches and tiles as JSON, and hits as tables."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from hubbleclip.core.errors import HubbleclipError, SearchError
from hubbleclip.search.export import FORMATS
from hubbleclip.search.query import Query as SearchQuery
from hubbleclip.search.query import Term, TermKind, hit_row, plain
from hubbleclip.search.server.params import MAX_TERMS, ParameterError, SearchParams, Short, Text
from hubbleclip.search.server.protocol import Answer, IndexStatus, Points, TileRecord
from hubbleclip.search.server.service import Service, first_fault, params_of

Format = Literal["json", "csv", "votable", "ecsv", "parquet"]
MAX_POINTS, MAX_FIELD_BYTES = 50_000, 64 * 2**10
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


class NotFoundError(HubbleclipError):
    """What a URL names does not exist."""


class ApiParams(SearchParams):
    """Parameters of a search, and the format of its result."""

    format: Format = Field("json", description="Format of the result.")


class TermBody(BaseModel):
    """One part of a query."""

    kind: Literal[TermKind.TEXT, TermKind.TILE, TermKind.PROPOSAL] = TermKind.TEXT
    value: Text
    weight: float = Field(1.0, ge=-100, le=100, description="Negative weights push tiles away.")


class SearchBody(ApiParams):
    """A search as JSON: terms with weights, and the parameters of a URL."""

    terms_: list[TermBody] = Field([], alias="terms", max_length=MAX_TERMS)


class HitBody(BaseModel):
    """A tile that was found, with the columns of its row."""

    model_config = ConfigDict(extra="allow")

    tile_id: str
    score: float
    model_rank: int | None = None
    words_rank: int | None = None
    num_folded: int = 0
    page: str
    picture: str


class IndexBody(BaseModel):
    """Which index and model answered."""

    num_tiles: int
    is_simulated: bool
    model: str
    run_id: str | None
    model_digest: str | None
    dataset_digest: str | None
    index_digest: str | None
    promoted_at: datetime | None
    indexed_at: datetime | None


class SearchResult(BaseModel):
    """One page of hits, best first."""

    hits: list[HitBody]
    num_admitted: int
    has_more: bool
    index: IndexBody


class LabelsBody(BaseModel):
    """A fact of each point: the number of its value among `values`, the most frequent first; -1 where unknown."""

    values: list[str]
    numbers: list[int]


class PointsBody(BaseModel):
    """Some tiles at the first two principal components of their features: every `step`-th of the index."""

    tile_ids: list[str]
    x: list[float]
    y: list[float]
    step: int
    labels: dict[str, LabelsBody]


class ErrorBody(BaseModel):
    """What to change."""

    detail: Short


def index_body(status: IndexStatus) -> IndexBody:
    """Return the status of the index for JSON."""
    return IndexBody(**{name: getattr(status, name) for name in IndexBody.model_fields})


def infos_of(status: IndexStatus) -> dict[str, str]:
    """Return the status of the index as texts, for the header of a table."""
    return {name: str(value) for name, value in index_body(status).model_dump().items() if value is not None}


def respond(answer: Answer, form: Format) -> Response:
    """Write an answer in a format."""
    hits, index = answer
    rows = [hit_row(hit) for hit in hits.hits]
    if form == "json":
        bodies = [
            HitBody(**row, page=f"/tiles/{row['tile_id']}", picture=f"/api/v1/tiles/{row['tile_id']}/image.png")
            for row in rows
        ]
        result = SearchResult(
            hits=bodies, num_admitted=hits.num_admitted, has_more=hits.has_more, index=index_body(index)
        )
        return JSONResponse(result.model_dump(mode="json"))
    media_type, suffix, write = FORMATS[form]
    headers = {"Content-Disposition": f'attachment; filename="hubbleclip.{suffix}"'}
    return Response(write(rows, infos_of(index)), media_type=media_type, headers=headers)


async def upload_of(request: Request, service: Service) -> SearchParams:
    """Read a form with a picture, store the picture, and return the search."""
    with service.uploads.receiving():
        async with request.form(max_files=1, max_fields=100, max_part_size=MAX_FIELD_BYTES) as form:
            picture = form.get("picture")
            if not isinstance(picture, UploadFile):
                raise ParameterError("the form has no file `picture`")
            # A large file is on disk so far; it is read in the queue, which bounds how many are in memory.
            digest = await service.queue.run(lambda: service.uploads.add(picture.file.read()))
            return params_of(form).model_copy(update={"image": [digest]})


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody},
    503: {"model": ErrorBody, "description": "Busy: see Retry-After"},
}
POSTED = {
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"picture": {"type": "string", "format": "binary"}}}
    },
    "application/json": {"schema": {"$ref": "#/components/schemas/SearchBody"}},
}


def api_routes(service: Service) -> APIRouter:
    """Make the routes of the API."""
    router = APIRouter(prefix="/api/v1", responses=ERRORS)

    @router.get("/search", response_model=SearchResult, summary="Search by the parameters of the URL")
    async def search(params: Annotated[ApiParams, Query()]) -> Response:
        return await service.run(
            lambda: params.query(service.engine.resolve_target), lambda answer: respond(answer, params.format)
        )

    @router.post(
        "/search",
        response_model=SearchResult,
        summary="Search by a picture, or by terms with weights",
        openapi_extra={"requestBody": {"content": POSTED}},
    )
    async def search_posted(request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            params = await upload_of(request, service)
            return await service.run(
                lambda: params.query(service.engine.resolve_target), lambda answer: respond(answer, "json")
            )
        try:
            body = SearchBody.model_validate_json(await request.body())
        except ValidationError as error:
            raise ParameterError(first_fault(error)) from error
        added = tuple(Term(kind=TermKind(t.kind), value=t.value, weight=t.weight) for t in body.terms_)

        def make_query() -> SearchQuery:
            made = body.query(service.engine.resolve_target)
            return replace(made, terms=made.terms + added)

        return await service.run(make_query, lambda answer: respond(answer, body.format))

    @router.get("/tiles/{tile_id}", summary="Everything known of a tile")
    async def tile(tile_id: str) -> dict[str, Any]:
        record = await find_tile(tile_id, service)
        facts = {name: plain(value) for name, value in record.facts.items()}
        return {"tile_id": record.tile_id} | facts | {"picture": f"/api/v1/tiles/{record.tile_id}/image.png"}

    @router.get("/tiles/{tile_id}/image.png", response_class=FileResponse, summary="Picture of a tile, PNG or JPEG")
    async def image(tile_id: str) -> FileResponse:
        picture = (await find_tile(tile_id, service)).picture
        if not picture.is_file():
            raise NotFoundError("the tile's picture is not on this machine")
        # A tile's id is a hash of its pixels' origin, so that a browser may keep the picture.
        return FileResponse(
            picture,
            media_type=MEDIA_TYPES[picture.suffix],
            headers={"Cache-Control": "private, max-age=31536000, immutable"},
        )

    @router.get("/points", summary="First two principal components of the tiles' features, for a map")
    async def points() -> PointsBody:
        return await service.queue.run(lambda: thin(service.engine.points()))

    return router


def thin(points: Points) -> PointsBody:
    """Choose at most `MAX_POINTS` tiles, evenly spaced in the order of the index."""
    rows = np.flatnonzero(np.isfinite(points.pca_n2).all(axis=1))  # JSON has no NaN
    step = max(1, math.ceil(len(rows) / MAX_POINTS))
    x, y = points.pca_n2[rows[::step]].round(4).T.tolist()
    labels = {name: number_labels([column[row] for row in rows[::step]]) for name, column in points.labels.items()}
    return PointsBody(tile_ids=[points.tile_ids[row] for row in rows[::step]], x=x, y=y, step=step, labels=labels)


def number_labels(labels: list[str | None]) -> LabelsBody:
    """Number the values of a fact."""
    values = [value for value, _ in Counter(label for label in labels if label is not None).most_common()]
    number_of = {value: number for number, value in enumerate(values)} | {None: -1}
    return LabelsBody(values=values, numbers=[number_of[label] for label in labels])


def add_posted_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the JSON body of a posted search to an OpenAPI schema; FastAPI knows only bodies of one media type."""
    body = SearchBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"].update(body.pop("$defs") | {"SearchBody": body})
    return schema


async def find_tile(tile_id: str, service: Service) -> TileRecord:
    """Return what is known of a tile."""
    try:
        return await service.tile(tile_id)
    except SearchError as error:
        raise NotFoundError(f"there is no tile {tile_id[:64]!r}") from error
