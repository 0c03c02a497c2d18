"""Conversion of the settings to criteria of MAST queries, and geometry for circles on the sky.

MAST's filters accept only ranges of RA and Dec. A circle is therefore requested as boxes around it, and the exact
distance of each observation is computed afterwards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from itertools import product

from hubbleclip.archives.mast.client import Criteria, batches, is_pattern
from hubbleclip.archives.mast.date_windows import Window
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.missions import MISSIONS, Mission

MJD_ZERO = date(1858, 11, 17)
MJD_EPOCH = datetime.combine(MJD_ZERO, time(), UTC)
NUMBERS_PER_QUERY = 200
FIRST_MJD, LAST_MJD = 0.0, 100_000.0
LONGEST_S = 1e9
"""Upper end (s) of a range of exposure times without an upper limit. MAST's ranges must have both ends.

`FIRST_MJD` and `LAST_MJD` are the ends of a range of dates without limits.
"""
MARGIN_DEG = 1e-6


def mjd_of(text: str) -> float:
    """Convert a day, or a date and time, in ISO 8601 (UTC) to MJD; ValueError for any other text."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - MJD_EPOCH) / timedelta(days=1)


def mjd_now() -> float:
    """Return the current time as MJD."""
    return (datetime.now(UTC) - MJD_EPOCH) / timedelta(days=1)


def release_window(settings: ArchiveSettings, since_mjd: float, until_mjd: float | None) -> Window:
    """Return the release dates to request, up to `until_mjd` (None: now) or `archive.until`, whichever is earlier."""
    last_mjd = mjd_now() if until_mjd is None else until_mjd
    end_mjd = math.nextafter(mjd_of(settings.until) + 1, 0) if settings.until else last_mjd
    return Window(since_mjd, max(min(end_mjd, last_mjd), since_mjd))


def criteria_of(settings: ArchiveSettings, mission: Mission, numbers: Sequence[str] = ()) -> list[Criteria]:
    """Convert the settings to the criteria of one or more queries, without limits on the release dates.

    `numbers` are proposal numbers; an empty sequence means all proposals.
    """
    press = mission.press_collection
    collections = [name for name in collections_of(settings, mission) if name != press]
    base: Criteria = {"obs_collection": collections, "dataproduct_type": "image"}
    if settings.intent != "any":
        base["intentType"] = settings.intent
    if settings.calib_levels:
        base["calib_level"] = list(settings.calib_levels)
    if settings.min_exposure_s:
        base["t_exptime"] = [settings.min_exposure_s, LONGEST_S]
    if settings.observed_from or settings.observed_to:
        start = mjd_of(settings.observed_from) if settings.observed_from else FIRST_MJD
        base["t_min"] = [start, math.nextafter(mjd_of(settings.observed_to), 0) if settings.observed_to else LAST_MJD]
    chunks = list(map(list, batches(numbers, NUMBERS_PER_QUERY))) or [[]]
    kinds: list[Criteria] = [  # MAST accepts one wildcard per filter, so each wildcard has its own query
        {**base, **({"instrument_name": names} if names else {}), **({"target_name": targets} if targets else {})}
        for names in one_wildcard_each(instruments_of(settings, mission))
        for targets in one_wildcard_each(settings.targets)
        if collections
    ]
    # Images of press releases lack the mission's instruments, levels, intents and targets, so their query has no
    # criteria for these columns. The search API does not list these images.
    if press in settings.collections and settings.listing == "caom":
        kinds.append({"obs_collection": [press]})
    numbered: list[Criteria] = [{"proposal_id": chunk} if chunk else {} for chunk in chunks]
    boxes = [{}] if settings.cone_deg is None else boxes_around(*settings.cone_deg)
    return [{**one, **two, **three} for one, two, three in product(kinds, numbered, boxes)]


def collections_of(settings: ArchiveSettings, mission: Mission) -> list[str]:
    """Return the settings' collections, without other missions' collections; if none is left, the mission's first."""
    foreign = {name for other in MISSIONS.values() if other is not mission for name in other.collections}
    return [name for name in settings.collections if name not in foreign] or [mission.collections[0]]


def instruments_of(settings: ArchiveSettings, mission: Mission) -> tuple[str, ...]:
    """Return the settings' instruments, without other missions' instruments.

    If none is left, all instruments of the mission are returned. If the settings have no instruments, the result is
    empty, which means all instruments.
    """
    foreign = {_family(name) for other in MISSIONS.values() if other is not mission for name in other.instruments}
    own = tuple(name for name in settings.instruments if _family(name) not in foreign)
    return own if own or not settings.instruments else mission.instruments


def _family(instrument: str) -> str:
    """Return an instrument's name in upper case, without the detector after "/" and without a wildcard."""
    return re.split(r"[*%/]", instrument)[0].upper()


def proposal_numbers(settings: ArchiveSettings, in_cycles: Sequence[str]) -> tuple[str, ...]:
    """Return the proposals that `archive.proposal_numbers` and `archive.cycles` allow; empty if all are allowed."""
    if not settings.cycles or not settings.proposal_numbers:
        return tuple(in_cycles) or settings.proposal_numbers
    numbers = tuple(number for number in settings.proposal_numbers if number in set(in_cycles))
    if not numbers:
        raise SettingsError("no proposal in archive.proposal_numbers belongs to archive.cycles: change one of the two")
    return numbers


def one_wildcard_each(names: Sequence[str]) -> list[list[str]]:
    """Split names into groups with at most one wildcard pattern each; drop names that another pattern matches."""
    patterns: dict[str, str] = {}
    for name in filter(is_pattern, names):
        text = re.sub("[*%]+", "*", name)
        patterns.setdefault(text.lower(), text)

    def is_covered(name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern) for pattern in patterns if pattern != name.lower())

    exact = [name for name in names if not is_pattern(name) and not is_covered(name)]
    groups = [[pattern] for pattern in patterns.values() if not is_covered(pattern)]
    return [*groups, *([exact] if exact else [])] or [[]]


def boxes_around(ra_deg: float, dec_deg: float, radius_deg: float) -> list[Criteria]:
    """Enclose a circle on the sky in a box of RA and Dec (degrees), or in two boxes if the circle crosses RA 0."""
    low, high = dec_deg - radius_deg - MARGIN_DEG, dec_deg + radius_deg + MARGIN_DEG
    base: Criteria = {"s_dec": [max(low, -90.0), min(high, 90.0)]}
    if low <= -90 or high >= 90:  # the circle contains a pole, so any RA is possible
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
    """Compute the angle (degrees) between two positions by the haversine formula, which is exact for small angles."""
    dec, other = math.radians(dec_deg), math.radians(other_dec_deg)
    half_ra = math.radians(other_ra_deg - ra_deg) / 2
    square = math.sin((other - dec) / 2) ** 2 + math.cos(dec) * math.cos(other) * math.sin(half_ra) ** 2
    return math.degrees(2 * math.asin(min(math.sqrt(square), 1.0)))
