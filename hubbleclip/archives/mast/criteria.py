"""From settings to the questions that MAST understands, and the circle on the sky that it is not asked for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from hubbleclip.archives.mast.date_windows import Window
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import SettingsError

Criteria = dict[str, Any]

MJD_ZERO = date(1858, 11, 17)
NUMBERS_A_QUERY = 200
FIRST_MJD, LAST_MJD = 0.0, 100_000.0
LONGEST_S = 1e9
"""MAST's ranges have two ends: these stand for none."""
MARGIN_DEG = 1e-6


def mjd_of(day: str) -> float:
    """Start (UTC) of a day written YYYY-MM-DD, as the settings have checked it."""
    return float((date.fromisoformat(day) - MJD_ZERO).days)


def release_window(settings: ArchiveSettings, since_mjd: float, now_mjd: float) -> Window:
    """The release dates to ask for: since then, up to now or to the end of the day `archive.until`."""
    end_mjd = math.nextafter(mjd_of(settings.until) + 1, 0) if settings.until else now_mjd
    return Window(since_mjd, max(min(end_mjd, now_mjd), since_mjd))


def criteria_of(settings: ArchiveSettings, numbers: Sequence[str] = ()) -> list[Criteria]:
    """The questions that together ask for everything wanted, whenever it was released; `numbers` are of proposals.

    MAST takes one wildcard a filter (astroquery drops the others), so each is a question of its own.
    """
    base: Criteria = {"obs_collection": list(settings.collections), "dataproduct_type": "image"}
    if settings.intent != "any":
        base["intentType"] = settings.intent
    if settings.calib_levels:
        base["calib_level"] = list(settings.calib_levels)
    if settings.min_exposure_s:
        base["t_exptime"] = [settings.min_exposure_s, LONGEST_S]
    if settings.observed_from or settings.observed_to:
        start = mjd_of(settings.observed_from) if settings.observed_from else FIRST_MJD
        base["t_min"] = [start, math.nextafter(mjd_of(settings.observed_to), 0) if settings.observed_to else LAST_MJD]
    chunks = [list(numbers[i : i + NUMBERS_A_QUERY]) for i in range(0, len(numbers), NUMBERS_A_QUERY)] or [[]]
    parts: list[list[Criteria]] = [
        [{"instrument_name": names} if names else {} for names in one_wildcard_each(settings.instruments)],
        [{"target_name": names} if names else {} for names in one_wildcard_each(settings.targets)],
        [{"proposal_id": chunk} if chunk else {} for chunk in chunks],
        [{}] if settings.cone_deg is None else boxes_around(*settings.cone_deg),
    ]
    return [{**base, **one, **two, **three, **four} for one, two, three, four in product(*parts)]


def wanted_numbers(settings: ArchiveSettings, of_cycles: Sequence[str]) -> tuple[str, ...]:
    """Numbers of the proposals to ask for; empty means all. Raises SettingsError when that leaves none."""
    if not settings.cycles or not settings.proposal_numbers:
        return tuple(of_cycles) or settings.proposal_numbers
    numbers = tuple(number for number in settings.proposal_numbers if number in set(of_cycles))
    if not numbers:
        raise SettingsError("none of archive.proposal_numbers is of archive.cycles: change one of them")
    return numbers


def one_wildcard_each(names: Sequence[str]) -> list[list[str]]:
    """The names in groups: each pattern alone, then all exact names, without those that a pattern has already."""
    patterns = [name.replace("%", "*") for name in names if "*" in name or "%" in name]

    def is_covered(name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns if pattern != name)

    exact = [name for name in names if "*" not in name and "%" not in name and not is_covered(name)]
    groups = [[pattern] for pattern in dict.fromkeys(patterns) if not is_covered(pattern)]
    return [*groups, *([exact] if exact else [])] or [[]]


def boxes_around(ra_deg: float, dec_deg: float, radius_deg: float) -> list[Criteria]:
    """Ranges of `s_ra` and `s_dec` (ICRS, deg) that hold the circle: two where RA 0 is in it, no RA at a pole."""
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
    """Angle between two positions, in degrees, by the haversine formula, which is exact for small ones."""
    dec, other = math.radians(dec_deg), math.radians(other_dec_deg)
    half_ra = math.radians(other_ra_deg - ra_deg) / 2
    square = math.sin((other - dec) / 2) ** 2 + math.cos(dec) * math.cos(other) * math.sin(half_ra) ** 2
    return math.degrees(2 * math.asin(min(math.sqrt(square), 1.0)))
