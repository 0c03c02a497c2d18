"""Positions on the sky as people type them, and as they are printed."""

from __future__ import annotations

import re
import warnings

from astropy import units
from astropy.coordinates import Angle, SkyCoord

NUMBER = r"[+-]?\d+(?:\.\d*)?"
DECIMAL = re.compile(rf"\s*({NUMBER})(?:\s*,\s*|\s+)({NUMBER})\s*")
SEXAGESIMAL = re.compile(r"\s*\d{1,2}[\sh:]\s*\d{1,2}[\sm:].*[+-]?\d{1,2}[\sd°:]\s*\d{1,2}.*")


def parse_position(text: str) -> tuple[float, float] | None:
    """Parse a position, ICRS.

    Parameters
    ----------
    text
        Degrees as in `83.82 -5.39`, or hours and degrees as in `05 35 17.3 -05 23 28`, `5:35:17 -5:23:28`, or
        `05h35m17s -05d23m28s`.

    Returns
    -------
    tuple of float or None
        Right ascension and declination in degrees; None if the text is no position, but for instance a name.

    """
    if match := DECIMAL.fullmatch(text):
        ra_deg, dec_deg = float(match[1]), float(match[2])
        return (ra_deg % 360, dec_deg) if -360 <= ra_deg <= 360 and -90 <= dec_deg <= 90 else None
    if not SEXAGESIMAL.fullmatch(text):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place = SkyCoord(text, unit=(units.hourangle, units.deg))
    except (ValueError, TypeError):
        return None
    return float(place.ra.deg), float(place.dec.deg)


def sexagesimal(ra_deg: float, dec_deg: float) -> tuple[str, str]:
    """Format a position as hours and degrees.

    Parameters
    ----------
    ra_deg, dec_deg
        Position in degrees.

    Returns
    -------
    tuple of str
        For instance `05 35 17.30` and `-05 23 28.0`.

    """
    ra = Angle(ra_deg, units.deg).to_string(unit=units.hourangle, sep=" ", precision=2, pad=True)
    dec = Angle(dec_deg, units.deg).to_string(sep=" ", precision=1, pad=True, alwayssign=True)
    return ra, dec
