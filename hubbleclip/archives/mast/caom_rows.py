"""Conversion of MAST's rows, which have CAOM columns, to observation records with normalised values."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.core.records import Observation
from hubbleclip.missions.base import ProductRanking

Row = Mapping[str, Any]

MISSING = -999
"""Number that MAST writes for an unknown value in some columns, instead of null."""
READ_COLUMNS = frozenset(
    {"obs_id", "obsid", "proposal_id", "instrument_name", "filters", "target_name", "target_classification", "mtFlag"}
    | {"s_ra", "s_dec", "s_region", "t_min", "t_exptime", "calib_level", "t_obs_release", "obs_title"}
)
"""Columns that `observation_from_row` reads."""
MOVING_CLASS = re.compile(
    r"SOLAR SYSTEM|((MINOR|DWARF) )?PLANET|COMET|ASTEROID|SATELLITE|MOON|KUIPER BELT.*|TRANS-?NEPTUNIAN.*|TNO|KBO"
)


def plain_row(row: Row) -> dict[str, Any]:
    """Normalise the values of a row, by column; columns without a value are dropped."""
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
    """Convert a number of rows or bytes of at most 18 digits to int; None for anything else, also True and -1."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def plane_key(row: Row) -> tuple[str, str]:
    """Return the key of a row of MAST's observation table."""
    return str(row.get("obsid")), str(row.get("objID"))


def fingerprint_of(plain: Row) -> str:
    """Hash the columns of a row that are read, so that a later run can tell whether one of them has changed."""
    facts = {name: value for name, value in plain.items() if name in READ_COLUMNS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def observation_from_row(row: Row, archive: str, fetched_at: datetime, ranking: ProductRanking) -> Observation | None:
    """Make an observation record from a row; None if it has no `obs_id`. `fetched_at` is the time of the response."""
    plain = plain_row(row)
    obs_id = _text(plain.get("obs_id"))
    if obs_id is None:
        return None
    target_class, footprint = _text(plain.get("target_classification")), _text(plain.get("s_region"))
    return Observation(
        obs_id=obs_id,
        archive=archive,
        obsid=_int(plain.get("obsid")),
        proposal_id=proposal_id_of(archive, _text(plain.get("proposal_id"))),
        instrument=_text(plain.get("instrument_name")) or "UNKNOWN",
        filters=_text(plain.get("filters")),
        target_name=_text(plain.get("target_name")),
        target_class=target_class,
        # Old rows have no mtFlag. Such a target is moving if it is in the solar system and has no footprint.
        is_moving=bool(plain.get("mtFlag")) or (not footprint and is_moving_class(target_class)),
        ra_deg=_ra_deg(plain.get("s_ra")),
        dec_deg=_in_range(plain.get("s_dec"), -90, 90),
        footprint=" ".join(footprint.split()) if footprint else None,
        start_mjd=finite_float(plain.get("t_min")),
        exposure_s=finite_float(plain.get("t_exptime")),
        calib_level=_int(plain.get("calib_level")),
        released_mjd=finite_float(plain.get("t_obs_release")),
        title=_text(plain.get("obs_title")),
        fetched_at=fetched_at,
        visit=ranking.visit(obs_id),
        fingerprint=fingerprint_of(plain),
    )


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
    """Convert a right ascension in [0, 360] degrees to float, with 360 as 0; return None for anything else."""
    number = _in_range(value, 0, 360)
    return None if number is None else number % 360
