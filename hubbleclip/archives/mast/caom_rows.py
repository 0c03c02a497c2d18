"""Conversion of MAST's rows, which have CAOM columns, to observation records.

A row of MAST's observation table is a plane in the sense of CAOM: one kind of data of an observation, such as one band
or one calibration level. Planes of one observation have the same `obs_id` and `obsid`, and different `objID`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.core.records import Observation
from hubbleclip.missions.base import ProductRanking

CaomRow = dict[str, Any]
"""A row of MAST's table of observations or of products: a dictionary from column name to value."""

MISSING = -999
"""Number that MAST writes for an unknown value in some columns, instead of null."""
FILTER_SEPARATOR = ";"
"""Separator between the names of filters in the column `filters`."""
MOVING_CLASS = re.compile(
    r"SOLAR SYSTEM|((MINOR|DWARF) )?PLANET|COMET|ASTEROID|SATELLITE|MOON|KUIPER BELT.*|TRANS-?NEPTUNIAN.*|TNO|KBO"
)


def plain_row(row: CaomRow) -> CaomRow:
    """Normalise the values of a row, and drop the columns that have no value."""
    plain = ((name, plain_value(value)) for name, value in row.items())
    return {name: value for name, value in plain if value is not None}


def plain_value(value: Any) -> Any:
    """Convert a value to a built-in type; None for empty text, NaN, infinity and `MISSING`."""
    if isinstance(value, str):
        # control characters and lone surrogates break terminals and tables
        text = value if value.isprintable() else "".join(letter if letter.isprintable() else " " for letter in value)
        return text.strip() or None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if isinstance(value, int) and value == MISSING else value


def whole_number(value: Any) -> int | None:
    """Convert a count (of rows or bytes) of at most 18 digits to int; None for anything else, such as True and -1."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def plane_key(row: CaomRow) -> tuple[str, str]:
    """Return the unique key of a plane (a row of MAST's observation table): its `obsid` and its `objID`."""
    return str(row.get("obsid")), str(row.get("objID"))


def fingerprint_of(plain: Mapping[str, Any]) -> str:
    """Hash a row's values in the columns of `COLUMNS`, so that a later run can detect a change of these values."""
    facts = {name: value for name, value in plain.items() if name in COLUMNS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def observation_from_row(
    row: CaomRow, archive: str, fetched_at: datetime, ranking: ProductRanking
) -> Observation | None:
    """Make an observation record from a row; None if it has no `obs_id`. `fetched_at` is the time of the response."""
    plain = plain_row(row)
    values = {field: convert(plain.get(column)) for column, (field, convert) in COLUMNS.items()}
    if values["obs_id"] is None:
        return None
    # Old rows have no mtFlag. Their targets count as moving if they are of a moving class and have no footprint.
    is_moving = values["is_moving"] or (not values["footprint"] and is_moving_class(values["target_class"]))
    derived = {
        "archive": archive,
        "proposal_id": proposal_id_of(archive, values["proposal_id"]),
        "instrument": values["instrument"] or "UNKNOWN",
        "is_moving": is_moving,
        "fetched_at": fetched_at,
        "visit": ranking.visit(values["obs_id"]),
        "fingerprint": fingerprint_of(plain),
    }
    return Observation(**values | derived)


def is_moving_class(target_class: str | None) -> bool:
    """Check whether one of the classes of a target, such as `PLANET; STAR`, is a kind of solar-system object."""
    return any(MOVING_CLASS.fullmatch(part.strip().upper()) for part in (target_class or "").split(";"))


def finite_float(value: Any) -> float | None:
    """Convert a finite number to float; None for anything else."""
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _text(value: Any) -> str | None:
    """Convert a value to text; None stays None."""
    return value if value is None or isinstance(value, str) else str(value)


def _int(value: Any) -> int | None:
    """Convert a whole number of at most 18 digits, which fits into 64 bits, to int; return None for anything else."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _in_range(value: Any, low: float, high: float) -> float | None:
    """Convert a number in [low, high] to float; return None for anything else."""
    number = finite_float(value)
    return number if number is not None and low <= number <= high else None


def _ra_deg(value: Any) -> float | None:
    """Convert a right ascension in [-180, 360] degrees to the range [0, 360); return None for anything else."""
    number = _in_range(value, -180, 360)
    return None if number is None else number % 360


def _footprint(value: Any) -> str | None:
    """Convert a value of `s_region` to text with one space between its words; return None for anything else."""
    return " ".join(str(value or "").split()) or None


COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "obs_id": ("obs_id", _text),
    "obsid": ("obsid", _int),
    "proposal_id": ("proposal_id", _text),
    "instrument_name": ("instrument", _text),
    "filters": ("filters", _text),
    "target_name": ("target_name", _text),
    "target_classification": ("target_class", _text),
    "mtFlag": ("is_moving", bool),
    "s_ra": ("ra_deg", _ra_deg),
    "s_dec": ("dec_deg", partial(_in_range, low=-90, high=90)),
    "s_region": ("footprint", _footprint),
    "t_min": ("start_mjd", finite_float),
    "t_exptime": ("exposure_s", finite_float),
    "calib_level": ("calib_level", _int),
    "t_obs_release": ("released_mjd", finite_float),
    "obs_title": ("title", _text),
}
"""For each column that is read: the field of `Observation`, and the function that converts a value.

`check-archive` looks for these columns.
"""


def rows_by_observation(rows: Iterable[CaomRow]) -> list[list[CaomRow]]:
    """Group rows by `obs_id`, and sort each group by `plane_key`; a row without an `obs_id` is a group of its own."""
    groups: dict[object, list[CaomRow]] = {}
    for row in rows:
        groups.setdefault(plain_value(row.get("obs_id")) or plane_key(row), []).append(row)
    return [sorted(group, key=plane_key) for group in groups.values()]


def rows_by_day(rows: Iterable[CaomRow]) -> Counter[int]:
    """Count rows by the day of their release (MJD)."""
    dates = (finite_float(plain_value(row.get("t_obs_release"))) for row in rows)
    return Counter(math.floor(date) for date in dates if date is not None)


def fold_rows(
    rows: Iterable[CaomRow], archive: str, fetched_at: datetime, ranking: ProductRanking
) -> Observation | None:
    """Merge the planes of an observation into the record of the plane with the highest calibration level."""
    found = (observation_from_row(row, archive, fetched_at, ranking) for row in rows)
    planes = [plane for plane in found if plane is not None]
    if len(planes) < 2:
        return next(iter(planes), None)
    main = max(planes, key=lambda item: (item.calib_level or 0, item.exposure_s or 0.0, item.obsid or 0))
    names = [name for item in (main, *planes) if item.filters for name in item.filters.split(FILTER_SEPARATOR)]
    prints = sorted(item.fingerprint or "" for item in planes)
    return replace(
        main,
        filters=FILTER_SEPARATOR.join(dict.fromkeys(names)) or None,
        is_moving=any(item.is_moving for item in planes),
        released_mjd=min((item.released_mjd for item in planes if item.released_mjd is not None), default=None),
        fingerprint=hashlib.sha256("".join(prints).encode()).hexdigest()[:32],
    )
