"""From MAST's rows (CAOM columns) to our records: everything that MAST says in two ways is said in one from here on."""

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

Row = Mapping[str, Any]

MISSING = -999
"""MAST writes so what it does not know, where it does not write null."""
NOT_SAID = frozenset({"_selected_", "distance"})
"""Columns that tell of the question, not of the observation."""
MOVING_CLASS = re.compile(
    r"SOLAR SYSTEM|((MINOR|DWARF) )?PLANET|COMET|ASTEROID|SATELLITE|MOON|KUIPER BELT.*|TRANS-?NEPTUNIAN.*|TNO|KBO"
)
ROOTNAME = re.compile(r"[a-z][a-z0-9]{8}")
"""ipppssoot: instrument, programme, visit, observation, source. https://hst-docs.stsci.edu/hstdhb, section 2.2"""
ADVANCED = re.compile(
    r"hst_[0-9]+_(?P<visit>[a-z0-9]{2})_.*?(?:_(?P<root>[a-z][a-z0-9]{3}(?P=visit))(?P<exposure>[a-z0-9]{2,3})?)?"
)
"""Hubble Advanced Products end with a rootname of a visit (ipppss) or an exposure; Legacy ones name the visit only."""


def plain_row(row: Row) -> dict[str, Any]:
    """A row without what is null in one of MAST's ways, its numbers and texts as plain Python's."""
    plain = ((name, plain_value(value)) for name, value in row.items())
    return {name: value for name, value in plain if value is not None}


def plain_value(value: Any) -> Any:
    """A cell's value, None for each of MAST's ways to say nothing; whole floats as int; text in printable letters
    alone, since controls and halves of surrogate pairs break terminals and tables.
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
    """32 hex digits over all that a plain row says; the order of its columns does not count."""
    said = {name: value for name, value in plain.items() if name not in NOT_SAID}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def visit_of(obs_id: str) -> str | None:
    """The visit that a name tells: `ipppss` in lower case; only its last two letters for Legacy names; else None."""
    name = obs_id.lower()
    if ROOTNAME.fullmatch(name):
        return name[:6]
    match = ADVANCED.fullmatch(name)
    return (match["root"] or match["visit"]) if match else None


def observation_from_row(row: Row, archive: str, fetched_at: datetime) -> Observation | None:
    """One observation; None when the row has no name. `proposal_id` is MAST's string under the archive's name."""
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
        visit=visit_of(obs_id),
        fingerprint=fingerprint_of(plain),
    )


def is_moving_class(target_class: str | None) -> bool:
    """True when MAST's classification, a list between semicolons, names a body of the solar system."""
    return any(MOVING_CLASS.fullmatch(part.strip().upper()) for part in (target_class or "").split(";"))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _float(value: Any) -> float | None:
    """MAST writes numbers as strings now and then; what is no number is None."""
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _int(value: Any) -> int | None:
    """As `_float`; numbers beyond 64 bits fit no table."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _in_range(value: Any, low: float, high: float) -> float | None:
    number = _float(value)
    return number if number is not None and low <= number <= high else None


def _ra_deg(value: Any) -> float | None:
    """360 is 0, as the contract has it."""
    number = _in_range(value, 0, 360)
    return None if number is None else number % 360
