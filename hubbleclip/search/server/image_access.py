"""Simple Image Access 2.0 of the Virtual Observatory (IVOA Recommendation 2015-12-23): images as ObsCore 1.1 rows.

Each tile has a row for its picture, and one for its FITS file at MAST. TOPCAT, Aladin and pyvo read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from xml.sax.saxutils import quoteattr

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from fastapi import APIRouter, Request, Response
from mocpy import MOC

from hubbleclip.catalog.tile_facts import INTEGER, REAL, TEXT, Column
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.missions.links import DOWNLOAD, archive_links
from hubbleclip.search.export import as_astropy, as_votable, infos_of
from hubbleclip.search.params import MAX_DEPTH, ParameterError, SearchParams, checked
from hubbleclip.search.records import GroupBy
from hubbleclip.search.server.cone_search import MEDIA_TYPE, VOTABLES, error_table
from hubbleclip.search.server.search_service import BusyError, SearchService

Row = dict[str, Any]
Test = Callable[[Row], bool]
MJD_EPOCH = datetime(1858, 11, 17)
POLYGON_ORDER = 14
"""HEALPix order, of cells of 13 arcsec, to which the edge of a polygon is followed."""
CALIB_LEVEL = 3
"""ObsCore's level of products that were made of calibrated images."""
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
"""Type, UCD, utype (after `obscore:`) and unit of each column that ObsCore 1.1 demands."""
COLUMNS = tuple(Column(name, kind, "", ucd, unit) for name, (kind, ucd, _, unit) in OBSCORE.items())
UTYPES = {name: f"obscore:{utype}" for name, (_, _, utype, _) in OBSCORE.items()}
RANGES = {
    "BAND": ("em_min", "em_max"),
    "TIME": ("t_min", "t_max"),
    "EXPTIME": ("t_exptime", "t_exptime"),
    "FOV": ("s_fov", "s_fov"),
}
"""Columns that must overlap a range."""
VALUES = {
    "INSTRUMENT": "instrument_name",
    "TARGET": "target_name",
    "COLLECTION": "obs_collection",
    "FACILITY": "facility_name",
    "DPTYPE": "dataproduct_type",
    "CALIB": "calib_level",
    "FORMAT": "access_format",
    "ID": "obs_publisher_did",
}
"""Columns that must have one of the given values; of an instrument, the part before the slash is enough."""
OTHERS = ("POS", "MAXREC", "RESPONSEFORMAT")
WIDTHS = {"N": 0.02, "M": 0.1, "W": 0.25, "X": 0.5, "LP": 0.5}
"""Widths of the bands as shares of their wavelengths, by the last letters of a filter's name, as they usually are."""
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


def image_routes(service: SearchService) -> APIRouter:
    """Make the routes of the image access."""
    router = APIRouter(prefix="/sia2")

    names = sorted({*RANGES, *VALUES, *OTHERS})
    several = {"type": "array", "items": {"type": "string"}}

    @router.get(
        "/query",
        summary="Simple Image Access 2: POS, BAND, TIME, INSTRUMENT, MAXREC and others",
        response_class=Response,
        responses=VOTABLES | {400: {"content": {MEDIA_TYPE: {}}, "model": None}},
        openapi_extra={"parameters": [{"name": name, "in": "query", "schema": several} for name in names]},
    )
    async def query(request: Request) -> Response:
        try:
            given: dict[str, list[str]] = {}
            for name, value in request.query_params.multi_items():
                given.setdefault(name.upper(), []).append(value)
            content = await service.tables.run(_find, service, given, str(request.base_url))
        except BusyError:
            raise
        except HubbleclipError as error:
            return Response(error_table(str(error)), 400, headers={"Content-Type": MEDIA_TYPE})
        return Response(content, headers={"Content-Type": MEDIA_TYPE})

    @router.get(
        "/capabilities",
        summary="What the image access can do (VOSI 1.1)",
        response_class=Response,
        responses={200: {"content": {"text/xml": {}}}},
    )
    async def capabilities(request: Request) -> Response:
        base = quoteattr(str(request.base_url))[1:-1]
        return Response(CAPABILITIES.format(base), media_type="text/xml")

    return router


def _find(service: SearchService, given: Mapping[str, list[str]], base_url: str) -> bytes:
    """Find the rows that a query admits, and write them as VOTable."""
    known = {*RANGES, *VALUES, *OTHERS}
    if unknown := sorted(given.keys() - known):
        raise ParameterError(f"{unknown[0]}: not supported; known are {', '.join(sorted(known))}")
    max_rows = int(_numbers("MAXREC", given["MAXREC"][0], 1)[0]) if "MAXREC" in given else MAX_DEPTH
    if max_rows < 0:
        raise ParameterError("MAXREC: 0 or more")
    tests = list(_tests(given))
    rows: dict[str, Row] = {}
    is_cut, status = False, service.search.status
    for region, is_inside in map(_region, given.get("POS", [""])):
        hits = service.search.run(checked(SearchParams, region | {"group": GroupBy.NONE, "k": MAX_DEPTH}))
        corners = service.search.corners([hit.tile_id for hit in hits.hits])
        is_cut, status = is_cut or hits.has_more, hits.index
        found = [row for hit in hits.hits for row in _rows(hit.row(), corners[hit.tile_id], base_url)]
        rows |= {row["access_url"]: row for row in found if is_inside(row) and all(test(row) for test in tests)}
    infos = infos_of(status) | {"QUERY_STATUS": "OVERFLOW" if is_cut or len(rows) > max_rows else "OK"}
    table = as_astropy(list(rows.values())[:max_rows], COLUMNS)
    return as_votable(table, infos, "Tiles, and their FITS files", UTYPES)


def _region(text: str) -> tuple[dict[str, str], Test]:
    """Return the filter that admits the tiles in a region, or more, and whether the centre of a tile is inside."""
    shape, _, numbers = text.strip().partition(" ")
    if shape.upper() == "CIRCLE":
        return {"place": " ".join(map(repr, _numbers("POS", numbers, 3)))}, lambda row: True
    if shape.upper() == "RANGE":
        low, high, south, north = np.clip(_numbers("POS", numbers, 4), [0, 0, -90, -90], [360, 360, 90, 90]).tolist()
        return {"box": f"{low},{high},{south},{north}"}, lambda row: True
    if shape.upper() == "POLYGON":
        corners = SkyCoord(np.reshape(_numbers("POS", numbers, 6), (-1, 2)), unit="deg")
        centre = SkyCoord(corners.cartesian.mean(), representation_type="unitspherical")
        radius_deg = centre.separation(corners).deg.max()
        area = MOC.from_polygon_skycoord(corners, max_depth=POLYGON_ORDER)
        place = f"{centre.ra.deg:.9f} {centre.dec.deg:.9f} {radius_deg:.9f}"
        return {"place": place}, lambda row: bool(area.contains_lonlat(row["s_ra"] * u.deg, row["s_dec"] * u.deg)[0])
    if text:
        raise ParameterError(f"POS: CIRCLE, RANGE or POLYGON with numbers in degrees, not {text[:64]!r}")
    return {}, lambda row: True


def _numbers(name: str, text: str, num: int) -> list[float]:
    """Parse at least `num` numbers, exactly `num` if it is less than 5; infinity is a number."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        numbers = []
    if (
        len(numbers) < num
        or any(map(math.isnan, numbers))
        or (num < 5 and len(numbers) > num)
        or len(numbers) % 2 > num % 2
    ):
        raise ParameterError(f"{name}: {num} numbers are needed, not {text[:64]!r}")
    return numbers


def _tests(given: Mapping[str, list[str]]) -> Iterator[Test]:
    """Yield the conditions that a row must meet, by ranges and by values."""
    for name, (low, high) in RANGES.items():
        if name in given:
            limits = [_numbers(name, text, 2 if len(text.split()) > 1 else 1) for text in given[name]]
            yield partial(_overlaps, low, high, limits)
    for name, column in VALUES.items():
        if name in given:
            yield partial(_is_one_of, column, {text.strip().upper() for text in given[name]})


def _overlaps(low: str, high: str, limits: list[list[float]], row: Row) -> bool:
    """Return whether a row overlaps one of several ranges; a range may be one number."""
    return row[low] is not None and any(row[low] <= one[-1] and row[high] >= one[0] for one in limits)


def _is_one_of(column: str, wanted: set[str], row: Row) -> bool:
    """Return whether a row has one of several values."""
    value = str(row[column]).upper()
    return value in wanted or value.partition("/")[0] in wanted


def _rows(facts: Row, corners_deg: list[float], base_url: str) -> Iterator[Row]:
    """Make the row of a tile's picture, and of its FITS file if the archive is a mission's."""
    if facts["ra_deg"] is None:
        return
    mission = str(facts["proposal_id"]).partition(":")[0].upper()
    row = dict.fromkeys(OBSCORE) | {
        "dataproduct_type": "image",
        "calib_level": CALIB_LEVEL,
        "obs_collection": mission,
        "facility_name": mission,
        "obs_id": facts["obs_id"],
        "target_name": facts["target_name"],
        "s_ra": facts["ra_deg"],
        "s_dec": facts["dec_deg"],
        "s_fov": (facts["pixel_scale_arcsec"] or 0) * (facts["size_px"] or 0) / 3600 or None,
        "s_region": "POLYGON ICRS " + " ".join(f"{number:.8f}" for number in corners_deg) if corners_deg else None,
        "s_xel1": facts["size_px"],
        "s_xel2": facts["size_px"],
        "t_exptime": facts["exposure_s"],
        "t_xel": 1,
        "em_xel": 1,
        "pol_xel": 0,
        "o_ucd": "phot.count",
        "instrument_name": facts["instrument"],
        "access_url": f"{base_url}api/v1/tiles/{facts['tile_id']}/image.png?format=png",
        "access_format": "image/png",
        "obs_publisher_did": f"ivo://hubbleclip/tile?{facts['tile_id']}",
    }
    if facts["observed_at"]:
        start = (datetime.fromisoformat(facts["observed_at"]) - MJD_EPOCH) / timedelta(days=1)
        row |= {"t_min": start, "t_max": start + (facts["exposure_s"] or 0) / 86_400}
    if nm := wavelength_nm(facts["filter"], facts["instrument"]):
        width = next((share for end, share in WIDTHS.items() if str(facts["filter"]).upper().endswith(end)), 0.25)
        row |= {"em_min": nm * (1 - width / 2) * 1e-9, "em_max": nm * (1 + width / 2) * 1e-9}
    yield row
    for link in archive_links(facts):
        if link.url.startswith(DOWNLOAD):
            yield row | {
                "access_url": link.url,
                "access_format": "application/fits",
                "obs_publisher_did": f"ivo://hubbleclip/product?{facts['product_uri']}",
            }
