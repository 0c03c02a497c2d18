"""Which files the archive lists for an observation, what it calls them, and how it writes filters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import Plan

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ACS_WHEEL_2 = frozenset({"F435W", "F814W"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as listed: its kind (the archive's sub-group), name ending, description and product type."""

    kind: str
    suffix: str
    description: str
    product_type: str = "SCIENCE"


_DRC = Listed("DRC", "drc.fits", "DADS DRC file - Calibrated combined image ACS/WFC3, CTE corrected")
_DRZ = Listed("DRZ", "drz.fits", "DADS DRZ file - Calibrated combined image ACS/WFC3/WFPC2/STIS")
_FLC = Listed("FLC", "flc.fits", "DADS FLC file - Calibrated exposure ACS/WFC3, CTE corrected")
_FLT = Listed("FLT", "flt.fits", "DADS FLT file - Calibrated exposure ACS/WFC3/STIS")
_C0M = Listed("C0M", "c0m.fits", "DADS C0M file - Calibrated exposure WFPC2")
_RAW = Listed("RAW", "raw.fits", "DADS RAW file - Raw exposure COS/NICMOS/STIS/WFC3/ACS")
_D0M = Listed("D0M", "d0m.fits", "DADS D0M file - Raw exposure WFPC2")
_SPT = Listed("SPT", "spt.fits", "DADS SPT file - Support, planning and telemetry", "AUXILIARY")
_SHM = Listed("SHM", "shm.fits", "DADS SHM file - Engineering telemetry WFPC2", "AUXILIARY")
_TRL = Listed("TRL", "trl.fits", "DADS TRL file - Processing log", "AUXILIARY")
_JPG = Listed("JPG", "drz.jpg", "Preview-Full", "PREVIEW")
_COLOR = Listed("COLOR", "color.jpg", "Preview-Full", "PREVIEW")


def listed(camera: Camera, is_single: bool) -> tuple[Listed, ...]:
    """Files of an observation in the archive's (alphabetical, repeating) order."""
    if camera.footprint == "stair":
        return (_C0M, _D0M, _SHM, _TRL) if is_single else (_C0M, _D0M, _DRZ, _JPG, _SHM, _TRL, _DRZ)
    if camera.footprint == "one_chip":
        return (_FLT, _RAW, _SPT, _TRL) if is_single else (_DRZ, _DRZ, _JPG, _RAW, _SPT, _TRL)
    return (_FLC, _FLT, _RAW, _SPT) if is_single else (_DRC, _DRZ, _JPG, _RAW, _SPT, _TRL, _DRC)


def more_previews(camera: Camera, is_single: bool, is_first: bool) -> tuple[Listed, ...]:
    """Previews beyond those of `listed`: of single exposures, and in colour with the first filter of a visit."""
    if is_single:
        return (replace(_JPG, suffix=listed(camera, is_single)[0].suffix.replace("fits", "jpg")),)
    return (_COLOR,) if is_first else ()


def advanced(camera: Camera, is_total: bool) -> tuple[Listed, ...]:
    """Files of a Hubble Advanced Product: the drizzled image and its preview, and in colour for a total one."""
    image = _DRZ if camera.footprint == "one_chip" else _DRC
    preview = replace(_JPG, suffix=image.suffix.replace("fits", "jpg"))
    return (image, preview, _COLOR) if is_total else (image, preview)


def advanced_name(proposal_number: str, obs_id: str, camera: Camera, filter_name: str) -> str:
    """`hst_{proposal}_{visit}_{instrument}_{detector}_{filter}_{ipppss}`, as MAST names Hubble Advanced Products."""
    parts = "hst", int(proposal_number), obs_id[4:6], camera.instrument, camera.detector, filter_name, obs_id[:6]
    return "_".join(map(str, parts)).lower()


def observation_name(plan: Plan, place: int, order: int, is_single: bool) -> str:
    """Name of the form ipppssoot; WFPC2's is upper case in the archive."""
    low, high = plan.index % 36**3, plan.index // 36**3
    program = "".join(DIGITS[low // 36**k % 36] for k in (2, 1, 0))
    letter = CAMERAS[plan.camera].letter
    name = (
        f"{letter}{program}{DIGITS[high]}{place + 1}{order + 1}{'1' if is_single else '0'}{'q' if is_single else '0'}"
    )
    return name.upper() if letter == "u" else name


def wheels(band: Filter) -> tuple[str, str]:
    """ACS's two filter wheels: the one that does not hold the filter stands at CLEAR."""
    return ("CLEAR1L", band.name) if band.name in ACS_WHEEL_2 else (band.name, "CLEAR2L")


def filters_label(camera: Camera, band: Filter) -> str:
    """`filters` as MAST writes it."""
    return ";".join(wheels(band)) if camera.instrument == "ACS" else band.name
