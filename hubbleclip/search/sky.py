"""Positions on the sky for the search: patches of sky (HEALPix cells), and places that users type.

A place is a position, a position with a radius, or a name. A name is looked up in the catalog. The name resolver Sesame
is asked only if the caller allows it, and only for a name that the catalog does not have.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt

from hubbleclip.core.errors import HubbleclipError, SearchError
from hubbleclip.search.records import Cone

PATCH_NSIDE = 1024
"""HEALPix resolution of a patch of sky; its side is 3.4 arcmin, about the field of a camera of Hubble."""
RADIUS_DEG = 0.1
"""Default radius of a cone in degrees; above 0, because a tile's centre may differ from its observation's position."""
MAX_TARGET_DEG = 2.0
"""Maximum extent in degrees of a target's observations; larger targets, such as `ANY`, are not used as places."""
SESAME_S = 5.0
"""Time limit of a request to a server of Sesame in seconds."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
DECIMAL = re.compile(rf"\s*({NUMBER})d?(?:\s*,\s*|\s+)({NUMBER})d?(?:(?:\s*,\s*|\s+)({NUMBER})d?)?\s*")
SECONDS = r"\d{1,2}(?:\.\d*)?"
SEXAGESIMAL = (
    rf"\d{{1,2}}(?:\s*[h:]\s*|\s+)\d{{1,2}}(?:\s*[m:]\s*|\s+){SECONDS}\s*s?(?:\s*,\s*|\s+|(?=[+-]))"
    rf"[+-]?\s?\d{{1,2}}(?:\s*[d:]\s*|\s+)\d{{1,2}}(?:\s*[m:]\s*|\s+){SECONDS}\s*s?"
)
IN_NAME = r"J(\d\d)(\d\d)(\d\d)(\d*\.?\d*)([+-]\d\d)(\d\d)(\d\d)(\d*\.?\d*)"
LABELLED = rf"RA\s*[=:]?\s*{NUMBER}d?[\s,]*Dec?\s*[=:]?\s*{NUMBER}d?"
GALACTIC = rf"(?:l\s*=\s*{NUMBER}[\s,]+b\s*=\s*{NUMBER}|gal(?:actic)?\s+{NUMBER}[\s,]+{NUMBER})"
UNSIGNED_PAIR = r"\d{1,3}\.\d+d?(?:\s*,\s*|\s+)\d{1,2}\.\d+d?"
FINE = r"(?=\d+\.\d\d+d?[\s,]+[+-]?\d+\.\d\d)"
"""Lookahead for a pair of numbers with at least two decimals each; such a pair is almost always a position."""
SIGNED_PAIR = r"\d{1,3}\.\d+d?(?:\s*,\s*|\s+)[+-]\d{1,2}\.\d+d?"
POSITION = re.compile(
    rf"(?<![\w.+-])(?:{SEXAGESIMAL}|{IN_NAME}|{LABELLED}|{GALACTIC}|{FINE}{SIGNED_PAIR})(?![\w.])", re.IGNORECASE
)
"""Matches a position in a text to which the translation table `SIGNS` was applied."""
SIGNS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00b0": "d", "\u2032": "m", "\u2033": "s"})
UNKNOWN_S = 60.0
"""Time in seconds until a search asks Sesame again for a name that Sesame did not find."""
CatalogTarget = Callable[[str], tuple[float, float, float] | None]
"""Function that finds a target in the catalog: right ascension, declination and extent in degrees, or None."""
Position = tuple[float, float]
ASKS = ContextVar("ASKS", default=True)
"""Whether Sesame may be asked; if not, only its earlier answers are used."""


class UnaskedNameError(HubbleclipError):
    """A search needs the position of a name that is not in the cache of `Sesame`; a request to Sesame takes seconds."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Sesame was not asked for {name!r} yet")
        self.name = name


class Sesame:
    """Cache of the answers of Sesame.

    Parameters
    ----------
    is_asked_ahead
        Whether `find` raises UnaskedNameError for a name without an answer in the cache, instead of asking Sesame at
        once. If true, no search waits for the internet.

    """

    def __init__(self, *, is_asked_ahead: bool) -> None:
        self.is_asked_ahead = is_asked_ahead
        self._answers: dict[str, tuple[Position | None, float]] = {}

    def find(self, name: str) -> Position | None:
        """Return the position of a name; None if it is unknown."""
        position, until_s = self._answers.get(name, (None, 0.0))
        if position is None and ASKS.get() and time.monotonic() >= until_s:
            if self.is_asked_ahead:
                raise UnaskedNameError(name)
            position = self.ask(name)
        return position

    def ask(self, name: str) -> Position | None:
        """Ask Sesame for the position of a name, and keep the answer."""
        position = ask_sesame(name)
        self._answers[name] = position, time.monotonic() + UNKNOWN_S
        return position


def patch_numbers(ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return, for each position, the index of its patch of sky; -1 for an unknown position."""
    from astropy.units import deg  # noqa: PLC0415
    from astropy_healpix import lonlat_to_healpix  # noqa: PLC0415 - imports astropy, which few searches need

    number_n = np.full(len(ra_deg), -1)
    is_known_n = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    cells = lonlat_to_healpix(ra_deg[is_known_n] * deg, dec_deg[is_known_n] * deg, PATCH_NSIDE, order="nested")
    number_n[is_known_n] = np.unique(cells, return_inverse=True)[1]
    return number_n


def find_cone(
    place: str,
    radius_deg: float | None,
    in_catalog: CatalogTarget,
    elsewhere: Callable[[str], Position | None] | None = None,
) -> Cone:
    """Convert a place, as a user typed it, into a cone; SearchError if the place is unknown or out of range."""
    if numbers := DECIMAL.fullmatch(place.translate(SIGNS)):
        ra_deg, dec_deg = float(numbers[1]), float(numbers[2])
        if abs(ra_deg) > 360 or abs(dec_deg) > 90:
            raise SearchError(f"{place.strip()!r} is no position: give RA (0 to 360) and Dec (-90 to 90) in degrees")
        radius_deg = float(numbers[3]) if numbers[3] else radius_deg
        if radius_deg is not None and not 0 <= radius_deg <= 180:
            raise SearchError(f"a cone has a radius of 0 to 180 degrees, not {radius_deg:g}")
        return Cone(ra_deg=ra_deg % 360, dec_deg=dec_deg, radius_deg=RADIUS_DEG if radius_deg is None else radius_deg)
    position = parse_position(place)
    extent_deg = 0.0
    if position is None and (found := in_catalog(place)) and found[2] <= MAX_TARGET_DEG:
        position, extent_deg = found[:2], found[2]
    if position is None and elsewhere:
        position = elsewhere(place)
    if position is None:
        raise SearchError(
            f"{place!r} is no position, and the catalog has no target {place!r}"
            + ("; Sesame does not know it or cannot be reached" if elsewhere else "")
        )
    if radius_deg is None:
        radius_deg = max(extent_deg, RADIUS_DEG)
    return Cone(ra_deg=position[0], dec_deg=position[1], radius_deg=radius_deg)


def parse_position(text: str) -> Position | None:
    """Parse a position: sexagesimal, galactic, labelled `RA` and `Dec`, or within a name like `J053517.3-052328`."""
    text = text.translate(SIGNS).strip()
    if not POSITION.fullmatch(text):
        return None
    from astropy.coordinates import SkyCoord  # noqa: PLC0415 - a slow import

    numbers = [float(number) for number in re.findall(NUMBER, text)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if re.fullmatch(GALACTIC, text, re.IGNORECASE):
                position = SkyCoord(*numbers, unit="deg", frame="galactic").icrs
            elif re.fullmatch(LABELLED, text, re.IGNORECASE):
                position = SkyCoord(*numbers, unit="deg")
            else:
                if parts := re.fullmatch(IN_NAME, text, re.IGNORECASE):
                    text = "{} {} {}.{} {} {} {}.{}".format(*(part.strip(".") for part in parts.groups()))
                position = SkyCoord(text.replace(",", " "), unit=("hourangle", "deg"))
    except (ValueError, TypeError):
        return None
    return float(position.ra.deg), float(position.dec.deg)


def ask_sesame(name: str) -> Position | None:
    """Ask Sesame, the name resolver of the CDS on the internet, for the position of a name."""
    from astropy.coordinates import SkyCoord  # noqa: PLC0415 - a slow import
    from astropy.coordinates.name_resolve import NameResolveError  # noqa: PLC0415
    from astropy.utils.data import conf  # noqa: PLC0415

    try:
        with conf.set_temp("remote_timeout", SESAME_S):
            position = SkyCoord.from_name(name)
    except (NameResolveError, OSError, ValueError):
        return None
    return float(position.ra.deg), float(position.dec.deg)
