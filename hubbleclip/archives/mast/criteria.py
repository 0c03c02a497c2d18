"""From settings to MAST queries, and the circle on the sky, which is checked here because MAST's filters have boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from hubbleclip.archives.mast.date_windows import Window
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.missions import MISSIONS, Mission

Criteria = dict[str, Any]

MJD_ZERO = date(1858, 11, 17)
NUMBERS_PER_QUERY = 200
FIRST_MJD, LAST_MJD = 0.0, 100_000.0
LONGEST_S = 1e9
"""Ends of ranges that are open in the settings: MAST's ranges have two ends."""
MARGIN_DEG = 1e-6


def mjd_of(day: str) -> float:
    """Convert a day to MJD.

    Parameters
    ----------
    day
        YYYY-MM-DD (UTC), already validated.

    Returns
    -------
    float
        MJD of its start.

    """
    return float((date.fromisoformat(day) - MJD_ZERO).days)


def release_window(settings: ArchiveSettings, since_mjd: float, now_mjd: float) -> Window:
    """Compute the range of release dates to request.

    Parameters
    ----------
    settings
        Its field `until` is the last day.
    since_mjd
        Start of the range (MJD).
    now_mjd
        Now (MJD).

    Returns
    -------
    Window
        From `since_mjd` to now, or to the end of the day `archive.until`.

    """
    end_mjd = math.nextafter(mjd_of(settings.until) + 1, 0) if settings.until else now_mjd
    return Window(since_mjd, max(min(end_mjd, now_mjd), since_mjd))


def criteria_of(settings: ArchiveSettings, mission: Mission, numbers: Sequence[str] = ()) -> list[Criteria]:
    """Translate the settings to queries.

    Parameters
    ----------
    settings
        What to request.
    mission
        Gives the collection and the instruments where the settings name only those of other missions.
    numbers
        Proposals to request; empty means all.

    Returns
    -------
    list of dict
        Criteria of queries that together cover the settings, without release dates. MAST takes one wildcard per
        filter (astroquery drops the others), so each wildcard is a query of its own.

    """
    base: Criteria = {"obs_collection": collections_of(settings, mission), "dataproduct_type": "image"}
    if settings.intent != "any":
        base["intentType"] = settings.intent
    if settings.calib_levels:
        base["calib_level"] = list(settings.calib_levels)
    if settings.min_exposure_s:
        base["t_exptime"] = [settings.min_exposure_s, LONGEST_S]
    if settings.observed_from or settings.observed_to:
        start = mjd_of(settings.observed_from) if settings.observed_from else FIRST_MJD
        base["t_min"] = [start, math.nextafter(mjd_of(settings.observed_to), 0) if settings.observed_to else LAST_MJD]
    chunks = [list(numbers[i : i + NUMBERS_PER_QUERY]) for i in range(0, len(numbers), NUMBERS_PER_QUERY)] or [[]]
    parts: list[list[Criteria]] = [
        [{"instrument_name": names} if names else {} for names in one_wildcard_each(instruments_of(settings, mission))],
        [{"target_name": names} if names else {} for names in one_wildcard_each(settings.targets)],
        [{"proposal_id": chunk} if chunk else {} for chunk in chunks],
        [{}] if settings.cone_deg is None else boxes_around(*settings.cone_deg),
    ]
    return [{**base, **one, **two, **three, **four} for one, two, three, four in product(*parts)]


def collections_of(settings: ArchiveSettings, mission: Mission) -> list[str]:
    """Choose the MAST collections.

    Parameters
    ----------
    settings
        Its field `collections`.
    mission
        Of the archive.

    Returns
    -------
    list of str
        Those of the settings less those of other missions; the mission's main one if that leaves none.

    """
    foreign = {name for other in MISSIONS.values() if other is not mission for name in other.collections}
    return [name for name in settings.collections if name not in foreign] or [mission.collections[0]]


def instruments_of(settings: ArchiveSettings, mission: Mission) -> tuple[str, ...]:
    """Choose the instruments.

    Parameters
    ----------
    settings
        Its field `instruments`.
    mission
        Of the archive.

    Returns
    -------
    tuple of str
        Those of the settings less those of other missions; all of the mission's if that leaves none. Empty, for all,
        if the settings name none.

    """
    foreign = {_family(name) for other in MISSIONS.values() if other is not mission for name in other.instruments}
    own = tuple(name for name in settings.instruments if _family(name) not in foreign)
    return own if own or not settings.instruments else mission.instruments


def _family(instrument: str) -> str:
    """An instrument's name without detector and wildcard."""
    return re.split(r"[*%/]", instrument)[0].upper()


def proposal_numbers(settings: ArchiveSettings, in_cycles: Sequence[str]) -> tuple[str, ...]:
    """Choose the proposals to request.

    Parameters
    ----------
    settings
        Its fields `proposal_numbers` and `cycles`.
    in_cycles
        Numbers of the proposals of `archive.cycles`.

    Returns
    -------
    tuple of str
        Numbers; empty means all.

    Raises
    ------
    SettingsError
        When no proposal meets both settings.

    """
    if not settings.cycles or not settings.proposal_numbers:
        return tuple(in_cycles) or settings.proposal_numbers
    numbers = tuple(number for number in settings.proposal_numbers if number in set(in_cycles))
    if not numbers:
        raise SettingsError("none of archive.proposal_numbers is of archive.cycles: change one of them")
    return numbers


def one_wildcard_each(names: Sequence[str]) -> list[list[str]]:
    """Group names so that no group has two wildcards.

    Parameters
    ----------
    names
        Exact names and patterns with `*` or `%`.

    Returns
    -------
    list of list of str
        Each pattern alone, then all exact names, without those that a pattern covers; [[]] for no names.

    """
    patterns = [name.replace("%", "*") for name in names if "*" in name or "%" in name]

    def is_covered(name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns if pattern != name)

    exact = [name for name in names if "*" not in name and "%" not in name and not is_covered(name)]
    groups = [[pattern] for pattern in dict.fromkeys(patterns) if not is_covered(pattern)]
    return [*groups, *([exact] if exact else [])] or [[]]


def boxes_around(ra_deg: float, dec_deg: float, radius_deg: float) -> list[Criteria]:
    """Enclose a circle on the sky in ranges of coordinates.

    Parameters
    ----------
    ra_deg, dec_deg
        Centre (ICRS).
    radius_deg
        Radius.

    Returns
    -------
    list of dict
        Ranges of `s_ra` and `s_dec` in degrees: two where RA 0 is in the circle, no RA at a pole.

    """
    low, high = dec_deg - radius_deg - MARGIN_DEG, dec_deg + radius_deg + MARGIN_DEG
    base: Criteria = {"s_dec": [max(low, -90.0), min(high, 90.0)]}
    if low <= -90 or high >= 90:
        return [base]
    ratio = math.sin(math.radians(radius_deg)) / math.cos(math.radians(dec_deg))
    half_deg = math.degrees(math.asin(min(ratio, 1.0))) + MARGIN_DEG
    west, east = ra_deg - half_deg, ra_deg + half_deg
    if west < 0:
        return [base | {"s_ra": [0.0, east]}, base | {"s_ra": [west + 360, 360.0]}]
    if east > 360:
        return [base | {"s_ra": [west, 360.0]}, base | {"s_ra": [0.0, east - 360]}]
    return [base | {"s_ra": [west, east]}]


def separation_deg(ra_deg: float, dec_deg: float, other_ra_deg: float, other_dec_deg: float) -> float:
    """Compute the angle between two positions.

    Parameters
    ----------
    ra_deg, dec_deg, other_ra_deg, other_dec_deg
        The positions (ICRS).

    Returns
    -------
    float
        Degrees.

    Notes
    -----
    The haversine formula, which is accurate for small angles.

    """
    dec, other = math.radians(dec_deg), math.radians(other_dec_deg)
    half_ra = math.radians(other_ra_deg - ra_deg) / 2
    square = math.sin((other - dec) / 2) ** 2 + math.cos(dec) * math.cos(other) * math.sin(half_ra) ** 2
    return math.degrees(2 * math.asin(min(math.sqrt(square), 1.0)))
