"""Simple Cone Search 1.03 of the Virtual Observatory (IVOA Recommendation 2008-02-22): tiles around a position.

TOPCAT, Aladin and pyvo read it. As the standard requires, columns have UCDs of the first kind, and an error is a
VOTable with an INFO element named Error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from astropy.io.votable.tree import Info, Resource, VOTableFile
from fastapi import APIRouter, Request, Response

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.export import COLUMNS, Column, as_astropy, as_votable, votable_bytes
from hubbleclip.search.query import Cone, Filters, GroupBy, Hits, Query, hit_row
from hubbleclip.search.server.api import infos_of
from hubbleclip.search.server.params import MAX_DEPTH
from hubbleclip.search.server.protocol import IndexStatus
from hubbleclip.search.server.service import Service
from hubbleclip.search.server.work_queue import BusyError

MEDIA_TYPE = "text/xml; content=x-votable"
UCD1 = {"tile_id": "ID_MAIN", "ra_deg": "POS_EQ_RA_MAIN", "dec_deg": "POS_EQ_DEC_MAIN"}
NO_HITS = Hits(hits=(), num_admitted=0, has_more=False)
NOT_HERE = {"score", "model_rank", "words_rank", "num_folded"}
BRIEF = {"tile_id", "ra_deg", "dec_deg"}
USUAL = BRIEF | {
    "target_name",
    "instrument",
    "filter",
    "exposure_s",
    "observed_at",
    "proposal_id",
    "pixel_scale_arcsec",
}


class ConeError(HubbleclipError):
    """A parameter of a cone search is missing or out of range."""


def columns_for(verbosity: int) -> tuple[Column, ...]:
    """Choose the columns of the answer."""
    names = {1: BRIEF, 2: USUAL}.get(verbosity, {column.name for column in COLUMNS} - NOT_HERE)
    return tuple(
        Column(c.name, c.kind, c.description, UCD1.get(c.name, c.ucd), c.unit) for c in COLUMNS if c.name in names
    )


def parse_cone(values: Mapping[str, str]) -> tuple[Cone, int]:
    """Parse the parameters of a cone search; their names may have any case."""
    upper = {name.upper(): value for name, value in values.items()}
    numbers = {}
    for name, low, high in (("RA", 0, 360), ("DEC", -90, 90), ("SR", 0, 180)):
        try:
            numbers[name] = float(upper[name])
        except KeyError as error:
            raise ConeError(f"{name} is missing") from error
        except ValueError as error:
            raise ConeError(f"{name} is not a number") from error
        if not (math.isfinite(numbers[name]) and low <= numbers[name] <= high):
            raise ConeError(f"{name} must be from {low} to {high} degrees")
    verbosity = upper.get("VERB", "2")
    if verbosity not in ("1", "2", "3"):
        raise ConeError("VERB must be 1, 2 or 3")
    return Cone(ra_deg=numbers["RA"], dec_deg=numbers["DEC"], radius_deg=numbers["SR"]), int(verbosity)


def error_table(message: str) -> bytes:
    """Write an error as the standard wants it."""
    file = VOTableFile(version="1.4")
    file.infos.append(Info(ID="Error", name="Error", value=message))
    file.resources.append(Resource(type="results"))
    return votable_bytes(file)


def cone_routes(service: Service) -> APIRouter:
    """Make the route of the cone search."""
    router = APIRouter()

    @router.get("/scs", summary="Simple Cone Search: RA, DEC, SR in degrees, VERB")
    async def cone_search(request: Request) -> Response:
        try:
            cone, verbosity = parse_cone(request.query_params)
            content = await _answer(cone, verbosity, service)
        except BusyError:
            raise
        except HubbleclipError as error:
            content = error_table(str(error))
        return Response(content, headers={"Content-Type": MEDIA_TYPE})

    return router


async def _answer(cone: Cone, verbosity: int, service: Service) -> bytes:
    """Find the tiles in a circle; a radius of 0 asks for the columns alone."""
    columns = columns_for(verbosity)
    if not cone.radius_deg:
        return await service.queue.run(lambda: write_cone(NO_HITS, service.engine.status(), columns))
    query = Query(filters=Filters(cone=cone), group_by=GroupBy.NONE, k=MAX_DEPTH)
    return await service.run(lambda: query, lambda answer: write_cone(*answer, columns))


def write_cone(hits: Hits, index: IndexStatus, columns: tuple[Column, ...]) -> bytes:
    """Write the tiles of a cone."""
    infos = infos_of(index) | {"QUERY_STATUS": "OVERFLOW" if hits.has_more else "OK"}
    table = as_astropy([hit_row(hit) for hit in hits.hits], columns)
    return as_votable(table, infos, "Tiles whose centre is in the cone")
