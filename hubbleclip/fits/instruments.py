"""Instrument, filter, gain and kind of an image by its FITS header and the conventions of its mission."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hubbleclip.missions import MISSIONS, Camera, Mission, mission_of_telescope
from hubbleclip.missions.registry import DEFAULT

Look = Callable[[str], Any]
"""Looks a keyword up in the science header, then in the primary header; None where it is absent or blank."""

NO_FILTER = re.compile(r"CLEAR.*|N/?A|NONE|OPEN|BLANK|\d*\.?\d*", re.IGNORECASE)
"""What a filter keyword holds when no filter is in the beam: a word, or the number of a wheel position."""
FILTER_NAME = re.compile(r"F[QR]?(\d{3,4})(LP|[A-Z]2?)")
"""F606W, FQ508N, F850LP, F150W2: the number is a wavelength; see `Camera.nm_per_number`."""
CAMERAS: dict[str, Camera] = {name: camera for mission in MISSIONS.values() for name, camera in mission.cameras.items()}
"""The cameras of all missions: no two share a name."""


def mission_of(look: Look) -> Mission:
    """Find the mission that made a file.

    Parameters
    ----------
    look
        Reads the header.

    Returns
    -------
    Mission
        By TELESCOP; Hubble where that is absent or unknown.

    """
    return mission_of_telescope(look("TELESCOP"))


def camera_of(instrument: str | None) -> Camera:
    """Find a camera by name.

    Parameters
    ----------
    instrument
        As `instrument_name` gives it.

    Returns
    -------
    Camera
        The camera, else that of its instrument without detector, else an unknown one.

    """
    name = instrument or ""
    return CAMERAS.get(name) or CAMERAS.get(name.split("/")[0]) or DEFAULT.unknown_camera


def instrument_name(look: Look) -> str | None:
    """Name the instrument and detector as MAST does.

    Parameters
    ----------
    look
        Reads the header.

    Returns
    -------
    str or None
        `WFC3/UVIS`, `NICMOS/NIC2`, `WFPC2`, `NIRCAM/LONG`: INSTRUME, with the detector where that is a name; None
        without INSTRUME.

    """
    name = _text(look("INSTRUME")).upper()
    if not name or "/" in name:
        return name or None
    header = mission_of(look).header
    keyword, prefix = header.detectors.get(name, (header.detector_keyword, ""))
    detector = _text(look(keyword)).upper() if keyword else ""
    # WFPC2's DETECTOR is the number of a chip; NICMOS's CAMERA is a number too, but it has a prefix.
    return f"{name}/{prefix}{detector}" if detector and detector.isdigit() == bool(prefix) else name


def filter_names(look: Look, camera: Camera) -> tuple[str, ...]:
    """Name the filters in the beam.

    Parameters
    ----------
    look
        Reads the header.
    camera
        Of the file; it may name its filters by keywords of its own.

    Returns
    -------
    tuple of str
        Upper case, without clear positions and wheel numbers, no name twice.

    """
    for keywords in camera.filter_keywords or mission_of(look).header.filter_keywords:
        # Wheel positions of WFPC2 are integers, not names.
        values = (value for keyword in keywords if isinstance(value := look(keyword), str))
        parts = [part.strip().upper() for value in values for part in value.split(";")]
        names = tuple(dict.fromkeys(part for part in parts if not NO_FILTER.fullmatch(part)))
        if names:
            return names
    return ()


def filter_name(look: Look, camera: Camera) -> str | None:
    """Join the names of the filters in the beam.

    Parameters
    ----------
    look
        Reads the header.
    camera
        Of the file.

    Returns
    -------
    str or None
        `F606W`, or several joined by `+`; None without a filter.

    """
    return "+".join(filter_names(look, camera)) or None


def wavelength_nm(filter_label: str | None, instrument: str | None) -> float | None:
    """Approximate the pivot wavelength of a filter from its name.

    Parameters
    ----------
    filter_label
        One name, or several joined by `+`, of which the first with a number counts.
    instrument
        As `instrument_name` gives it.

    Returns
    -------
    float or None
        Wavelength in nm: F606W is 606, F160W of an infrared HST camera 1600, F356W of JWST 3560; None for a name
        without a number.

    """
    match = FILTER_NAME.search((filter_label or "").upper())
    if match is None:
        return None
    camera = camera_of(instrument)
    return camera.pivots_nm.get(match[0], camera.nm_per_number * float(match[1]))


def blind_parts(look: Look, camera: Camera, shape_yx: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Find the parts of an uncalibrated full frame that see no light: overscan, virtual rows, reference pixels.

    Parameters
    ----------
    look
        Reads the header.
    camera
        Of the file.
    shape_yx
        Shape of the image in pixels.

    Returns
    -------
    list of (slice, slice)
        Rows and columns of each part; empty unless the image is a raw full frame.

    """
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
    """Read the gain.

    Parameters
    ----------
    look
        Reads the header.
    camera
        Of the file.

    Returns
    -------
    float or None
        Electrons per count: 1 for detectors that count photons; None where the header has none.

    """
    if camera.counts_photons:
        return 1.0
    gains = (look(key) for key in mission_of(look).header.gain_keywords)
    return next((float(gain) for gain in gains if isinstance(gain, (int, float)) and gain > 0), None)


def exposure_of(look: Look) -> float | None:
    """Read the exposure time.

    Parameters
    ----------
    look
        Reads the header.

    Returns
    -------
    float or None
        Seconds; None where no keyword holds a number.

    """
    values = (look(key) for key in mission_of(look).header.exposure_keywords)
    return next((float(value) for value in values if isinstance(value, (int, float))), None)


def not_sky_reason(look: Look) -> tuple[str, str] | None:
    """Say why an image is not a picture of the sky.

    Parameters
    ----------
    look
        Reads the header.

    Returns
    -------
    tuple of str, or None
        Reason (`not_an_image` or `calibration`) and detail; None where the header does not exclude the image.

    """
    header = mission_of(look).header
    instrument = _text(look("INSTRUME")).upper()
    if instrument in header.spectrographs:
        return "not_an_image", f"{instrument} takes no pictures"
    for keyword, pattern in header.image_values.items():
        value = _text(look(keyword)).upper()
        if value and not pattern.fullmatch(value):
            return "not_an_image", f"{keyword} says {value.lower()}"
    disperser = next((name for name in _elements(look) if header.disperser.match(name.upper())), None)
    if disperser:
        return "not_an_image", f"seen through {disperser}, which disperses light"
    values = (_text(look(keyword)).upper() for keyword in header.calibration_keywords)
    lamp = next((value for value in values if value in header.calibration_values), None)
    return ("calibration", f"the header says {lamp.lower()}, not sky") if lamp else None


def _elements(look: Look) -> list[str]:
    """Names of all optical elements in the beam, filters and others."""
    header, camera = mission_of(look).header, camera_of(instrument_name(look))
    groups = (*(camera.filter_keywords or header.filter_keywords), header.element_keywords)
    return [_text(look(keyword)) for keywords in groups for keyword in keywords]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
