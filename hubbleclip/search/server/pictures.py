"""Pictures of tiles: whole files, and thumbnails for pages of hits. They take no place in the queue of the searches."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from hubbleclip.core.errors import SearchError
from hubbleclip.images.avm import with_avm
from hubbleclip.search.export import draw_thumbnail
from hubbleclip.search.server.api import NOT_FOUND, find_tile
from hubbleclip.search.server.search_service import NotFoundError, SearchService

THUMBNAIL_PX, NUM_CACHED = 224, 4096
"""Side of a thumbnail, and number of thumbnails in memory, each of about 10 kB."""
Form = Annotated[Literal["png", "jpg"] | None, Query(alias="format")]
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {one: {} for one in MEDIA_TYPES.values()}}}
FITS_TYPE = "application/fits"
FITS: dict[int | str, dict[str, Any]] = {200: {"content": {FITS_TYPE: {}}}}
FILES = StaticFiles()
LOW_PRIORITY = partial(os.nice, 10) if sys.platform == "linux" else None  # elsewhere, threads have none
DRAWING = ThreadPoolExecutor(1, thread_name_prefix="thumbnails", initializer=LOW_PRIORITY)
"""Executor that makes thumbnails, one at a time; on Linux, its thread has a lower priority than the searches."""


def kept_by_browsers(response: Response, request: Request) -> Response:
    """Let a browser keep a picture: the id is a hash of where the pixels come from, so the picture never changes."""
    if FILES.is_not_modified(response.headers, request.headers):
        response = NotModifiedResponse(response.headers)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


@lru_cache(NUM_CACHED)
def thumbnail(path: Path) -> bytes:
    """Return the thumbnail of a picture, as JPEG."""
    return DRAWING.submit(draw_thumbnail, path, THUMBNAIL_PX).result()


def picture_routes(service: SearchService) -> APIRouter:
    """Make the routes of the pictures, whose functions FastAPI calls in threads of its own."""
    router = APIRouter(prefix="/api/v1/tiles/{tile_id}", responses=NOT_FOUND)

    def find(tile_id: str) -> Path:
        try:
            return service.search.picture(tile_id)
        except SearchError as error:
            raise NotFoundError(str(error)) from error

    @router.get(
        "/image.png", response_class=Response, responses=PICTURES, summary="Picture of a tile; as stored, or with AVM"
    )
    def image(tile_id: str, request: Request, form: Form = None) -> Response:
        path = find(tile_id)
        if form:
            content = with_avm(path.read_bytes(), service.search.tile(tile_id).facts, form)
            headers = {"Content-Disposition": f'attachment; filename="{tile_id}.{form}"'}
            return Response(content, headers=headers, media_type=MEDIA_TYPES[form])
        return kept_by_browsers(FileResponse(path, stat_result=path.stat()), request)

    @router.get("/cutout.fits", response_class=Response, responses=FITS, summary="Pixels of a tile in the archive")
    async def cutout(tile_id: str) -> Response:
        record = await find_tile(tile_id, service)
        content = await service.run(service.cut_out, record, queue=service.cutouts)
        headers = {"Content-Disposition": f'attachment; filename="{record.tile_id}.fits"'}
        return Response(content, headers=headers, media_type=FITS_TYPE)

    @router.get("/thumbnail.jpg", response_class=Response, responses=PICTURES, summary="Small picture of a tile, JPEG")
    def small(tile_id: str, request: Request) -> Response:
        content = thumbnail(find(tile_id))
        return kept_by_browsers(Response(content, headers={"ETag": f'"{tile_id}"'}, media_type="image/jpeg"), request)

    return router
