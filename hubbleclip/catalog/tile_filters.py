"""Conditions on the indexed tiles, as SQL with bound values, for `TileFacts.admitted`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Condition = tuple[str, list[Any]]
"""An SQL condition on `tile_fact`, and the values of its parameters."""
Column = Literal["split", "cycle", "exposure_s", "observed_at", "pixel_scale_arcsec", "is_moving"]
"""Columns of `tile_fact` that a condition may name; never a text from outside."""
IN_CONE = """
dec_deg BETWEEN $dec - $radius - 1e-6 AND $dec + $radius + 1e-6
AND (half_width_deg($dec, $radius) >= 180
     OR in_wedge(ra_deg, $ra - half_width_deg($dec, $radius), $ra + half_width_deg($dec, $radius)))
AND separation_deg($ra, $dec, ra_deg, dec_deg) <= $radius
"""
"""Condition of the catalog's search `cone`, which explains the bounds."""


def one_of(column: Column, values: Sequence[Any]) -> Condition:
    """Admit tiles whose value is one of several."""
    return f"{column} IN (SELECT unnest(?))", [list(values)]


def between(column: Column, low: Any, high: Any) -> Condition:
    """Admit tiles whose value lies in a range that may be open."""
    return f"{column} >= coalesce(?, {column}) AND {column} <= coalesce(?, {column})", [low, high]


def instrument_is(names: Sequence[str]) -> Condition:
    """Admit tiles of instruments."""
    upper = [name.upper() for name in names]
    sql = "upper(instrument) IN (SELECT unnest(?)) OR upper(split_part(instrument, '/', 1)) IN (SELECT unnest(?))"
    return sql, [upper, upper]


def detector_is(names: Sequence[str]) -> Condition:
    """Admit tiles of detectors."""
    return "upper(detector) IN (SELECT unnest(?))", [[name.upper() for name in names]]


def filter_has(names: Sequence[str]) -> Condition:
    """Admit tiles taken through filters."""
    sql = "list_has_any(regexp_extract_all(upper(filter), '[A-Z0-9]+'), ?)"
    return sql, [[name.upper() for name in names]]


def category_is(names: Sequence[str]) -> Condition:
    """Admit tiles of proposals in science categories."""
    return "upper(category) IN (SELECT unnest(?))", [[name.upper() for name in names]]


def proposal_is(numbers: Sequence[str]) -> Condition:
    """Admit tiles of proposals."""
    sql = "proposal_id IN (SELECT unnest(?)) OR split_part(proposal_id, ':', 2) IN (SELECT unnest(?))"
    return sql, [list(numbers), list(numbers)]


def pi_has(name: str) -> Condition:
    """Admit tiles of a principal investigator."""
    return "contains(lower(pi), lower(?))", [name]


def in_cone(ra_deg: float, dec_deg: float, radius_deg: float) -> Condition:
    """Admit tiles whose centre lies within a radius of a position."""
    values = {"$radius": radius_deg, "$ra": ra_deg, "$dec": dec_deg}
    sql = IN_CONE
    for name, value in values.items():
        sql = sql.replace(name, f"({float(value)!r})")  # a number cannot hold SQL
    return sql, []


def in_box(ra_min_deg: float, ra_max_deg: float, dec_min_deg: float, dec_max_deg: float) -> Condition:
    """Admit tiles whose centre lies in a range."""
    sql = "dec_deg BETWEEN ? AND ?"
    if ra_max_deg - ra_min_deg >= 360 - 1e-9:
        return sql, [dec_min_deg, dec_max_deg]
    return f"{sql} AND in_wedge(ra_deg, ?, ?)", [dec_min_deg, dec_max_deg, ra_min_deg, ra_max_deg]
