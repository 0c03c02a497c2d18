"""Services of the Virtual Observatory, for clients such as TOPCAT, Aladin and pyvo.

Simple Cone Search 1.03 (IVOA Recommendation 2008-02-22) returns the tiles around a position. As the standard requires,
the id and the position have UCDs of version 1, and an error is a VOTable with an INFO element named Error.

Simple Image Access 2.0 (SIA2, IVOA Recommendation 2015-12-23) returns images as ObsCore 1.1 rows. Each tile has one row
for its picture and one row for its FITS file at MAST.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal
from xml.sax.saxutils import quoteattr

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.io.votable.tree import Info, Resource, VOTableFile
from fastapi import APIRouter, Request, Response
from mocpy import MOC
from pydantic import BaseModel, Field

from hubbleclip.catalog.tile_facts import FACTS, INTEGER, REAL, TEXT, Column
from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.missions.links import DOWNLOAD, archive_links
from hubbleclip.search.engine import Search
from hubbleclip.search.export import as_astropy, as_votable, infos_of, votable_bytes
from hubbleclip.search.open_index import OpenIndex
from hubbleclip.search.params import MAX_DEPTH, ParameterError, SearchParams, checked
from hubbleclip.search.records import GroupBy
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
    """Parameters of Simple Cone Search: position and radius in degrees, and verbosity, which selects the columns."""

    RA: Degrees = Field(ge=0, le=360)
    DEC: Degrees = Field(ge=-90, le=90)
    SR: Degrees = Field(ge=0, le=180)
    VERB: Literal["1", "2", "3"] = "2"


def columns_for(verbosity: str) -> tuple[Column, ...]:
    """Choose the columns of a cone search by its verbosity; the id and the position get UCDs of version 1."""
    names = {"1": BRIEF, "2": USUAL}.get(verbosity, {column.name for column in FACTS})
    return tuple(replace(one, ucd=UCD1.get(one.name, one.ucd)) for one in FACTS if one.name in names)


def error_table(message: str) -> bytes:
    """Write an error as the VOTable that Simple Cone Search and DALI 1.1 require."""
    file = VOTableFile(version="1.4")
    file.infos.append(Info(ID="Error", name="Error", value=message))
    resource = Resource(type="results")
    resource.infos.append(Info(name="QUERY_STATUS", value="ERROR"))
    resource.infos[0].content = message  # DALI 1.1 requires the message here
    file.resources.append(resource)
    return votable_bytes(file)


async def votable_response(
    fault_status: int, service: SearchService, find: Callable[..., bytes], *arguments: Any
) -> Response:
    """Run `find` in the queue `tables`; respond with its VOTable, or with an error VOTable and `fault_status`."""
    status = 200
    try:
        content = await service.tables.run(find, service, *arguments)
    except BusyError:
        raise
    except HubbleclipError as error:
        content, status = error_table(str(error)), fault_status
    return Response(content, status, headers={"Content-Type": MEDIA_TYPE})


def find_cone_tiles(service: SearchService, given: Mapping[str, str]) -> bytes:
    """Find the tiles in a cone, and write them as VOTable; for a radius of 0, the VOTable has columns but no rows."""
    cone = checked(Cone, {name.upper(): value for name, value in given.items()})
    params = SearchParams(place=f"{cone.RA!r} {cone.DEC!r} {cone.SR!r}", group=GroupBy.NONE, k=MAX_DEPTH)
    hits = service.search.run(params)
    infos = infos_of(hits.index) | {"QUERY_STATUS": "OVERFLOW" if cone.SR and hits.has_more else "OK"}
    table = as_astropy([hit.row() for hit in hits.hits if cone.SR], columns_for(cone.VERB))
    return as_votable(table, infos, "Tiles whose centre is in the cone", {})


Row = dict[str, Any]
POLYGON_ORDER = 14
"""Maximum HEALPix order of the cells that approximate a polygon; a cell of this order has a side of 13 arcsec."""
OBSCORE: dict[str, tuple[Any, str, str, str | None]] = {
    "dataproduct_type": (TEXT, "meta.code.class", "ObsDataset.dataProductType", None),
    "calib_level": (INTEGER, "meta.code;obs.calib", "ObsDataset.calibLevel", None),
    "obs_collection": (TEXT, "meta.id", "DataID.collection", None),
    "obs_id": (TEXT, "meta.id", "DataID.observationID", None),
    "obs_publisher_did": (TEXT, "meta.ref.ivoid", "Curation.publisherDID", None),
    "access_url": (TEXT, "meta.ref.url", "Access.reference", None),
    "access_format": (TEXT, "meta.code.mime", "Access.format", None),
    "access_estsize": (INTEGER, "phys.size;meta.file", "Access.size", "kbyte"),
    "target_name": (TEXT, "meta.id;src", "Target.name", None),
    "s_ra": (REAL, "pos.eq.ra", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1", "deg"),
    "s_dec": (REAL, "pos.eq.dec", "Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2", "deg"),
    "s_fov": (REAL, "phys.angSize;instr.fov", "Char.SpatialAxis.Coverage.Bounds.Extent.diameter", "deg"),
    "s_region": (TEXT, "pos.outline;obs.field", "Char.SpatialAxis.Coverage.Support.Area", None),
    "s_xel1": (INTEGER, "meta.number", "Char.SpatialAxis.numBins1", None),
    "s_xel2": (INTEGER, "meta.number", "Char.SpatialAxis.numBins2", None),
    "s_resolution": (REAL, "pos.angResolution", "Char.SpatialAxis.Resolution.Refval.value", "arcsec"),
    "t_min": (REAL, "time.start;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StartTime", "d"),
    "t_max": (REAL, "time.end;obs.exposure", "Char.TimeAxis.Coverage.Bounds.Limits.StopTime", "d"),
    "t_exptime": (REAL, "time.duration;obs.exposure", "Char.TimeAxis.Coverage.Support.Extent", "s"),
    "t_resolution": (REAL, "time.resolution", "Char.TimeAxis.Resolution.Refval.value", "s"),
    "t_xel": (INTEGER, "meta.number", "Char.TimeAxis.numBins", None),
    "em_min": (REAL, "em.wl;stat.min", "Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit", "m"),
    "em_max": (REAL, "em.wl;stat.max", "Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit", "m"),
    "em_res_power": (REAL, "spect.resolution", "Char.SpectralAxis.Resolution.ResolPower.refVal", None),
    "em_xel": (INTEGER, "meta.number", "Char.SpectralAxis.numBins", None),
    "o_ucd": (TEXT, "meta.ucd", "Char.ObservableAxis.ucd", None),
    "pol_states": (TEXT, "meta.code;phys.polarization", "Char.PolarizationAxis.stateList", None),
    "pol_xel": (INTEGER, "meta.number", "Char.PolarizationAxis.numBins", None),
    "facility_name": (TEXT, "meta.id;instr.tel", "Provenance.ObsConfig.Facility.name", None),
    "instrument_name": (TEXT, "meta.id;instr", "Provenance.ObsConfig.Instrument.name", None),
}
"""Type, UCD, utype (without the prefix `obscore:`) and unit of each column that ObsCore 1.1 requires."""
COLUMNS = tuple(Column(name, kind, "", ucd, unit) for name, (kind, ucd, _, unit) in OBSCORE.items())
UTYPES = {name: f"obscore:{utype}" for name, (_, _, utype, _) in OBSCORE.items()}
RANGES = ("BAND", "TIME", "EXPTIME", "FOV")
VALUES = ("INSTRUMENT", "TARGET", "COLLECTION", "FACILITY")
"""SIA2 parameters that match values of tiles; the INSTRUMENT `WFC3` also matches `WFC3/IR` and `WFC3/UVIS`."""
OF_ROW = {"DPTYPE": "dataproduct_type", "CALIB": "calib_level", "FORMAT": "access_format", "ID": "obs_publisher_did"}
"""SIA2 parameters that select rows by the value of one column, and the name of the column."""
PARAMETERS = sorted({"POS", "MAXREC", "RESPONSEFORMAT", *RANGES, *VALUES, *OF_ROW})
WIDTHS = {"N": 0.02, "M": 0.1, "W": 0.25, "X": 0.5, "LP": 0.5}
"""Typical bandwidth of a filter as a fraction of its wavelength, by the last letters of the filter's name."""
CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<capabilities xmlns="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
  xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<capability xmlns="" standardID="ivo://ivoa.net/std/SIA#query-2.0">
<interface xsi:type="vs:ParamHTTP" role="std" version="2.0"><accessURL use="base">{0}sia2/query</accessURL></interface>
</capability>
<capability xmlns="" standardID="ivo://ivoa.net/std/VOSI#capabilities">
<interface xsi:type="vs:ParamHTTP"><accessURL use="full">{0}sia2/capabilities</accessURL></interface>
</capability>
</capabilities>
"""


def observatory_routes(service: SearchService) -> APIRouter:
    """Make the routes of the cone search and of the image access."""
    router = APIRouter()
    several = {"type": "array", "items": {"type": "string"}}

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

    @router.get(
        "/sia2/query",
        summary="Simple Image Access 2: POS, BAND, TIME, INSTRUMENT, MAXREC and others",
        response_class=Response,
        responses=VOTABLES | {400: {"content": {MEDIA_TYPE: {}, "text/plain": {}}, "model": None}},
        openapi_extra={"parameters": [{"name": name, "in": "query", "schema": several} for name in PARAMETERS]},
    )
    async def query(request: Request) -> Response:
        given: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            given.setdefault(name.upper(), []).append(value)
        return await votable_response(400, service, _find, given, str(request.base_url))

    @router.get(
        "/sia2/capabilities",
        summary="What the image access can do (VOSI 1.1)",
        response_class=Response,
        responses={200: {"content": {"text/xml": {}}}},
    )
    async def capabilities(request: Request) -> Response:
        base = quoteattr(str(request.base_url))[1:-1]
        return Response(CAPABILITIES.format(base), media_type="text/xml")

    return router


def _find(service: SearchService, given: Mapping[str, list[str]], base_url: str) -> bytes:
    """Find the ObsCore rows that match a query, and write them as VOTable."""
    if unknown := sorted(given.keys() - PARAMETERS):
        raise ParameterError(f"{unknown[0]}: not supported; use one of {', '.join(PARAMETERS)}")
    max_rows = int(min(2 * MAX_DEPTH, _numbers("MAXREC", given["MAXREC"][0], 1)[0])) if "MAXREC" in given else MAX_DEPTH
    if max_rows < 0:
        raise ParameterError("MAXREC: 0 or more")
    opened = service.search.opened
    conditions = _conditions(opened.facts, given)
    found = [_tiles(service.search, opened, text, conditions) for text in given.get("POS", [""])]
    tiles = np.unique(np.concatenate(found)).tolist()
    wanted = {name: {text.strip().upper() for text in given[name]} for name in OF_ROW if name in given}
    rows: dict[str, Row] = {}
    for facts in opened.facts.images(tiles[:MAX_DEPTH]):
        for row in _rows(facts, base_url):
            if (row["s_fov"] or "FOV" not in given) and all(
                str(row[OF_ROW[name]]).upper() in values for name, values in wanted.items()
            ):
                rows[row["access_url"]] = row
    is_cut = len(tiles) > MAX_DEPTH or len(rows) > max_rows
    infos = infos_of(opened.status) | {"QUERY_STATUS": "OVERFLOW" if is_cut else "OK"}
    table = as_astropy(list(rows.values())[:max_rows], COLUMNS)
    return as_votable(table, infos, "Tiles, and their FITS files", UTYPES)


def _conditions(facts: TileFacts, given: Mapping[str, list[str]]) -> dict[str, Any]:
    """Convert the parameters of a query to conditions on tiles, as the argument of `TileFacts.admitted`."""
    values: dict[str, Any] = {name: [text.strip().upper() for text in given[name]] for name in VALUES if name in given}
    if "ID" in given:
        values["ID"] = [text.strip().upper().partition("?")[2] for text in given["ID"]]
    for name in RANGES:
        if name in given:
            ends = [_numbers(name, text, 2 if len(text.split()) > 1 else 1) for text in given[name]]
            values[name] = [[numbers[0], numbers[-1]] for numbers in ends]
    if "BAND" in values:
        bands = [(" ".join(filter(None, (one["instrument"], one["filter"]))), _band(one)) for one in facts.filters()]
        values["BAND"] = [
            name for name, band in bands if band and any(band[0] <= r[1] and band[1] >= r[0] for r in values["BAND"])
        ]
    return values


def _tiles(search: Search, opened: OpenIndex, text: str, conditions: dict[str, Any]) -> npt.NDArray[np.int64]:
    """Find the rows of the index whose tiles are in a region and meet conditions."""
    shape, _, numbers = text.strip().partition(" ")
    values, area = {}, None
    if shape.upper() == "CIRCLE":
        values["place"] = asdict(search.resolve_target(" ".join(map(repr, _numbers("POS", numbers, 3)))))
    elif shape.upper() == "RANGE":
        low, high, south, north = np.clip(_numbers("POS", numbers, 4), [0, 0, -90, -90], [360, 360, 90, 90]).tolist()
        values = checked(SearchParams, {"box": f"{low},{high},{south},{north}"}).filter_values()
    elif shape.upper() == "POLYGON":
        try:
            corners = SkyCoord(np.reshape(_numbers("POS", numbers, 6), (-1, 2)), unit="deg")
        except ValueError as error:
            raise ParameterError(f"POS: {error}") from error
        centre = SkyCoord(corners.cartesian.mean(), representation_type="unitspherical")
        radius_deg = centre.separation(corners).deg.max()
        area = MOC.from_polygon_skycoord(corners, max_depth=POLYGON_ORDER)
        values["place"] = {"ra_deg": centre.ra.deg, "dec_deg": centre.dec.deg, "radius_deg": radius_deg}
    elif text:
        raise ParameterError(f"POS: CIRCLE, RANGE or POLYGON with numbers in degrees, not {text[:64]!r}")
    row_n = opened.facts.admitted(conditions | values)
    ra_n, dec_n, _ = opened.facts.positions
    return row_n if area is None else row_n[area.contains_lonlat(ra_n[row_n] * u.deg, dec_n[row_n] * u.deg)]


def _numbers(name: str, text: str, num: int) -> list[float]:
    """Parse `num` numbers; a polygon (`num` is 6) may have 8, 10 or more. Only the ends of a range may be infinite."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if (
        len(numbers) < num
        or not all(math.isfinite(one) or (math.isinf(one) and num in (2, 4)) for one in numbers)
        or (num < 5 and len(numbers) > num)
        or len(numbers) % 2 > num % 2
    ):
        raise ParameterError(f"{name}: {num} numbers are needed, not {text[:64]!r}")
    return numbers


def _band(facts: Row) -> tuple[float, float] | None:
    """Return the wavelength limits of a filter in metres; None if the wavelength of the filter is unknown."""
    nm = wavelength_nm(facts["filter"], facts["instrument"])
    width = next((share for end, share in WIDTHS.items() if str(facts["filter"]).upper().endswith(end)), 0.25)
    return (nm * (1 - width / 2) * 1e-9, nm * (1 + width / 2) * 1e-9) if nm else None


def _rows(facts: Row, base_url: str) -> Iterator[Row]:
    """Yield the ObsCore row of a tile's picture, and the row of its FITS file if the tile's mission is known."""
    row = facts | dict(zip(("em_min", "em_max"), _band(facts) or (), strict=False))
    picture = f"{base_url}api/v1/tiles/{facts['tile_id']}/image.png?format=png"
    yield row | _access(picture, "image/png", f"tile?{facts['tile_id']}")
    for link in archive_links(facts):
        if link.url.startswith(DOWNLOAD):
            row |= {"s_ra": facts["file_ra_deg"], "s_dec": facts["file_dec_deg"], "s_region": facts["footprint"]}
            row |= dict.fromkeys(("s_fov", "s_xel1", "s_xel2"))
            yield row | _access(link.url, "application/fits", f"product?{facts['product_uri']}")


def _access(url: str, media_type: str, name: str) -> Row:
    return {"access_url": url, "access_format": media_type, "obs_publisher_did": f"ivo://hubbleclip/{name}"}
