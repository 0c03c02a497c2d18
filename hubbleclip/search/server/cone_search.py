"""Simple Cone Search 1.03 of the Virtual Observatory (IVOA Recommendation 2008-02-22): tiles around a position.

TOPCAT, Aladin and pyvo read it. As the standard requires, columns have UCDs of version 1, and an error is a
VOTable with an INFO element named Error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from astropy.io.votable.tree import Info, Resource, VOTableFile
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from hubbleclip.catalog.tile_facts import FACTS, Column
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.export import as_astropy, as_votable, infos_of, votable_bytes
from hubbleclip.search.params import MAX_DEPTH, SearchParams, checked
from hubbleclip.search.records import GroupBy, Hits
from hubbleclip.search.server.search_service import BusyError, SearchService

MEDIA_TYPE = "text/xml; content=x-votable"
VOTABLES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {}}}}
UCD1 = {"tile_id": "ID_MAIN", "ra_deg": "POS_EQ_RA_MAIN", "dec_deg": "POS_EQ_DEC_MAIN"}
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


Degrees = Annotated[float, Field(allow_inf_nan=False)]


class Cone(BaseModel):
    """Parameters of the standard: position and radius in degrees, and the verbosity, which selects the columns."""

    RA: Degrees = Field(ge=0, le=360)
    DEC: Degrees = Field(ge=-90, le=90)
    SR: Degrees = Field(ge=0, le=180)
    VERB: Literal["1", "2", "3"] = "2"


def columns_for(verbosity: str) -> tuple[Column, ...]:
    """Choose the columns of the answer."""
    names = {"1": BRIEF, "2": USUAL}.get(verbosity, {column.name for column in FACTS})
    return tuple(replace(one, ucd=UCD1.get(one.name, one.ucd)) for one in FACTS if one.name in names)


def error_table(message: str) -> bytes:
    """Write an error in the form that the standard requires."""
    file = VOTableFile(version="1.4")
    file.infos.append(Info(ID="Error", name="Error", value=message))
    resource = Resource(type="results")
    resource.infos.append(Info(name="QUERY_STATUS", value="ERROR"))
    resource.infos[0].content = message  # DALI 1.1 requires the message here
    file.resources.append(resource)
    return votable_bytes(file)


def cone_routes(service: SearchService) -> APIRouter:
    """Make the route of the cone search."""
    router = APIRouter()

    @router.get(
        "/scs",
        summary="Simple Cone Search: RA, DEC and SR (radius) in degrees, VERB 1 to 3; errors are VOTables, status 200",
        response_class=Response,
        responses=VOTABLES,
        openapi_extra={
            "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in Cone.model_fields]
        },
    )
    async def cone_search(request: Request) -> Response:
        return await votable_response(200, service, find_cone_tiles, request.query_params)

    return router


async def votable_response(
    fault_status: int, service: SearchService, find: Callable[..., bytes], *arguments: Any
) -> Response:
    """Respond with the VOTable that a function makes in the queue of tables, or with one that states its error."""
    status = 200
    try:
        content = await service.tables.run(find, service, *arguments)
    except BusyError:
        raise
    except HubbleclipError as error:
        content, status = error_table(str(error)), fault_status
    return Response(content, status, headers={"Content-Type": MEDIA_TYPE})


def find_cone_tiles(service: SearchService, given: Mapping[str, str]) -> bytes:
    """Find the tiles of a cone, and write them as VOTable; a radius of 0 asks for the columns alone."""
    cone = checked(Cone, {name.upper(): value for name, value in given.items()})
    params = SearchParams(place=f"{cone.RA!r} {cone.DEC!r} {cone.SR!r}", group=GroupBy.NONE, k=MAX_DEPTH)
    return service.answer(params, lambda hits: write_cone(hits, columns_for(cone.VERB), is_filled=cone.SR > 0))


def write_cone(hits: Hits, columns: tuple[Column, ...], *, is_filled: bool) -> bytes:
    """Write the tiles of a cone, or an empty table."""
    infos = infos_of(hits.index) | {"QUERY_STATUS": "OVERFLOW" if is_filled and hits.has_more else "OK"}
    table = as_astropy([hit.row() for hit in hits.hits if is_filled], columns)
    return as_votable(table, infos, "Tiles whose centre is in the cone")
