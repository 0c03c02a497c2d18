"""Fold the planes of an observation into one record.

A row of MAST's observation table is a plane in the sense of CAOM: one kind of data of an observation, such as one band
or one calibration level. Planes of one observation have the same `obs_id` and `obsid`, and different `objID`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hubbleclip.archives.mast.caom_rows import finite_float, plain_value, plane_key
from hubbleclip.archives.mast.client import Row
from hubbleclip.core.records import Observation

SEPARATOR = ";"
"""Separator between the names of filters, as in MAST's column `filters`."""


def rows_by_observation(rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows by observation, sorted by number; a row without an `obs_id` is a group of its own."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(plain_value(row.get("obs_id")) or plane_key(row), []).append(row)
    return [sorted(group, key=plane_key) for group in groups.values()]


def rows_by_day(rows: Iterable[Row]) -> Counter[int]:
    """Count rows by the day of their release (MJD)."""
    dates = (finite_float(plain_value(row.get("t_obs_release"))) for row in rows)
    return Counter(math.floor(date) for date in dates if date is not None)


def fold_planes(planes: Sequence[Observation]) -> Observation | None:
    """Fold the planes of an observation into the record of the one with the highest calibration level."""
    if len(planes) < 2:
        return next(iter(planes), None)
    main = max(planes, key=lambda item: (item.calib_level or 0, item.exposure_s or 0.0, item.obsid or 0))
    names = [name for item in (main, *planes) if item.filters for name in item.filters.split(SEPARATOR)]
    prints = sorted(item.fingerprint or "" for item in planes)
    return replace(
        main,
        filters=SEPARATOR.join(dict.fromkeys(names)) or None,
        is_moving=any(item.is_moving for item in planes),
        released_mjd=min((item.released_mjd for item in planes if item.released_mjd is not None), default=None),
        fingerprint=hashlib.sha256("".join(prints).encode()).hexdigest()[:32],
    )
