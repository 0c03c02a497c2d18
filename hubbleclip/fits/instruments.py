"""Read the instrument, filter, gain and kind of an image from its FITS header, by the conventions of its mission."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from hubbleclip.missions import DEFAULT, MISSIONS, Camera, Mission, mission_of_telescope
from hubbleclip.missions.base import COUNTER

Look = Callable[[str], Any]
"""Function that returns a keyword's value.

It searches the science header, then the primary header, and returns None where the keyword is absent or blank in both.
"""

NO_FILTER = re.compile(r"CLEAR.*|N/?A|NONE|OPEN|BLANK|\d*\.?\d*", re.IGNORECASE)
"""Matches the value of a filter keyword if no filter is used: a word such as CLEAR, or a wheel position's number."""
FILTER_NAME = re.compile(r"F[QR]?(\d{3,4})(LP|[A-Z]2?)")
"""Matches filter names such as F606W, FQ508N, F850LP or F150W2.

The number in the name is a wavelength; `Camera.nm_per_number` gives its unit.
"""
JY_PER_FLAM = 1e23 / 2.99792458e18
"""Flux density in Jy that equals 1 erg / s / cm2 / Angstrom at a wavelength of 1 Angstrom: 1e23 / c, with c in
Angstrom / s.
"""
CAMERAS: dict[str, Camera] = {name: camera for mission in MISSIONS.values() for name, camera in mission.cameras.items()}
"""Cameras of all missions, by name. No two missions share a camera name."""


def mission_of(look: Look) -> Mission:
    """Find the mission that made a file."""
    return mission_of_telescope(look("TELESCOP"))


def camera_of(instrument: str | None) -> Camera:
    """Find a camera by its full name or by its instrument; otherwise return `unknown_camera` of the default mission."""
    name = instrument or ""
    return CAMERAS.get(name) or CAMERAS.get(name.split("/")[0]) or DEFAULT.unknown_camera


def instrument_name(look: Look) -> str | None:
    """Return the name of the instrument and detector as MAST writes it, such as `WFC3/UVIS` or `NICMOS/NIC2`."""
    name = _text(look("INSTRUME")).upper()
    if not name or "/" in name:
        return name or None
    header = mission_of(look).header
    keyword, prefix = header.detectors.get(name, (header.detector_keyword, ""))
    detector = _text(look(keyword)).upper() if keyword else ""
    # A number is part of the name only if `detectors` has a prefix for it: CAMERA 2 of NICMOS becomes NIC2. DETECTOR of
    # WFPC2 is the number of a chip. It has no prefix, and is not part of the name.
    return f"{name}/{prefix}{detector}" if detector and detector.isdigit() == bool(prefix) else name


def filter_names(look: Look, camera: Camera) -> tuple[str, ...]:
    """Return the names of the filters in the beam."""
    for keywords in camera.filter_keywords or mission_of(look).header.filter_keywords:
        # WFPC2 headers also give wheel positions, which are integers. Only text values are filter names.
        values = (value for keyword in keywords if isinstance(value := look(keyword), str))
        parts = [part.strip().upper() for value in values for part in value.split(";")]
        names = tuple(dict.fromkeys(part for part in parts if not NO_FILTER.fullmatch(part)))
        if names:
            return names
    return ()


def filter_name(look: Look, camera: Camera) -> str | None:
    """Join the names of the filters in the beam with `+`; None if no filter is in the beam."""
    return "+".join(filter_names(look, camera)) or None


def wavelength_nm(filter_label: str | None, instrument: str | None) -> float | None:
    """Approximate the pivot wavelength of a filter from its name: 606 for F606W, 3560 for F356W of JWST."""
    match = FILTER_NAME.search((filter_label or "").upper())
    if match is None:
        return None
    camera = camera_of(instrument)
    if not camera.kind:
        return None
    return camera.pivots_nm.get(match[0], camera.nm_per_number * float(match[1]))


def star_contrast(filter_label: str | None, instrument: str | None) -> float:
    """Interpolate `Camera.star_contrasts` at a filter's wavelength, or return the largest if no wavelength is known."""
    limits, nm = camera_of(instrument).star_contrasts, wavelength_nm(filter_label, instrument)
    return max(limits.values()) if nm is None else float(np.interp(nm, list(limits), list(limits.values())))


def blind_parts(look: Look, camera: Camera, shape_yx: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Find the parts of an uncalibrated full frame that receive no light: overscan, virtual rows, reference pixels."""
    if camera.raw_yx != shape_yx or camera.light_yx is None:
        return []
    starts = [int(start) if isinstance(start := look(key), (int, float)) else 0 for key in ("LTV2", "LTV1")]
    whole = slice(None)
    (top, bottom), (left, right) = (
        (slice(0, max(start, 0)), slice(max(start, 0) + length, None))
        for start, length in zip(starts, camera.light_yx, strict=True)
    )
    gap = [(whole, slice(*camera.gap))] if camera.gap else []
    return [(top, whole), (bottom, whole), (whole, left), (whole, right), *gap]


def gain_of(look: Look, camera: Camera) -> float | None:
    """Read the gain of an image's detector in electrons per count."""
    if camera.kind == COUNTER:
        return 1.0
    gains = (look(key) for key in mission_of(look).header.gain_keywords)
    return next((float(gain) for gain in gains if isinstance(gain, (int, float)) and gain > 0), None)


def flux_density_of(look: Look) -> float | None:
    """Compute the flux density f_nu (Jy) of a source with a count rate of 1 per second, from PHOTFLAM and PHOTPLAM."""
    values = (look("PHOTFLAM"), look("PHOTPLAM"))
    flam, pivot = (float(one) if isinstance(one, (int, float)) and one > 0 else None for one in values)
    return flam * pivot**2 * JY_PER_FLAM if flam and pivot else None


def exposure_of(look: Look) -> float | None:
    """Read the exposure time of an image in seconds."""
    values = (look(key) for key in mission_of(look).header.exposure_keywords)
    return next((float(value) for value in values if isinstance(value, (int, float))), None)


def not_sky_reason(look: Look) -> tuple[str, str] | None:
    """Return why an image is not a picture of the sky, as a code and an explanation; None for a picture of the sky."""
    header = mission_of(look).header
    instrument = _text(look("INSTRUME")).upper()
    if instrument in header.spectrographs:
        return "not_an_image", f"files of {instrument} are not used"
    for keyword, pattern in header.image_values.items():
        value = _text(look(keyword)).upper()
        if value and not pattern.fullmatch(value):
            return "not_an_image", f"{keyword} is {value.lower()}"
    disperser = next((name for name in _elements(look) if header.disperser.match(name.upper())), None)
    if disperser:
        return "not_an_image", f"seen through {disperser}, which disperses light"
    values = (_text(look(keyword)).upper() for keyword in header.calibration_keywords)
    lamp = next((value for value in values if value in header.calibration_values), None)
    return ("calibration", f"the header marks a {lamp.lower()} image, not an image of the sky") if lamp else None


def is_parallel(look: Look) -> bool:
    """Check whether an image is a parallel exposure: the telescope was pointed for another instrument."""
    keyword = mission_of(look).header.prime_keyword
    prime = _text(look(keyword)).upper() if keyword else ""
    return bool(prime) and prime != _text(look("INSTRUME")).upper()


def _elements(look: Look) -> list[str]:
    """Return the names of all optical elements in the beam: filters, dispersers and others."""
    header, camera = mission_of(look).header, camera_of(instrument_name(look))
    groups = (*(camera.filter_keywords or header.filter_keywords), header.element_keywords)
    return [_text(look(keyword)) for keywords in groups for keyword in keywords]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
