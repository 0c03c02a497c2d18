"""Make names, file lists and FITS headers of simulated JWST observations, as MAST and the JWST pipeline write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hubbleclip.simulator.fits_headers import Exposure, begin_header, end_header, wcs_cards
from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan
from hubbleclip.simulator.products import PRIMARY_BLOCKS, FileType

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

MJY_SR_PER_E_S = 0.12
"""Surface brightness, in MJy/sr, at which a pixel collects one electron per second; the value is invented."""
_I2D = FileType("I2D", "i2d.fits", "resampled 2D image")
_CAL = FileType("CAL", "cal.fits", "calibrated exposure")
_JPG = FileType("JPG", "i2d.jpg", "Preview-Full", "PREVIEW")
EXP_TYPES = {"NIRCAM": "NRC", "MIRI": "MIR", "NIRISS": "NIS"}


def file_types(camera: Camera, is_single: bool) -> tuple[FileType, ...]:
    """List the types of the files of a JWST observation."""
    return (_CAL,) if is_single else (_CAL, _I2D, _JPG)


def observation_name(plan: ObservingPlan, visit_index: int, filter_index: int, is_single: bool) -> str:
    """Make the name of a JWST observation, in MAST's form."""
    camera, programme = CAMERAS[plan.camera], f"jw{plan.number}"
    if is_single:
        return f"{programme}{visit_index + 1:03d}001_02101_{filter_index + 1:05d}_{camera.obs_id_letter}"
    optics = f"clear-{plan.filters[filter_index]}" if camera.has_pupil else plan.filters[filter_index]
    return f"{programme}-o{visit_index + 1:03d}_t{visit_index + 1:03d}_{camera.instrument}_{optics}".lower()


def mast_filters(camera: Camera, band: Filter) -> str:
    """Return the name of the filter as MAST writes it in the column `filters`."""
    return f"{band.name};CLEAR" if camera.has_pupil else band.name


def primary_header(
    exposure: Exposure, file_name: str, num_extensions: int, blocks: int = PRIMARY_BLOCKS
) -> fits.Header:
    """Make the header of the primary HDU, which has no data."""
    camera, start = exposure.camera, datetime(1858, 11, 17) + timedelta(days=exposure.start_mjd)
    last, _, first = exposure.pi.rpartition(" ")[::-1]
    kind = exposure.target.variant.upper() if exposure.plan.kind.name == "calibration" else "IMAGE"
    header = begin_header(file_name, num_extensions)
    header["TELESCOP"] = ("JWST", "telescope (simulated)")
    header.update(
        {
            "INSTRUME": camera.instrument,
            "DETECTOR": camera.obs_id_letter.upper(),
            "FILTER": exposure.band.name,
            "EXP_TYPE": f"{EXP_TYPES[camera.instrument]}_{kind}",
            "PROGRAM": exposure.plan.number,
            "PI_NAME": f"{first} {last}",
            "TARGPROP": exposure.target.name.upper().replace(" ", "-")[:30],
            "TARGNAME": exposure.target.name.upper().replace(" ", "-")[:30],
            "TARGTYPE": "MOVING" if exposure.plan.kind.is_moving else "FIXED",
            "TARG_RA": exposure.target.ra_deg,
            "TARG_DEC": exposure.target.dec_deg,
            "EFFEXPTM": exposure.exposure_s,
            "EXPSTART": exposure.start_mjd,
            "DATE-OBS": start.strftime("%Y-%m-%d"),
            "TIME-OBS": start.strftime("%H:%M:%S"),
        }
    )
    if camera.has_pupil:
        header["PUPIL"] = "CLEAR"
    if camera.instrument == "NIRCAM":
        header["CHANNEL"] = camera.name.partition("/")[2]
    return end_header(header, exposure, blocks)


def extension_header(exposure: Exposure, name: str, version: int, unit: str, wcs: WCS) -> fits.Header:
    """Make the header of one image extension."""
    from astropy.io import fits  # noqa: PLC0415 - an archive that only lists need not load it

    header = fits.Header()
    header["EXTNAME"] = (name, "extension name")
    header["EXTVER"] = (version, "extension version number")
    if unit:
        header["BUNIT"] = (unit, "physical units of the array values")
    if name == "SCI":
        header["PHOTMJSR"] = (MJY_SR_PER_E_S, "flux density (MJy/sr) of 1 e-/s")
    header.update(wcs_cards(wcs))
    return header
