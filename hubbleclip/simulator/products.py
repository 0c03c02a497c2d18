"""Which files the archive lists for an observation, how it names them, and how it writes filters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan

BASE36_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ACS_WHEEL_2 = frozenset({"F435W", "F814W"})  # All other filters of ACS are on wheel 1.


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file: its kind (MAST's sub-group), name ending, description and MAST product type."""

    kind: str
    suffix: str
    description: str
    product_type: str = "SCIENCE"


_DRC = FileType("DRC", "drc.fits", "DADS DRC file - Calibrated combined image ACS/WFC3, CTE corrected")
_DRZ = FileType("DRZ", "drz.fits", "DADS DRZ file - Calibrated combined image ACS/WFC3/WFPC2/STIS")
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
    """List the files of an observation in the archive's (alphabetical, repeating) order.

    Parameters
    ----------
    camera
        Camera of the observation.
    is_single
        Whether the observation is a single exposure, without a drizzled image.

    Returns
    -------
    tuple[FileType, ...]
        Types of the files.

    """
    # WFPC2. MAST lists some files twice, which a client must deduplicate.
    if camera.footprint == "stair":
        return (_C0M, _D0M, _SHM, _TRL) if is_single else (_C0M, _D0M, _DRZ, _JPG, _SHM, _TRL, _DRZ)
    if camera.footprint == "one_chip":  # WFC3/IR has no CTE-corrected (C) products.
        return (_FLT, _RAW, _SPT, _TRL) if is_single else (_DRZ, _DRZ, _JPG, _RAW, _SPT, _TRL)
    return (_FLC, _FLT, _RAW, _SPT) if is_single else (_DRC, _DRZ, _JPG, _RAW, _SPT, _TRL, _DRC)


def extra_preview_types(camera: Camera, is_single: bool, is_first: bool) -> tuple[FileType, ...]:
    """List the previews beyond those of `file_types`.

    Parameters
    ----------
    camera
        Camera of the observation.
    is_single
        Whether the observation is a single exposure, which has a preview of its own.
    is_first
        Whether this is the first filter of a combined visit, which has the colour preview.

    Returns
    -------
    tuple[FileType, ...]
        Types of the previews, possibly none.

    """
    if is_single:
        return (replace(_JPG, suffix=file_types(camera, is_single)[0].suffix.replace("fits", "jpg")),)
    return (_COLOR,) if is_first else ()


def hap_file_types(camera: Camera, is_total: bool) -> tuple[FileType, ...]:
    """List the files of a Hubble Advanced Product (HAP): the drizzled image and its preview.

    Parameters
    ----------
    camera
        Camera of the observation.
    is_total
        Whether this is the total image of all filters, which also has a colour preview.

    Returns
    -------
    tuple[FileType, ...]
        Types of the files.

    """
    image = _DRZ if camera.footprint == "one_chip" else _DRC
    preview = replace(_JPG, suffix=image.suffix.replace("fits", "jpg"))
    return (image, preview, _COLOR) if is_total else (image, preview)


def hap_name(proposal_number: str, obs_id: str, camera: Camera, filter_name: str) -> str:
    """Name a Hubble Advanced Product as MAST does.

    Parameters
    ----------
    proposal_number
        Number of the proposal.
    obs_id
        Name (ipppssoot) of the standard observation.
    camera
        Supplies instrument and detector.
    filter_name
        Name of the filter, or `total`.

    Returns
    -------
    str
        `hst_{proposal}_{visit}_{instrument}_{detector}_{filter}_{ipppss}` in lower case.

    """
    # obs_id[4:6] is the visit.
    parts = "hst", int(proposal_number), obs_id[4:6], camera.instrument, camera.detector, filter_name, obs_id[:6]
    return "_".join(map(str, parts)).lower()


def observation_name(plan: ObservingPlan, visit_index: int, filter_index: int, is_single: bool) -> str:
    """Name an observation in the form ipppssoot.

    Parameters
    ----------
    plan
        Of the proposal.
    visit_index
        Number of the visit in the proposal, from 0.
    filter_index
        Number of the filter in the visit, from 0.
    is_single
        Whether the observation is one exposure.

    Returns
    -------
    str
        The name; WFPC2's are upper case in the archive.

    """
    # Three base-36 digits for the program, the rest in the first character of the visit.
    index_low, index_high = plan.index % 36**3, plan.index // 36**3
    program_id = "".join(BASE36_DIGITS[index_low // 36**k % 36] for k in (2, 1, 0))
    letter = CAMERAS[plan.camera].obs_id_letter
    exposure_suffix = "1q" if is_single else "00"
    name = f"{letter}{program_id}{BASE36_DIGITS[index_high]}{visit_index + 1}{filter_index + 1}{exposure_suffix}"
    return name.upper() if letter == "u" else name  # u is WFPC2.


def acs_filter_wheels(band: Filter) -> tuple[str, str]:
    """Return the positions of ACS's two filter wheels; the wheel without the filter is at CLEAR.

    Parameters
    ----------
    band
        Filter in use.

    Returns
    -------
    tuple[str, str]
        Names on wheel 1 and wheel 2.

    """
    return ("CLEAR1L", band.name) if band.name in ACS_WHEEL_2 else (band.name, "CLEAR2L")


def mast_filters(camera: Camera, band: Filter) -> str:
    """Write a filter as MAST's column `filters` does.

    Parameters
    ----------
    camera
        ACS lists both wheels, separated by a semicolon.
    band
        Filter in use.

    Returns
    -------
    str
        E.g. `F606W;CLEAR2L` or `F814W`.

    """
    return ";".join(acs_filter_wheels(band)) if camera.instrument == "ACS" else band.name
