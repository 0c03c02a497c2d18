"""Turn the filters of a query into a mask over the rows of the index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, time
from typing import Any

import numpy as np

from hubbleclip.catalog import tile_filters
from hubbleclip.catalog.tile_filters import Column, Condition
from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.core.errors import SearchError
from hubbleclip.search.query import Box, Cone, Filters
from hubbleclip.search.stores.base import Mask

NO_FILTERS = Filters()


def admitted_rows(facts: TileFacts, filters: Filters, num_rows: int) -> Mask:
    """Find the rows that filters admit."""
    mask_n = np.zeros(num_rows, np.bool_)
    mask_n[facts.admitted([] if filters == NO_FILTERS else conditions_of(filters))] = True
    return mask_n


def conditions_of(filters: Filters) -> list[Condition]:
    """Translate filters to conditions of the catalog."""
    lists = (
        (tile_filters.instrument_is, filters.instruments),
        (tile_filters.detector_is, filters.detectors),
        (tile_filters.filter_has, filters.bands),
        (tile_filters.proposal_is, filters.proposals),
        (tile_filters.category_is, filters.categories),
    )
    conditions = [condition(values) for condition, values in lists if values]
    plain: tuple[tuple[Column, Sequence[Any]], ...] = (("split", filters.splits), ("cycle", filters.cycles))
    conditions += [tile_filters.one_of(column, values) for column, values in plain if values]
    last_time = filters.observed_to and datetime.combine(filters.observed_to, time.max)  # the last day counts
    ranges: tuple[tuple[Column, Any, Any], ...] = (
        ("exposure_s", filters.exposure_min_s, filters.exposure_max_s),
        ("pixel_scale_arcsec", filters.pixel_scale_min_arcsec, filters.pixel_scale_max_arcsec),
        ("observed_at", filters.observed_from, last_time),
    )
    conditions += [tile_filters.between(*limits) for limits in ranges if limits[1:] != (None, None)]
    if filters.pi:
        conditions.append(tile_filters.pi_has(filters.pi))
    if filters.moving_target is not None:
        conditions.append(tile_filters.one_of("is_moving", [filters.moving_target]))
    if filters.cone:
        conditions.append(tile_filters.in_cone(*_checked_cone(filters.cone)))
    if filters.box:
        conditions.append(tile_filters.in_box(*_checked_box(filters.box)))
    return conditions


def _checked_cone(cone: Cone) -> tuple[float, float, float]:
    """Check a cone and return its values."""
    values = (cone.ra_deg, cone.dec_deg, cone.radius_deg)
    if not all(map(math.isfinite, values)) or abs(cone.dec_deg) > 90 or not 0 <= cone.radius_deg <= 180:
        raise SearchError(f"{values} is no cone: give RA, Dec (-90 to 90) and radius (0 to 180) in degrees")
    return values


def _checked_box(box: Box) -> tuple[float, float, float, float]:
    """Check a box and return its values."""
    values = (box.ra_min_deg, box.ra_max_deg, box.dec_min_deg, box.dec_max_deg)
    if not all(map(math.isfinite, values)) or box.dec_min_deg > box.dec_max_deg:
        raise SearchError(f"{values} is no box: give RA and Dec in degrees, each from the smallest to the largest")
    return values
