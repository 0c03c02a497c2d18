"""What a FITS file's header says about its observation, as far as it says anything.

`images/fits.py` is the project's reader of pixels; this one reads keywords alone, since archives and images stand on
one level and do not import each other.
"""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from astropy.io import fits

from hubbleclip.core.errors import ImageError
from hubbleclip.core.layout import product_suffix
from hubbleclip.core.text_cleaning import clean_name, clean_number
from hubbleclip.fits.header_guard import check_header

KEYWORDS = (
    "TELESCOP", "INSTRUME", "DETECTOR", "CAMERA", "FILTER", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2", "TARGNAME",
    "OBJECT", "PROPOSID", "PR_INV_F", "PR_INV_M", "PR_INV_L", "RA_TARG", "DEC_TARG", "EXPSTART", "DATE-OBS",
    "EXPTIME", "MTFLAG",
)  # fmt: skip
NO_TARGET = frozenset({"ANY", "NONE", "N/A", "UNKNOWN", "DARK", "BIAS"})
NO_FILTER = re.compile(r"CLEAR.*|N/?A|NONE|OPEN|BLANK|\d*\.?\d*", re.IGNORECASE)
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    AttributeError,
    zlib.error,
    fits.VerifyError,
    ImageError,
)
MAX_HEADER_HDUS = 2
GZIP = b"\x1f\x8b"
MJD_OF_UNIX_EPOCH = 40587.0
SECONDS_A_DAY = 86400.0

Keywords = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is known of one file. `number` is the proposal's, or the file's own name where the header has none."""

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
    """Facts of the file at `path`, never raising for what is in it."""
    keywords = read_keywords(path)
    stem = path.name[: len(path.name) - len(product_suffix(path.name))] or path.name
    instrument, filters, target = instrument_of(keywords), filters_of(keywords), target_of(keywords)
    names = [_text(keywords.get(key)) for key in ("PR_INV_F", "PR_INV_M", "PR_INV_L")]
    kind = re.search(r"_([A-Za-z0-9]{3})$", stem)
    return FileFacts(
        obs_id=path.relative_to(folder).as_posix(),
        kind=kind[1].lower() if kind else "fits",
        mission=_text(keywords.get("TELESCOP")) or "HST",
        number=clean_number(_text(keywords.get("PROPOSID"))).lstrip("0") or stem,
        instrument=instrument,
        filters=filters,
        target=target,
        title=title_of(stem, instrument, filters, target),
        pi=clean_name(" ".join(name for name in names if name)),
        is_moving=_text(keywords.get("MTFLAG")).upper() in {"T", "TRUE"},
        ra_deg=_number(keywords.get("RA_TARG"), 0, 360),
        dec_deg=_number(keywords.get("DEC_TARG"), -90, 90),
        start_mjd=start_of(keywords),
        exposure_s=_number(keywords.get("EXPTIME"), 0, math.inf),
    )


def read_keywords(path: Path) -> dict[str, Any]:
    """The wanted keywords of the primary header, else of the first extension if that is an image; {} for no FITS.

    Never those of a table: its columns may carry the same names.
    """
    found: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _plain(path) as file:
                check_header(file)
                hdus = fits.open(file, mode="readonly", memmap=False, lazy_load_hdus=True, ignore_missing_simple=False)
                for index in range(MAX_HEADER_HDUS):
                    header = hdus[index].header
                    if index == 0 or header.get("XTENSION") == "IMAGE":
                        found = {key: header[key] for key in KEYWORDS if key in header} | found
                    info = hdus[index].fileinfo()
                    check_header(file, info["datLoc"] + info["datSpan"])
    except UNREADABLE:
        return found
    return found


def _plain(path: Path) -> IO[bytes]:
    """The file, read through gzip where it is packed so."""
    with path.open("rb") as file:
        is_gzip = file.read(len(GZIP)) == GZIP
    return cast(IO[bytes], gzip.open(path)) if is_gzip else path.open("rb")


def instrument_of(keywords: Keywords) -> str | None:
    """`WFC3/UVIS`, `NICMOS/NIC2`, `WFPC2`: MAST's way to name instrument and detector."""
    instrument, detector = _text(keywords.get("INSTRUME")), _text(keywords.get("DETECTOR"))
    camera = _text(keywords.get("CAMERA"))
    if instrument == "NICMOS" and camera.isdigit():
        detector = f"NIC{camera}"
    if not instrument or "/" in instrument or not detector or detector.isdigit():
        return instrument or None
    return f"{instrument}/{detector}"


def filters_of(keywords: Keywords) -> tuple[str, ...]:
    """Names of the filters in the beam: no clear positions, no wheel numbers."""
    names = (_text(keywords.get(key)) for key in ("FILTER", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2"))
    parts = (part.strip() for name in names for part in name.split(";"))
    return tuple(dict.fromkeys(part for part in parts if not NO_FILTER.fullmatch(part)))


def target_of(keywords: Keywords) -> str | None:
    """The target's name, unless it is one of the words for no target."""
    name = _text(keywords.get("TARGNAME")) or _text(keywords.get("OBJECT"))
    return name if name and name.upper() not in NO_TARGET else None


def title_of(stem: str, instrument: str | None, filters: tuple[str, ...], target: str | None) -> str:
    """`NEPTUNE-MAPS with WFC3/UVIS in F467M`; the file's name in words where the header names no target."""
    title = target or re.sub(r"[_\s]+", " ", stem)
    if instrument:
        title += f" with {instrument}"
    return f"{title} in {' and '.join(filters)}" if filters else title


def start_of(keywords: Keywords) -> float | None:
    """Start of the exposure (MJD) from EXPSTART, else from an ISO DATE-OBS; dates of the old form are not read."""
    start_mjd = _number(keywords.get("EXPSTART"), 1, math.inf)
    if start_mjd is not None:
        return start_mjd
    try:
        date = datetime.fromisoformat(_text(keywords.get("DATE-OBS")))
    except ValueError:
        return None
    return date.replace(tzinfo=UTC).timestamp() / SECONDS_A_DAY + MJD_OF_UNIX_EPOCH


def _text(value: Any) -> str:
    """A keyword's value as text; undefined values and non-text come out as what they print, nothing as ''."""
    return "" if value is None or isinstance(value, fits.card.Undefined) else " ".join(str(value).split())


def _number(value: Any, low: float, high: float) -> float | None:
    """A keyword's value as a number in [low, high]; None for all else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and low <= number <= high else None
