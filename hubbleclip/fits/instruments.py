"""What the files of each camera hold and their headers mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Look = Callable[[str], Any]
"""Looks a keyword up in the science header, then in the primary header; None where it is absent or blank."""

DISPERSER = re.compile(r"(G\d{3}[A-Z]?|PR\d{3}[A-Z]?|GRISM\w*|PRISM\w*)$")
NO_FILTER = re.compile(r"(CLEAR.*|N/?A|NONE|OPEN|BLANK|)$", re.IGNORECASE)
SPECTROGRAPHS = {"HRS", "GHRS", "FOS", "HSP", "FGS"}
GAINS = ("ATODGAIN", "CCDGAIN", "ADCGAIN")
"""WFPC2 and STIS (as measured), ACS, WFC3 and STIS (as commanded), NICMOS."""
CALIBRATIONS = {"BIAS", "DARK", "FLAT", "ZERO", "WAVECAL", "GAIN", "LINEARITY"}


CCD, COUNTER, RAMP = "CCD", "photon counter", "infrared array read in ramps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What a camera's files hold: `extension` where its pixels sit, `filters` the keywords that name its optics, `unit`
    of its calibrated files, `handbook` where all this is told.

    `bad` are the DQ bits that make a pixel invalid and `kept` those that do not, each with its meaning, "?" after what
    is not certain; saturation is never bad. `raw_yx` is the shape of an uncalibrated full frame, `light_yx` that of its
    pixels that see light, which begin at LTV1 and LTV2; `gap` are columns of the frame between two amplifiers. A cube
    of up to `planes` is an image a plane. `num_wheels` are named by FILTNAM1, FILTNAM2 and so on.
    """

    kind: str
    bad: Mapping[int, str]
    kept: Mapping[int, str] = field(default_factory=dict)
    extension: str = "SCI"
    filters: str = "FILTER"
    unit: str = ""
    scale_arcsec: float | None = None
    handbook: str = ""
    raw_yx: tuple[int, int] | None = None
    light_yx: tuple[int, int] | None = None
    gap: tuple[int, int] | None = None
    planes: int = 1
    num_wheels: int = 2

    @property
    def bad_dq(self) -> int:
        """The bad bits as one mask."""
        return sum(self.bad)

    @property
    def counts_photons(self) -> bool:
        """No read noise, whole numbers, and zero is a measurement."""
        return self.kind == COUNTER

    @property
    def reads_ramps(self) -> bool:
        """Cosmic rays are gone from its calibrated files; SCI versions are reads."""
        return self.kind == RAMP


UNKNOWN = Camera(kind="", bad={1: "lost, in every HST camera"})
LOST = {1: "Reed-Solomon error", 2: "filled for lost data", 4: "bad detector pixel or beyond the aperture"}
RAYS = {4096: "cosmic ray found by AstroDrizzle", 8192: "cosmic ray found by the calibration from a pair"}
FULL = {256: "full well", 2048: "A/D converter saturated"}
COUNTER_BAD = LOST | {8: "masked: repeller wire or bar", 512: "bad in a reference file"}
ACS_BAD = LOST | RAYS | {8: "masked by the finger", 16: "hot", 128: "bad in the bias", 512: "bad in the flat"}
ACS_KEPT = FULL | {32: "unstable", 64: "warm", 1024: "sink pixel", 16384: "satellite trail?"}
UVIS_BAD = LOST | RAYS | {8: "deviant?", 16: "hot", 128: "bad in the bias", 512: "bad in the flat"}
UVIS_KEPT = FULL | {32: "unstable or tail of a hot pixel", 64: "warm", 1024: "charge trap", 16384: "crosstalk?"}
IR_BAD = LOST | {8: "deviant zero read", 16: "hot", 32: "unstable", 128: "bad reference pixel", 4096: RAYS[4096]}
IR_KEPT = {64: "warm?", 256: "saturated", 512: "blob", 2048: "signal in the zero read", 8192: "ray, cured in the ramp"}
STIS_BAD = COUNTER_BAD | {16: "hot: 5 sigma above the median dark", 128: "bad in the bias", 8192: RAYS[8192]}
STIS_KEPT = {32: "large blemish", 256: "saturated", 1024: "small blemish"}
WFPC2_BAD = {
    1: "Reed-Solomon error", 2: "bad in a calibration file", 4: "permanent defect", 16: "missing", 32: "bad otherwise",
    512: "hot, not repaired",
}  # fmt: skip
WFPC2_KEPT = {
    8: "A/D converter saturated",
    64: "unused?",
    128: "charge trap, unused",
    256: "above a charge trap",
    1024: "hot, repaired",
}
NICMOS_BAD = {1: "Reed-Solomon error", 16: "grot", 32: "defective", 128: "missing", 256: "bad by calibration"}
NICMOS_KEPT = {
    2: "uncertain linearity", 4: "uncertain dark", 8: "uncertain flat", 64: "saturated", 512: "ray, cured in the ramp",
    1024: "source", 2048: "signal in the zero read",
}  # fmt: skip
STIS = "STIS Data Handbook 7, sections 2.2, 2.5 (table 2.8 of DQ bits) and 3.4.2"

CAMERAS = {
    "ACS/WFC": Camera(
        kind=CCD, bad=ACS_BAD, kept=ACS_KEPT, extension="SCI of each of two chips; _drc and _drz one SCI",
        filters="FILTER1, FILTER2, one of them CLEAR", unit="ELECTRONS; _drc and _drz a second", scale_arcsec=0.05,
        handbook="ACS Data Handbook 10, sections 2.2 and 3.4.3 (table 3.4 of DQ bits)",
        raw_yx=(2068, 4144), light_yx=(2048, 4096),
    ),
    "ACS/HRC": Camera(
        kind=CCD, bad=ACS_BAD, kept=ACS_KEPT, filters="FILTER1, FILTER2, one of them CLEAR", unit="ELECTRONS",
        scale_arcsec=0.027, handbook="as ACS/WFC", raw_yx=(1044, 1062), light_yx=(1024, 1024),
    ),
    "ACS/SBC": Camera(
        kind=COUNTER, bad=COUNTER_BAD, filters="FILTER1", unit="COUNTS", scale_arcsec=0.032, handbook="as ACS/WFC"
    ),
    "WFC3/UVIS": Camera(
        kind=CCD, bad=UVIS_BAD, kept=UVIS_KEPT, extension="SCI of each of two chips; _drc and _drz one SCI",
        unit="ELECTRONS; _drc and _drz a second", scale_arcsec=0.04,
        handbook="WFC3 Data Handbook 5, sections 2.2, 3.2 and table 3.3 of DQ bits",
        raw_yx=(2070, 4206), light_yx=(2051, 4156), gap=(2073, 2133),
    ),
    "WFC3/IR": Camera(
        kind=RAMP, bad=IR_BAD, kept=IR_KEPT, extension="SCI; of _ima, where SAMP counts reads, version 1, the last",
        unit="ELECTRONS/S", scale_arcsec=0.13, handbook="as WFC3/UVIS", raw_yx=(1024, 1024), light_yx=(1014, 1014),
    ),
    "WFPC2": Camera(
        kind=CCD, bad=WFPC2_BAD, kept=WFPC2_KEPT,
        extension="four SCI in _c0m, four planes in _c0f; the DQ is a file of its own (_c1m, _c1f) and is not read",
        filters="FILTNAM1, FILTNAM2 (FILTER1 is a number)", unit="COUNTS", scale_arcsec=0.1,
        handbook="WFPC2 Data Handbook 4, sections 2.2, 3.3 (table 3.5 of DQ bits); the PC has 0.046 arcsec",
        planes=4,
    ),
    "WFPC": Camera(
        kind=CCD, bad=WFPC2_BAD, kept=WFPC2_KEPT, extension="four planes in _c0f, one a chip of one of its two cameras",
        filters="FILTNAM1, FILTNAM2", unit="COUNTS", scale_arcsec=0.1,
        handbook="HST Data Handbook 3 (1997), part WF/PC; its DQ bits are taken to be those of WFPC2?", planes=4,
    ),
    "STIS/CCD": Camera(
        kind=CCD, bad=STIS_BAD, kept=STIS_KEPT, filters="FILTER (OPT_ELEM is MIRVIS)", unit="COUNTS",
        scale_arcsec=0.0508, handbook=STIS, raw_yx=(1044, 1062), light_yx=(1024, 1024),
    ),
    "STIS/FUV-MAMA": Camera(
        kind=COUNTER, bad=COUNTER_BAD, kept=STIS_KEPT, unit="COUNTS", scale_arcsec=0.0246, handbook=STIS
    ),
    "STIS/NUV-MAMA": Camera(
        kind=COUNTER, bad=COUNTER_BAD, kept=STIS_KEPT, unit="COUNTS", scale_arcsec=0.0246, handbook=STIS
    ),
    "FOC": Camera(
        kind=COUNTER, bad={1: "lost?", 2: "filled?", 4: "bad?"}, extension="0", filters="FILTNAM1 to FILTNAM4",
        unit="COUNTS", scale_arcsec=0.014, handbook="HST Data Handbook 3 (1997), part FOC; f/96 after COSTAR",
        num_wheels=4,
    ),
    "NICMOS": Camera(
        kind=RAMP, bad=NICMOS_BAD, kept=NICMOS_KEPT, extension="SCI, version 1", unit="COUNTS/S",
        handbook="NICMOS Data Handbook 8, sections 2.2 (table 2.2 of DQ bits); 0.043, 0.075, 0.2 arcsec for NIC1 to 3",
    ),
}  # fmt: skip
"""By instrument and detector. Of drizzled files the DQ counts too where they have one; their WHT does always."""


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


def blind_parts(look: Look, camera: Camera, shape_yx: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Parts of an uncalibrated full frame that see no light: overscan, virtual rows, reference pixels."""
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


def _wheel_keys(camera: Camera) -> list[str]:
    return [f"FILTNAM{wheel}" for wheel in range(1, camera.num_wheels + 1)]


def filter_name(look: Look, camera: Camera) -> str | None:
    """FILTER, or FILTER1 and FILTER2 without the clear one, or FILTNAM1 and so on of WFPC2 and FOC; several joined by
    `+`.
    """
    for keys in (["FILTER"], ["FILTER1", "FILTER2"], _wheel_keys(camera)):
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
    wheels = _wheel_keys(camera_of(instrument_name(look)))
    optics = [str(look(key) or "") for key in ("FILTER", "FILTER1", "FILTER2", *wheels, "OPT_ELEM")]
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
