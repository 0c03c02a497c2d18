"""Make the names, file lists and filter names of simulated HST observations, in the form that MAST uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan

BASE36_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ACS_WHEEL_2 = frozenset({"F435W", "F814W"})  # All other ACS filters are on wheel 1.


@dataclass(frozen=True, slots=True)
class FileType:
    """Type of file.

    `kind` is MAST's product sub-group, `suffix` is the end of the file name, and `product_type` is MAST's product type.
    """

    kind: str
    suffix: str
    description: str
    product_type: str = "SCIENCE"


_DRC = FileType("DRC", "drc.fits", "DADS DRC file - Calibrated combined image ACS/WFC3, CTE corrected")
_DRZ = FileType("DRZ", "drz.fits", "DADS DRZ file - Calibrated combined image ACS/WFC3/WFPC2/STIS")
_DRW = FileType("DRW", "drw.fits", "DADS DRW file - Calibrated combined image WFPC2")
_FLC = FileType("FLC", "flc.fits", "DADS FLC file - Calibrated exposure ACS/WFC3, CTE corrected")
_FLT = FileType("FLT", "flt.fits", "DADS FLT file - Calibrated exposure ACS/WFC3/STIS")
_C0M = FileType("C0M", "c0m.fits", "DADS C0M file - Calibrated exposure WFPC2")
_RAW = FileType("RAW", "raw.fits", "DADS RAW file - Raw exposure COS/NICMOS/STIS/WFC3/ACS")
_D0M = FileType("D0M", "d0m.fits", "DADS D0M file - Raw exposure WFPC2")
_SPT = FileType("SPT", "spt.fits", "DADS SPT file - Support, planning and telemetry", "AUXILIARY")
_SHM = FileType("SHM", "shm.fits", "DADS SHM file - Engineering telemetry WFPC2", "AUXILIARY")
_TRL = FileType("TRL", "trl.fits", "DADS TRL file - Processing log", "AUXILIARY")
_JPG = FileType("JPG", "drz.jpg", "Preview-Full", "PREVIEW")
_COLOR = FileType("COLOR", "color.jpg", "Preview-Full", "PREVIEW")


def file_types(camera: Camera, is_single: bool) -> tuple[FileType, ...]:
    """List the types of the files of an observation, in the order in which MAST lists the files.

    As in MAST, some lists contain a file twice.
    """
    # The footprint `stair` means WFPC2. MAST lists some files twice, and a client must remove the duplicates.
    if camera.footprint == "stair":
        return (_C0M, _D0M, _SHM, _TRL) if is_single else (_C0M, _D0M, _DRW, _JPG, _SHM, _TRL, _DRW)
    if camera.footprint == "one_chip":  # WFC3/IR has no CTE-corrected products (DRC, FLC).
        return (_FLT, _RAW, _SPT, _TRL) if is_single else (_DRZ, _DRZ, _JPG, _RAW, _SPT, _TRL)
    return (_FLC, _FLT, _RAW, _SPT) if is_single else (_DRC, _DRZ, _JPG, _RAW, _SPT, _TRL, _DRC)


def extra_preview_types(camera: Camera, is_single: bool, is_first: bool) -> tuple[FileType, ...]:
    """List the preview files that `file_types` does not include."""
    if is_single:
        return (replace(_JPG, suffix=file_types(camera, is_single)[0].suffix.replace("fits", "jpg")),)
    return (_COLOR,) if is_first else ()


def hap_file_types(camera: Camera, is_total: bool) -> tuple[FileType, ...]:
    """List the types of the files of a Hubble Advanced Product (HAP): drizzled image and previews."""
    image = _DRZ if camera.footprint == "one_chip" else _DRC
    preview = replace(_JPG, suffix=image.suffix.replace("fits", "jpg"))
    return (image, preview, _COLOR) if is_total else (image, preview)


def hap_name(proposal_number: str, obs_id: str, camera: Camera, filter_name: str) -> str:
    """Make the name of a Hubble Advanced Product, in MAST's form."""
    # The characters obs_id[4:6] identify the visit.
    parts = "hst", int(proposal_number), obs_id[4:6], camera.instrument, camera.detector, filter_name, obs_id[:6]
    return "_".join(map(str, parts)).lower()


def observation_name(plan: ObservingPlan, visit_index: int, filter_index: int, is_single: bool) -> str:
    """Make the name of an HST observation, in the form `ipppssoot`."""
    # `ppp` holds the three low base-36 digits of the proposal's index, and the first `s` holds the high digit.
    index_low, index_high = plan.index % 36**3, plan.index // 36**3
    program_id = "".join(BASE36_DIGITS[index_low // 36**k % 36] for k in (2, 1, 0))
    letter = CAMERAS[plan.camera].obs_id_letter
    exposure_suffix = "1q" if is_single else "00"
    name = f"{letter}{program_id}{BASE36_DIGITS[index_high]}{visit_index + 1}{filter_index + 1}{exposure_suffix}"
    return name.upper() if letter == "u" else name  # The letter u means WFPC2.


def acs_filter_wheels(band: Filter) -> tuple[str, str]:
    """Return the filter names at the positions of the two filter wheels of ACS."""
    return ("CLEAR1L", band.name) if band.name in ACS_WHEEL_2 else (band.name, "CLEAR2L")


def mast_filters(camera: Camera, band: Filter) -> str:
    """Write the filter in the form of MAST's column `filters`."""
    return ";".join(acs_filter_wheels(band)) if camera.instrument == "ACS" else band.name
