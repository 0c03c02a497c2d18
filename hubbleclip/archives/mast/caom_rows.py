"""From MAST's rows (CAOM columns) to our records: values that MAST writes in several ways come out in one."""

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
"""MAST's number for an unknown value, where it does not write null."""
QUERY_COLUMNS = frozenset({"_selected_", "distance"})
"""Columns that describe the query, not the observation."""
MOVING_CLASS = re.compile(
    r"SOLAR SYSTEM|((MINOR|DWARF) )?PLANET|COMET|ASTEROID|SATELLITE|MOON|KUIPER BELT.*|TRANS-?NEPTUNIAN.*|TNO|KBO"
)


def plain_row(row: Row) -> dict[str, Any]:
    """Normalise a row.

    Parameters
    ----------
    row
        As MAST gave it.

    Returns
    -------
    dict
        Without columns that hold nothing; numbers and texts are Python's own types.

    """
    plain = ((name, plain_value(value)) for name, value in row.items())
    return {name: value for name, value in plain if value is not None}


def plain_value(value: Any) -> Any:
    """Normalise one cell.

    Parameters
    ----------
    value
        Of any type, NumPy's included.

    Returns
    -------
    Any
        None for each of MAST's ways to write no value; whole floats as int; text in printable characters only, because
        control characters and lone surrogates break terminals and tables.

    """
    if isinstance(value, str):
        text = value if value.isprintable() else "".join(letter if letter.isprintable() else " " for letter in value)
        return text.strip() or None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if isinstance(value, int) and value == MISSING else value


def fingerprint_of(plain: Row) -> str:
    """Hash a row, so that a change of it is noticed.

    Parameters
    ----------
    plain
        As `plain_row` gives it.

    Returns
    -------
    str
        32 hex digits; the order of the columns does not count.

    """
    facts = {name: value for name, value in plain.items() if name not in QUERY_COLUMNS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def observation_from_row(row: Row, archive: str, fetched_at: datetime, ranking: ProductRanking) -> Observation | None:
    """Make an observation's record.

    Parameters
    ----------
    row
        As MAST gave it.
    archive
        First half of the `proposal_id`.
    fetched_at
        When the row came (UTC).
    ranking
        Parses the visit from the observation's name.

    Returns
    -------
    Observation or None
        None for a row without a name.

    """
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
        # MAST gives moving targets no footprint; old rows lack the flag.
        is_moving=bool(plain.get("mtFlag")) or (not footprint and is_moving_class(target_class)),
        ra_deg=_ra_deg(plain.get("s_ra")),
        dec_deg=_in_range(plain.get("s_dec"), -90, 90),
        footprint=" ".join(footprint.split()) if footprint else None,
        start_mjd=_float(plain.get("t_min")),
        exposure_s=_float(plain.get("t_exptime")),
        calib_level=_int(plain.get("calib_level")),
        released_mjd=_float(plain.get("t_obs_release")),
        title=_text(plain.get("obs_title")),
        fetched_at=fetched_at,
        visit=ranking.visit(obs_id),
        fingerprint=fingerprint_of(plain),
    )


def is_moving_class(target_class: str | None) -> bool:
    """Whether a target belongs to the solar system.

    Parameters
    ----------
    target_class
        MAST's classification, a list between semicolons.

    Returns
    -------
    bool
        True if any part names a kind of solar-system object.

    """
    return any(MOVING_CLASS.fullmatch(part.strip().upper()) for part in (target_class or "").split(";"))


def _text(value: Any) -> str | None:
    """A value as text, None as it is."""
    return value if value is None or isinstance(value, str) else str(value)


def _float(value: Any) -> float | None:
    """A finite number, which MAST sometimes writes as a string; None for all else."""
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _int(value: Any) -> int | None:
    """A whole number of at most 18 digits, so that it fits into 64 bits; None for all else."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _in_range(value: Any, low: float, high: float) -> float | None:
    """A number in [low, high]; None for all else."""
    number = _float(value)
    return number if number is not None and low <= number <= high else None


def _ra_deg(value: Any) -> float | None:
    """A right ascension in [0, 360) degrees, as the contract requires: 360 becomes 0."""
    number = _in_range(value, 0, 360)
    return None if number is None else number % 360
