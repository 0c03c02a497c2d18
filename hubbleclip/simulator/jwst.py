"""Make the names, file lists and FITS headers of simulated JWST observations, in the form of MAST and the pipeline."""

from __future__ import annotations

from datetime import datetime, timedelta

from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.simulator.fits_headers import PRIMARY_BLOCKS, Exposure, begin_header, end_header, wcs_cards
from hubbleclip.simulator.instruments import CAMERAS, Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan
from hubbleclip.simulator.products import FileType

MJY_SR_PER_E_S = 0.12
"""Surface brightness, in MJy/sr, that gives one electron per second and pixel; the value is invented."""
_I2D = FileType("I2D", "i2d.fits", "resampled 2D image")
_CAL = FileType("CAL", "cal.fits", "calibrated exposure")
_JPG = FileType("JPG", "i2d.jpg", "Preview-Full", "PREVIEW")
EXP_TYPES = {"NIRCAM": "NRC", "MIRI": "MIR", "NIRISS": "NIS"}


def file_types(camera: Camera, is_single: bool) -> tuple[FileType, ...]:
    """List the types of the files of a JWST observation.

    Parameters
    ----------
    camera
        Camera; it is ignored, because all JWST cameras have the same types of files.
    is_single
        Whether the observation is a single exposure, without a combined image.

    Returns
    -------
    tuple of FileType
        Type of each file, in the order in which MAST lists the files.

    """
    return (_CAL,) if is_single else (_CAL, _I2D, _JPG)


def observation_name(plan: ObservingPlan, visit_index: int, filter_index: int, is_single: bool) -> str:
    """Make the name of a JWST observation, in MAST's form.

    Parameters
    ----------
    plan
        Observing plan of the proposal.
    visit_index
        Index of the visit in the proposal, from 0.
    filter_index
        Index of the filter in the visit, from 0.
    is_single
        Whether the observation is a single exposure, without a combined image.

    Returns
    -------
    str
        Name such as `jw10001-o001_t001_nircam_clear-f356w`, or `jw10001001001_02101_00001_nrcalong` for a single
        exposure.

    """
    camera, programme = CAMERAS[plan.camera], f"jw{plan.number}"
    if is_single:
        return f"{programme}{visit_index + 1:03d}001_02101_{filter_index + 1:05d}_{camera.obs_id_letter}"
    optics = f"clear-{plan.filters[filter_index]}" if camera.has_pupil else plan.filters[filter_index]
    return f"{programme}-o{visit_index + 1:03d}_t{visit_index + 1:03d}_{camera.instrument}_{optics}".lower()


def mast_filters(camera: Camera, band: Filter) -> str:
    """Write the filter in the form of MAST's column `filters`.

    Parameters
    ----------
    camera
        Camera; if it has a pupil wheel, the position of that wheel is listed too.
    band
        Filter of the observation.

    Returns
    -------
    str
        Value of the column, e.g. `F356W;CLEAR` with a pupil wheel or `F770W` without.

    """
    return f"{band.name};CLEAR" if camera.has_pupil else band.name


def primary_header(
    exposure: Exposure, file_name: str, num_extensions: int, blocks: int = PRIMARY_BLOCKS
) -> fits.Header:
    """Make the header of the primary HDU, which has no data.

    Parameters
    ----------
    exposure
        Observation that the file belongs to.
    file_name
        Name of the file.
    num_extensions
        Number of image extensions, which follow the primary HDU.
    blocks
        Length of the header in FITS blocks.

    Returns
    -------
    fits.Header
        Header with the keywords that the JWST pipeline writes, padded to `blocks` blocks.

    """
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
    """Make the header of one image extension.

    Parameters
    ----------
    exposure
        Observation that the file belongs to.
    name
        Name of the extension (EXTNAME), e.g. `SCI`.
    version
        Version of the extension (EXTVER), from 1.
    unit
        Unit of the data (BUNIT); empty for no unit.
    wcs
        World coordinate system of the extension.

    Returns
    -------
    fits.Header
        Header that fits into one FITS block together with the cards that astropy adds for the data.

    """
    header = fits.Header()
    header["EXTNAME"] = (name, "extension name")
    header["EXTVER"] = (version, "extension version number")
    if unit:
        header["BUNIT"] = (unit, "physical units of the array values")
    if name == "SCI":
        header["PHOTMJSR"] = (MJY_SR_PER_E_S, "flux density (MJy/sr) of 1 e-/s")
    header.update(wcs_cards(wcs))
    return header
