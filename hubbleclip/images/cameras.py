"""What the headers of each camera mean: its name, its filter, its kind of detector and its data-quality bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Look = Callable[[str], Any]
"""Looks a keyword up in the science header, then in the primary header; None where it is absent or blank."""

DISPERSER = re.compile(r"(G\d{3}[A-Z]?|PR\d{3}[A-Z]?|GRISM\w*|PRISM\w*)$")
NO_FILTER = re.compile(r"(CLEAR.*|N/?A|NONE|OPEN|BLANK|)$", re.IGNORECASE)
SPECTROGRAPHS = {"HRS", "GHRS", "FOS", "HSP", "FGS"}
GAINS = ("ATODGAIN", "CCDGAIN", "ADCGAIN")
"""WFPC2 and STIS (as measured), ACS, WFC3 and STIS (as commanded), NICMOS."""
CALIBRATIONS = {"BIAS", "DARK", "FLAT", "ZERO", "WAVECAL", "GAIN", "LINEARITY"}


@dataclass(frozen=True, slots=True)
class Camera:
    """Traits of a detector. `bad_dq` are the DQ bits that make a pixel invalid; saturation is never one of them."""

    bad_dq: int
    is_ccd: bool = False
    counts_photons: bool = False
    reads_ramps: bool = False


UNKNOWN = Camera(bad_dq=1)
# Bits: ACS Data Handbook 9 table 3.4; WFC3 DHB 5 table 3.3; NICMOS DHB 8 table 2.2; STIS DHB 7 table 2.8.
# 1 lost, 2 filled, 4 bad detector, 8 masked or unstable, 16 hot, 128 bad bias, 512 bad reference, 4096 and 8192 cosmic
# ray. Kept: warm (64), saturated (256, 2048), charge traps and tails (32, 1024), IR blobs (512) and cured rays (8192).
CAMERAS = {
    "ACS/WFC": Camera(1 | 2 | 4 | 8 | 16 | 128 | 512 | 4096 | 8192, is_ccd=True),
    "ACS/HRC": Camera(1 | 2 | 4 | 8 | 16 | 128 | 512 | 4096 | 8192, is_ccd=True),
    "ACS/SBC": Camera(1 | 2 | 4 | 8 | 512, counts_photons=True),
    "WFC3/UVIS": Camera(1 | 2 | 4 | 8 | 16 | 128 | 512 | 4096 | 8192, is_ccd=True),
    "WFC3/IR": Camera(1 | 2 | 4 | 8 | 16 | 32 | 128 | 4096, reads_ramps=True),
    "WFPC2": Camera(1 | 2 | 4 | 16 | 32 | 64 | 512 | 1024, is_ccd=True),
    "WFPC": Camera(1 | 2 | 4 | 16 | 32 | 512, is_ccd=True),
    "STIS/CCD": Camera(1 | 2 | 4 | 8 | 16 | 128 | 512 | 8192, is_ccd=True),
    "STIS/FUV-MAMA": Camera(1 | 2 | 4 | 8 | 512, counts_photons=True),
    "STIS/NUV-MAMA": Camera(1 | 2 | 4 | 8 | 512, counts_photons=True),
    "FOC": Camera(1 | 2 | 4, counts_photons=True),
    "NICMOS": Camera(1 | 16 | 32 | 128 | 256, reads_ramps=True),
}


def camera_of(instrument: str | None) -> Camera:
    """The traits of `instrument`, as `instrument_name` gives it; those of its family, or of an unknown one, else."""
    name = instrument or ""
    return CAMERAS.get(name) or CAMERAS.get(name.split("/")[0]) or UNKNOWN


def instrument_name(look: Look) -> str | None:
    """`WFC3/UVIS`, `NICMOS/NIC2`, `WFPC2`: INSTRUME, with the detector where that is a name."""
    instrument = look("INSTRUME")
    if instrument is None:
        return None
    name = str(instrument).upper()
    if "/" in name:
        return name
    detector, camera = look("DETECTOR"), look("CAMERA")
    if name == "NICMOS" and camera is not None:
        return f"NICMOS/NIC{camera}"
    return f"{name}/{detector.upper()}" if isinstance(detector, str) else name


def filter_name(look: Look) -> str | None:
    """FILTER, or FILTER1 and FILTER2 without the clear one, or WFPC2's FILTNAM1 and 2; several joined by `+`."""
    for keys in (("FILTER",), ("FILTER1", "FILTER2"), ("FILTNAM1", "FILTNAM2")):
        values = (look(key) for key in keys)
        names = [value.upper() for value in values if isinstance(value, str) and not NO_FILTER.match(value.strip())]
        if names:
            return "+".join(names)
    return None


def gain_of(look: Look, camera: Camera) -> float | None:
    """Electrons a count: 1 for detectors that count photons, else by the header; None where it does not say."""
    if camera.counts_photons:
        return 1.0
    gains = (look(key) for key in GAINS)
    return next((float(gain) for gain in gains if isinstance(gain, (int, float)) and gain > 0), None)


def not_sky_reason(look: Look) -> tuple[str, str] | None:
    """Reason and detail where the header says that the pixels are no picture of the sky; None where they may be."""
    instrument, kind = str(look("INSTRUME") or "").upper(), str(look("FILETYPE") or "SCI").upper()
    optics = [str(look(key) or "") for key in ("FILTER", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2", "OPT_ELEM")]
    disperser = next((name for name in optics if DISPERSER.match(name.upper())), None)
    if instrument in SPECTROGRAPHS:
        return "not_an_image", f"{instrument} takes no pictures"
    if str(look("OBSTYPE") or "").upper().startswith("SPECTR"):
        return "not_an_image", "OBSTYPE says spectroscopic"
    if disperser:
        return "not_an_image", f"seen through {disperser}, which disperses light"
    if kind != "SCI":
        return "not_an_image", f"FILETYPE says {kind.lower()}"
    return _calibration_reason(look)


def _calibration_reason(look: Look) -> tuple[str, str] | None:
    image_type, target = str(look("IMAGETYP") or "").upper(), str(look("TARGNAME") or "").upper()
    lamp = next((word for word in (image_type, target) if word in CALIBRATIONS), None)
    return ("calibration", f"the header says {lamp.lower()}, not sky") if lamp else None
