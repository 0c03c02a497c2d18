"""Read the facts about an observation from the header of its FITS file. `images/reader.py` reads the pixels."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from astropy.io import fits

from hubbleclip.core.errors import ImageError
from hubbleclip.core.layout import product_suffix
from hubbleclip.core.text_cleaning import clean_name, clean_number
from hubbleclip.fits.header_guard import check_header
from hubbleclip.fits.instruments import camera_of, filter_names, instrument_name, mission_of
from hubbleclip.missions import MISSIONS, Mission

COMMON = ("TELESCOP", "INSTRUME", "EXPSTART", "DATE-OBS")
NO_TARGET = frozenset({"ANY", "NONE", "N/A", "UNKNOWN", "DARK", "BIAS"})
UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, AttributeError),
    *(zlib.error, fits.VerifyError, ImageError),
)
"""Exceptions that astropy and zlib raise for damaged files."""
MAX_HEADER_HDUS = 2
GZIP = b"\x1f\x8b"
MJD_OF_UNIX_EPOCH = 40587.0
SECONDS_PER_DAY = 86400.0

Keywords = Mapping[str, Any]


def _keywords_of(mission: Mission) -> set[str]:
    """Return all keywords of a mission that `read_facts` uses."""
    header = mission.header
    filters = chain(header.filter_keywords, *(camera.filter_keywords for camera in mission.cameras.values()))
    detectors = [keyword for keyword, _ in header.detectors.values()]
    single = (header.detector_keyword, header.proposal_keyword, header.moving_keyword)
    several = (header.target_keywords, header.exposure_keywords, header.pi_keywords, header.aim_keywords[0])
    return set(chain(detectors, single, *several, *filters)) - {""}


KEYWORDS = frozenset(COMMON).union(*(_keywords_of(mission) for mission in MISSIONS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Metadata of one file, from its headers and its name.

    `number` is the proposal number, or the file's name without suffix where the header gives no proposal number.
    """

    obs_id: str
    kind: str
    mission: str
    number: str
    instrument: str | None
    filters: tuple[str, ...]
    target: str | None
    title: str
    pi: str | None
    is_moving: bool
    ra_deg: float | None
    dec_deg: float | None
    start_mjd: float | None
    exposure_s: float | None


def read_facts(path: Path, folder: Path) -> FileFacts:
    """Read the metadata of a file from its headers and its name; damaged headers raise no error."""
    keywords = read_keywords(path)
    header = mission_of(keywords.get).header
    stem = path.name[: len(path.name) - len(product_suffix(path.name))] or path.name
    instrument, target = instrument_name(keywords.get), target_of(keywords)
    filters = filter_names(keywords.get, camera_of(instrument))
    names = [_text(keywords.get(key)) for key in header.pi_keywords]
    kind = re.search(r"_([A-Za-z0-9]{3})$", stem)
    ra_keyword, dec_keyword = header.aim_keywords[0]
    exposures = (_number(keywords.get(key), 0, math.inf) for key in header.exposure_keywords)
    return FileFacts(
        obs_id=path.relative_to(folder).as_posix(),
        kind=kind[1].lower() if kind else "fits",
        mission=_text(keywords.get("TELESCOP")) or mission_of(keywords.get).telescope,
        number=clean_number(_text(keywords.get(header.proposal_keyword))).lstrip("0") or stem,
        instrument=instrument,
        filters=filters,
        target=target,
        title=title_of(stem, instrument, filters, target),
        pi=clean_name(" ".join(name for name in names if name)),
        is_moving=_text(keywords.get(header.moving_keyword)).upper() in header.moving_values,
        ra_deg=_number(keywords.get(ra_keyword), 0, 360),
        dec_deg=_number(keywords.get(dec_keyword), -90, 90),
        start_mjd=start_of(keywords),
        exposure_s=next((exposure for exposure in exposures if exposure is not None), None),
    )


def read_keywords(path: Path) -> dict[str, Any]:
    """Read the values of `KEYWORDS` from the primary header, and from the first extension if it is an image."""
    values: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _uncompressed(path) as file:
                check_header(file)
                hdus = fits.open(file, mode="readonly", memmap=False, lazy_load_hdus=True, ignore_missing_simple=False)
                for index in range(MAX_HEADER_HDUS):
                    header = hdus[index].header
                    # Table extensions are skipped, because their headers may use the same keywords for other facts.
                    if index == 0 or header.get("XTENSION") == "IMAGE":
                        given = {key: header[key] for key in KEYWORDS if key in header}
                        values = {key: value for key, value in given.items() if value is not None} | values
                    info = hdus[index].fileinfo()
                    check_header(file, info["datLoc"] + info["datSpan"])
    except UNREADABLE:
        return values
    return values


def _uncompressed(path: Path) -> IO[bytes]:
    """Open a file for reading; a gzip file, recognised by its first bytes, is decompressed while it is read."""
    with path.open("rb") as file:
        is_gzip = file.read(len(GZIP)) == GZIP
    return cast(IO[bytes], gzip.open(path)) if is_gzip else path.open("rb")


def target_of(keywords: Keywords) -> str | None:
    """Return the name of the target; None for words such as NONE or DARK."""
    names = (_text(keywords.get(key)) for key in mission_of(keywords.get).header.target_keywords)
    name = next(filter(None, names), "")
    return name if name and name.upper() not in NO_TARGET else None


def title_of(stem: str, instrument: str | None, filters: tuple[str, ...], target: str | None) -> str:
    """Compose the title of an observation."""
    title = target or " ".join(stem.replace("_", " ").split()) or stem
    if instrument:
        title += f" with {instrument}"
    return f"{title} in {' and '.join(filters)}" if filters else title


def start_of(keywords: Keywords) -> float | None:
    """Read the start of the exposure (MJD) from EXPSTART or, without EXPSTART, from DATE-OBS in ISO format."""
    start_mjd = _number(keywords.get("EXPSTART"), 1, math.inf)
    if start_mjd is not None:
        return start_mjd
    try:
        date = datetime.fromisoformat(_text(keywords.get("DATE-OBS")))
    except ValueError:
        return None
    return date.replace(tzinfo=UTC).timestamp() / SECONDS_PER_DAY + MJD_OF_UNIX_EPOCH


def _text(value: Any) -> str:
    """Return a keyword's value as text on one line; '' where the keyword has no value."""
    return "" if value is None else " ".join(str(value).split())


def _number(value: Any, low: float, high: float) -> float | None:
    """Return a keyword's value as a number; None where it is no number or not in [low, high]."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and low <= number <= high else None
