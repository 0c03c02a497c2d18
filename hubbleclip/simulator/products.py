"""Make the names, file lists, file sizes and filter names of simulated HST observations, in the form that MAST uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan

BASE36_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ACS_WHEEL_2 = frozenset({"F435W", "F814W"})  # All other ACS filters are on wheel 1.
BLOCK_BYTES = 2880  # By the FITS standard, files consist of blocks of this length.
PRIMARY_BLOCKS = 2
EXTENSION_BLOCKS = 1
# Names of the extensions by kind of file. DQ32 is the DQ extension of JWST, which has 32-bit flags.
COMBINED_KINDS = dict.fromkeys(("DRZ", "DRC", "DRW"), ("SCI", "WHT", "CTX")) | {"I2D": ("SCI", "ERR", "CON", "WHT")}
SINGLE_KINDS = {"RAW": ("RAW",), "D0M": ("RAW",), "C0M": ("SCI",), "CAL": ("SCI", "ERR", "DQ32")}
AUXILIARY_BLOCKS = {"SPT": 3, "SHM": 4, "TRL": 3}  # Length, in FITS blocks, of files without image data.
PREVIEW_KINDS = frozenset({"JPG", "COLOR"})
PREVIEW_BYTES = 49_152  # Every preview is padded to this size.
DATA_BYTES = {"SCI": 4, "WHT": 4, "CTX": 4, "CON": 4, "ERR": 4, "DQ": 2, "DQ32": 4, "RAW": 2}  # Bytes per pixel.


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
    # `stair` is the footprint of WFPC2. MAST lists some files twice; a client must remove the duplicates.
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
    # In base 36, the proposal's index has four digits. `ppp` is the last three. `ss` is the first and the visit number.
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
    """Return the name of the filter as in MAST's column `filters`."""
    return ";".join(acs_filter_wheels(band)) if camera.instrument == "ACS" else band.name


def file_size(frame_px: int, camera: Camera, combined_yx: tuple[int, int], kind: str) -> int:
    """Compute the exact size, in bytes, of a file that was never reprocessed, without rendering the file."""
    if kind in PREVIEW_KINDS:
        return PREVIEW_BYTES
    if kind in AUXILIARY_BLOCKS:
        return AUXILIARY_BLOCKS[kind] * BLOCK_BYTES
    if kind in COMBINED_KINDS:
        planes = [(name, *combined_yx) for name in COMBINED_KINDS[kind]]
    else:
        names = SINGLE_KINDS.get(kind, ("SCI", "ERR", "DQ"))
        planes = [
            (name, bottom - top, right - left)
            for top, bottom, left, right in chip_bounds(frame_px, camera)
            for name in names
        ]
    blocks = sum(
        EXTENSION_BLOCKS + -(-DATA_BYTES[name] * num_y * num_x // BLOCK_BYTES) for name, num_y, num_x in planes
    )
    return (PRIMARY_BLOCKS + blocks) * BLOCK_BYTES


def chip_bounds(frame_px: int, camera: Camera) -> list[tuple[int, int, int, int]]:
    """Return (top, bottom, left, right) of each chip in pixels; the gap between two chips belongs to neither."""
    side, half = frame_px, frame_px // 2
    if camera.footprint == "one_chip":
        return [(0, side, 0, side)]
    if camera.footprint == "two_chips":
        gap = max(1, side // 120)  # Half the gap between the chips.
        return [(0, half - gap, 0, side), (half + gap, side, 0, side)]
    inner = int(half * 0.46)  # Side of the planetary camera, see `frames.STAIR_INNER`.
    return [(half, half + inner, half, half + inner), (half, side, 0, half), (0, half, 0, half), (0, half, half, side)]
