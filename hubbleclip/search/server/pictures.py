"""Pictures of tiles: stored files, thumbnails for pages of hits, and cut-outs of the FITS files, with WCS.

Requests for stored pictures and thumbnails do not wait in the search queue.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from astropy.io import fits as pyfits
from astropy.nddata import Cutout2D
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from hubbleclip.core.errors import HubbleclipError, ImageError, NotFoundError
from hubbleclip.fits.hdus import PLANE_STEP
from hubbleclip.images.avm import with_avm
from hubbleclip.images.wcs import read_wcs, tile_geometries
from hubbleclip.missions.links import DOWNLOAD, archive_links
from hubbleclip.search.export import draw_thumbnail
from hubbleclip.search.records import TileRecord
from hubbleclip.search.server.api import NOT_FOUND, attachment
from hubbleclip.search.server.search_service import SearchService

THUMBNAIL_PX, NUM_CACHED = 224, 4096
"""Side of a thumbnail, and number of thumbnails in memory, each of about 10 kB."""
Form = Annotated[Literal["png", "jpg"] | None, Query(alias="format")]
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {one: {} for one in MEDIA_TYPES.values()}}}
FITS_TYPE = "application/fits"
FITS: dict[int | str, dict[str, Any]] = {200: {"content": {FITS_TYPE: {}}}}
MAX_SIDE_PX = 4_096
FILES = StaticFiles()
LOW_PRIORITY = partial(os.nice, 10) if sys.platform == "linux" else None  # other systems have no priority per thread
DRAWING = ThreadPoolExecutor(1, thread_name_prefix="thumbnails", initializer=LOW_PRIORITY)
"""Executor that makes thumbnails, one at a time; on Linux, its thread has a lower priority than the searches."""


def kept_by_browsers(response: Response, request: Request) -> Response:
    """Let browsers cache a picture for a year; its URL contains a hash of all data that determine the pixels."""
    if FILES.is_not_modified(response.headers, request.headers):
        response = NotModifiedResponse(response.headers)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


@lru_cache(NUM_CACHED)
def thumbnail(path: Path) -> bytes:
    """Return the thumbnail of a picture, as JPEG."""
    return DRAWING.submit(draw_thumbnail, path, THUMBNAIL_PX).result()


def cut_tile(service: SearchService, record: TileRecord) -> bytes:
    """Make the FITS cut-out of a tile from the local FITS file; without a local file, use the file in the archive."""
    uri = str(record.facts["product_uri"])
    try:
        if record.product and record.product.is_file():
            return cut_out(record.product, record.facts)
        if service.open_remote:
            return cut_out(service.open_remote(uri), record.facts)
        reason = "the FITS file is not on this machine"
    except (HubbleclipError, OSError, ValueError, TypeError, LookupError) as error:
        reason = f"the cut-out cannot be made ({error})"
    links = [link.url for link in archive_links(record.facts) if link.url.startswith(DOWNLOAD)]
    raise NotFoundError(f"{reason}: see {links[0] if links else uri}")


def cut_out(file: Path | BinaryIO, facts: Mapping[str, Any]) -> bytes:
    """Cut the region of a tile out of a FITS file, and return it as a FITS image in full resolution.

    Pixels beyond the edges of the original image are NaN, or 0 if the image has integers. `facts` has the catalog's
    values of `chip`, `y0`, `x0`, `size_px`, `shrink` and `product_uri`.
    """
    plane, extension = divmod(facts["chip"], PLANE_STEP)
    side, y0, x0 = round(facts["size_px"] * (facts["shrink"] or 1)), facts["y0"], facts["x0"]
    if side > MAX_SIDE_PX:
        raise ImageError("too_large", f"the tile shows {side} x {side} pixels, more than {MAX_SIDE_PX}")
    with pyfits.open(file, memmap=False) as hdus:
        hdu = hdus[extension]
        planes = (0,) * (len(hdu.shape) - 3) + (plane,) * (len(hdu.shape) > 2)
        pixels = hdu.section[planes] if planes else hdu.section
        fill = float("nan") if hdu.header["BITPIX"] < 0 else 0
        centre = x0 + (side - 1) / 2, y0 + (side - 1) / 2
        data_yx = Cutout2D(pixels, centre, side, mode="partial", fill_value=fill).data
        wcs = read_wcs(hdus, extension, plane)
        (geometry,) = tile_geometries(wcs, [(y0, x0)], side) if wcs else (None,)
        unit = hdu.header.get("BUNIT")
    header = pyfits.Header.fromstring(geometry.wcs if geometry else "", sep="\n")
    if unit:
        header["BUNIT"] = unit
    header["HISTORY"] = f"cut out of {facts['product_uri']}".encode("ascii", "replace").decode()
    content = io.BytesIO()
    pyfits.PrimaryHDU(data_yx, header).writeto(content)
    return content.getvalue()


def picture_routes(service: SearchService) -> APIRouter:
    """Make the routes of the pictures; FastAPI runs functions that are not `async` in worker threads."""
    router = APIRouter(prefix="/api/v1/tiles/{tile_id}", responses=NOT_FOUND)

    @router.get("/image.png", response_class=Response, responses=PICTURES, summary="Tile picture, optionally with AVM")
    def image(tile_id: str, request: Request, form: Form = None) -> Response:
        path = service.search.picture(tile_id)
        if form:
            facts = service.search.tile(tile_id).facts
            try:
                content = with_avm(path.read_bytes(), facts, form)
            except (OSError, SyntaxError, ValueError) as error:
                raise NotFoundError(f"the picture of tile {path.stem} cannot be read on this machine") from error
            return Response(content, headers=attachment(f"{tile_id}.{form}"), media_type=MEDIA_TYPES[form])
        return kept_by_browsers(FileResponse(path, stat_result=path.stat()), request)

    @router.get("/cutout.fits", response_class=Response, responses=FITS, summary="FITS cut-out of a tile")
    async def cutout(tile_id: str) -> Response:
        record = await service.run(service.search.tile, tile_id)
        content = await service.run(cut_tile, service, record, queue=service.cutouts)
        return Response(content, headers=attachment(f"{record.tile_id}.fits"), media_type=FITS_TYPE)

    @router.get("/thumbnail.jpg", response_class=Response, responses=PICTURES, summary="Small picture of a tile, JPEG")
    def small(tile_id: str, request: Request) -> Response:
        content = thumbnail(service.search.picture(tile_id))
        return kept_by_browsers(Response(content, headers={"ETag": f'"{tile_id}"'}, media_type="image/jpeg"), request)

    return router
