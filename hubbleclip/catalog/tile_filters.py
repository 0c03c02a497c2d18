"""Filters of a search, defined once for the web pages, the API, the command, agents, Python and the docs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

VALUES = "SELECT row, {0} AS value FROM tile_fact WHERE {0} IS NOT NULL ORDER BY row"
# Some proposals write their category in capitals; all spellings of a category become one value.
CATEGORIES = """
SELECT row, max(category) OVER (PARTITION BY upper(category)) AS value FROM tile_fact WHERE category IS NOT NULL
"""
# Values such as `CLEAR1L` (an empty position of a filter wheel) and `N/A` are removed.
BANDS = """
WITH tile_band AS (SELECT DISTINCT row, unnest(regexp_extract_all(upper(filter), '[A-Z0-9]+')) AS value FROM tile_fact)
SELECT row, value FROM tile_band WHERE length(value) > 1 AND NOT starts_with(value, 'CLEAR')
"""
# `sql/searches.sql` explains these ranges of declination and right ascension.
IN_CONE = """
dec_deg BETWEEN $dec_deg - $radius_deg - 1e-6 AND $dec_deg + $radius_deg + 1e-6
AND (half_width_deg($dec_deg, $radius_deg) >= 180
     OR in_wedge(ra_deg, $ra_deg - half_width_deg($dec_deg, $radius_deg),
                 $ra_deg + half_width_deg($dec_deg, $radius_deg)))
AND separation_deg($ra_deg, $dec_deg, ra_deg, dec_deg) <= $radius_deg
"""
IN_INSTRUMENT = "upper(instrument) IN ${0} OR upper(split_part(instrument, '/', 1)) IN ${0}"
IN_BOX = """
dec_deg BETWEEN $dec_min AND $dec_max AND ($ra_max - $ra_min >= 360 - 1e-9 OR in_wedge(ra_deg, $ra_min, $ra_max))
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that a tile must meet to be a hit; a filter that is not given admits every tile.

    Attributes
    ----------
    name
        Name of the parameter in a URL, of the option and of the argument.
    kind
        Type of a value: str, int, float, bool or date.
    sql
        Condition on `tile_fact`; `$name` is the value or, if `is_list`, the list of values in upper case.
    label
        Name on the page. For a limit, the name ends in `≥` or `≤`, such as `exposure time ≥`.
    meaning
        Description of a value in the API, the command, the tools for agents and the docs.
    is_list
        Whether several values may be given; a tile must match one of them.
    unit
        Unit of a number. All numbers are 0 or more.
    values
        SQL for the filter's list of choices on the page: the values of each tile. Empty if the page has no such list.

    """

    name: str
    kind: type
    sql: str
    label: str
    meaning: str
    is_list: bool = False
    unit: str = ""
    values: str = ""

    @property
    def default(self) -> Any:
        """Value that admits every tile."""
        return [] if self.is_list else "" if self.kind is str else None


def _one_of(name: str, label: str, meaning: str, sql: str = "", values: str = "") -> Filter:
    """Make a filter that admits tiles whose value of a column is one of the given texts; case does not matter."""
    return Filter(name, str, sql or f"upper({name}) IN ${name}", label, meaning, is_list=True, values=values)


def _limits(fact: str, label: str, unit: str, *, example: str) -> list[Filter]:
    """Make the two filters that limit a number to a range."""
    ends = (("min", ">=", "≥", "Smallest"), ("max", "<=", "≤", "Largest"))
    words = f"{label} in {unit}, such as {example}."
    return [
        Filter(f"{fact}_{end}", float, f"{fact} {sql} ${fact}_{end}", f"{label} {sign}", f"{word} {words}", unit=unit)
        for end, sql, sign, word in ends
    ]


FILTERS = (
    Filter("place", str, IN_CONE, "near", "Position, such as 83.82 -5.39 in degrees, or the name of a target."),
    _one_of(
        "instrument",
        "instrument",
        "Instrument and channel, such as WFC3/UVIS, or instrument, such as WFC3.",
        IN_INSTRUMENT.format("instrument"),
        VALUES.format("instrument"),
    ),
    _one_of("detector", "detector", "Detector, such as UVIS."),
    _one_of(
        "filter",
        "filter",
        "Filter, such as F814W.",
        "list_has_any(regexp_extract_all(upper(filter), '[A-Z0-9]+'), $filter)",
        BANDS,
    ),
    _one_of("category", "category", "Science category, such as GALAXIES.", values=CATEGORIES),
    Filter(
        "cycle",
        int,
        "cycle IN $cycle",
        "cycle",
        "Observing cycle, such as 20.",
        is_list=True,
        values=VALUES.format("cycle"),
    ),
    _one_of("split", "split", "Split of the dataset, such as test.", values=VALUES.format("split")),
    Filter("observed_from", date, "observed_at >= $observed_from", "observed from", "First day, such as 2009-05-24."),
    Filter(
        "observed_to",
        date,
        "observed_at < $observed_to + INTERVAL 1 DAY",
        "observed until",
        "Last day, such as 2009-05-24.",
    ),
    *_limits("exposure_s", "exposure time", "s", example="100"),
    *_limits("pixel_scale_arcsec", "pixel scale", "arcsec", example="0.05"),
    _one_of(
        "proposal",
        "proposal",
        "Proposal, such as hst:10003 or 10003.",
        "upper(proposal_id) IN $proposal OR split_part(proposal_id, ':', 2) IN $proposal",
    ),
    Filter("pi", str, "contains(lower(pi), lower($pi))", "PI", "Part of the investigator's name, such as Hubble."),
    Filter(
        "moving",
        bool,
        "is_moving = $moving",
        "moving target",
        "Whether the target moves on the sky, such as a planet.",
    ),
    Filter("box", str, IN_BOX, "box", "ra_min,ra_max,dec_min,dec_max in degrees, such as 350,10,-5,5, across RA 0."),
)
FILTER_OF = {one.name: one for one in FILTERS}
OF_MISSION = "upper(split_part(proposal_id, ':', 1)) IN ${0}"
IN_RANGES = "len(list_filter(${0}, lambda r: {1} <= r[2] AND {2} >= r[1])) > 0"
START_MJD, FOV_DEG = "epoch(observed_at) / 86400 + 40587", "pixel_scale_arcsec * size_px / 3600"
CONDITIONS = {one.name: one.sql for one in FILTERS} | {
    "TIME": IN_RANGES.format("TIME", START_MJD, f"({START_MJD} + coalesce(exposure_s, 0) / 86400)"),
    "EXPTIME": IN_RANGES.format("EXPTIME", "exposure_s", "exposure_s"),
    "FOV": IN_RANGES.format("FOV", FOV_DEG, FOV_DEG),
    "BAND": "concat_ws(' ', instrument, filter) IN $BAND",
    "INSTRUMENT": IN_INSTRUMENT.format("INSTRUMENT"),
    "TARGET": "upper(target_name) IN $TARGET",
    "COLLECTION": OF_MISSION.format("COLLECTION"),
    "FACILITY": OF_MISSION.format("FACILITY"),
    "ID": "list_has_any($ID, [upper(tile_id), upper(product_uri)])",
}
"""SQL condition of each filter and of each parameter of Simple Image Access (such as `BAND`), by name."""
