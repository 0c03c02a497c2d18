"""Columns that describe a tile, with types, units and meanings. Search, export and the API use these columns."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from hubbleclip.missions.base import PARALLEL

TEXT, REAL, INTEGER = pa.string(), pa.float64(), pa.int64()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of tiles: its type, meaning, UCD and unit, and how the catalog computes it.

    In `sql`, the tables tile, observation, proposal and split are `t`, `o`, `p` and `s`; `sql` is empty if the value
    is not from the catalog.
    """

    name: str
    kind: pa.DataType
    description: str
    ucd: str = ""
    unit: str | None = None
    sql: str = ""


INSTRUMENT = "coalesce(t.instrument, o.instrument)"
OF_TARGET = f"CASE WHEN NOT coalesce(list_contains(string_split(t.note, '; '), '{PARALLEL}'), false) THEN o.{{}} END"
"""SQL template of a column about the target; null for parallel exposures, which do not show the target."""
# MJD 40587 is 1970-01-01.
START = "to_timestamp((o.start_mjd - 40587) * 86400) AT TIME ZONE 'UTC'"
FACTS = (
    Column("tile_id", TEXT, "Id of the tile", "meta.id;meta.main", sql="t.tile_id"),
    Column("ra_deg", REAL, "Right ascension of the centre, ICRS", "pos.eq.ra;meta.main", "deg", "t.ra_deg"),
    Column("dec_deg", REAL, "Declination of the centre, ICRS", "pos.eq.dec;meta.main", "deg", "t.dec_deg"),
    Column("pixel_scale_arcsec", REAL, "Side of a pixel of the tile", "instr.scale", "arcsec", "t.pixel_scale_arcsec"),
    Column("size_px", INTEGER, "Side of the tile", "meta.number", "pixel", "t.size_px"),
    Column("view", TEXT, "How the tile was cut: native, overview, aim or colour", "meta.code", sql="t.view"),
    Column("target_name", TEXT, "Target as the observer named it", "meta.id;src", sql=OF_TARGET.format("target_name")),
    Column("target_class", TEXT, "Keywords of the target", "meta.note;src", sql=OF_TARGET.format("target_class")),
    Column("instrument", TEXT, "Instrument and channel", "meta.id;instr", sql=INSTRUMENT),
    Column("detector", TEXT, "Detector", "instr", sql=f"split_part({INSTRUMENT}, '/', 2)"),
    Column("filter", TEXT, "Filter", "meta.id;instr.filter", sql="coalesce(t.filter, o.filters)"),
    Column("exposure_s", REAL, "Exposure time", "time.duration;obs.exposure", "s", "o.exposure_s"),
    Column("observed_at", TEXT, "Start of the exposure (UTC, ISO 8601)", "time.start;obs.exposure", sql=START),
    Column("proposal_id", TEXT, "Proposal", "meta.id;obs.proposal", sql="t.proposal_id"),
    Column("title", TEXT, "Title of the proposal", "meta.title;obs.proposal", sql="p.title"),
    Column("pi", TEXT, "Principal investigator", "meta.id.PI", sql="p.pi"),
    Column("cycle", INTEGER, "Observing cycle", "meta.number;obs.proposal", sql="p.cycle"),
    Column("category", TEXT, "Science category", "meta.note", sql="p.category"),
    Column("obs_id", TEXT, "Observation in the archive", "meta.id;obs", sql="t.obs_id"),
    Column("product_uri", TEXT, "File in the archive", "meta.ref.uri", sql="t.product_uri"),
    Column("split", TEXT, "Split of the dataset", "meta.code", sql="s.split"),
)
SELECTED = ", ".join(f'{one.sql} AS "{one.name}"' for one in FACTS)
JOINED = """
LEFT JOIN {0}observation o USING (obs_id) LEFT JOIN {0}proposal p ON p.proposal_id = t.proposal_id
LEFT JOIN {0}split s ON s.tile_id = t.tile_id
"""
INDEXED_FACTS = f"""
CREATE TABLE tile_fact AS
SELECT i.row, {SELECTED}, coalesce(o.is_moving, false) AS is_moving,
  dense_rank() OVER (ORDER BY t.proposal_id) - 1 AS proposal_group
FROM indexed i JOIN catalog.tile t USING (tile_id) {JOINED.format("catalog.")} ORDER BY i.row
"""  # noqa: S608 - constants
"""Script that makes `tile_fact` for the tile ids in `indexed`. Searches use this table to filter and group hits."""
TILE_DETAILS = f"""
SELECT {SELECTED}, t.chip, t.y0, t.x0, t.shrink, t.corners_deg, t.wcs, t.unit, o.is_moving, p.abstract,
  (SELECT path FROM product f WHERE f.uri = t.product_uri AND f.sha256 = t.product_sha256) AS product_path
FROM tile t {JOINED.format("")} WHERE starts_with(t.tile_id, $start) ORDER BY t.tile_id LIMIT 2
"""  # noqa: S608 - constants
"""Query for the values on a tile's page. Two rows mean that `$start` is ambiguous: several tile ids begin with it."""
