"""FITS headers with the keywords of each camera's pipeline; each header says that the image is simulated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan, Target
from hubbleclip.simulator.products import acs_filter_wheels

ORIGIN = "SIMULATED"
NOTICE = "SIMULATED IMAGE: made by hubbleclip.simulator. It is not the sky."
BLOCK_BYTES = 2880  # FITS standard: files are multiples of this.
CARDS_PER_BLOCK = 36  # 80 bytes each.
PRIMARY_BLOCKS = 2
EXTENSION_BLOCKS = 1
NUM_COMBINED = 4  # Exposures per drizzled image.
# Position of the filter in WFPC2's wheels.
WFPC2_FILTER_NUMBERS = {"F300W": 22, "F450W": 28, "F555W": 31, "F606W": 33, "F675W": 36, "F814W": 38}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Everything that the files of one observation depend on; each `version` has its own noise."""

    plan: ObservingPlan
    target: Target
    frame: Frame
    camera: Camera
    band: Filter
    exposure_s: float
    start_mjd: float
    obs_id: str
    seed: int
    pi: str
    version: int = 0
    extra_blocks: int = 0

    @property
    def noise_key(self) -> str:
        """Key of the random noise, besides the seed."""
        return f"{self.obs_id}:{self.version}" if self.version else self.obs_id


def frame_wcs(frame: Frame, origin_yx: tuple[int, int] = (0, 0)) -> WCS:
    """Make the TAN world coordinate system of a frame.

    Parameters
    ----------
    frame
        Pixel grid on the sky.
    origin_yx
        First (row, column) of the part that the WCS is for; (0, 0) for the whole frame.

    Returns
    -------
    WCS
        ICRS coordinates with a CD matrix.

    """
    cosine, sine = math.cos(math.radians(frame.roll_deg)), math.sin(math.radians(frame.roll_deg))
    scale_deg = frame.pixel_scale_arcsec / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [frame.ra_deg, frame.dec_deg]
    # FITS pixels count from 1; the reference pixel is the frame's centre.
    wcs.wcs.crpix = [(frame.num_x + 1) / 2 - origin_yx[1], (frame.num_y + 1) / 2 - origin_yx[0]]
    # At roll 0, right ascension grows towards -x and declination towards +y.
    wcs.wcs.cd = [[-cosine * scale_deg, sine * scale_deg], [sine * scale_deg, cosine * scale_deg]]
    return wcs


def primary_header(
    exposure: Exposure, file_name: str, num_extensions: int, blocks: int = PRIMARY_BLOCKS
) -> fits.Header:
    """Make the header of the first unit, which has no data.

    Parameters
    ----------
    exposure
        Observation that the file belongs to.
    file_name
        Name of the file, which decides on the keywords of drizzled images.
    num_extensions
        Number of image extensions.
    blocks
        Length of the header in FITS blocks.

    Returns
    -------
    fits.Header
        Header padded to `blocks` blocks, so that its size does not depend on the camera.

    """
    header = fits.Header([("SIMPLE", True, "conforms to FITS standard"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    header["ORIGIN"] = (ORIGIN, "not an observation")
    header["NEXTEND"] = (num_extensions, "Number of standard extensions")
    header["FILENAME"] = (file_name, "name of file")
    header["FILETYPE"] = ("SCI", "type of data found in data file")
    header["TELESCOP"] = ("HST", "telescope (simulated)")
    header.update(_camera_cards(exposure))
    header.update(_target_cards(exposure))
    header.update(_time_cards(exposure))
    if file_name.endswith(("_drz.fits", "_drc.fits")):
        header["NDRIZIM"] = (NUM_COMBINED, "number of exposures combined")
        header["DRIZCORR"] = ("COMPLETE", "drizzle processing")
    if exposure.version:
        header["CAL_VER"] = (f"1.{exposure.version}", "version of the calibration software (simulated)")
    header["COMMENT"] = NOTICE
    header["HISTORY"] = NOTICE
    header["HISTORY"] = f"seed {exposure.seed}, scene {exposure.target.scene_key}"
    return pad_header(header, blocks)


def _camera_cards(exposure: Exposure) -> dict[str, object]:
    """Make the cards of instrument, detector and filters, which differ between the cameras."""
    camera, band = exposure.camera, exposure.band
    cards: dict[str, object] = {"INSTRUME": camera.instrument, "EQUINOX": 2000.0, "ROOTNAME": exposure.obs_id.lower()}
    if camera.instrument == "WFPC2":
        cards |= {
            "DETECTOR": 3,
            "FILTER1": WFPC2_FILTER_NUMBERS.get(band.name, 9),
            "FILTER2": 0,
            "FILTNAM1": band.name,
            "FILTNAM2": "",
        }
        cards |= {"ATODGAIN": camera.gain, "IMAGETYP": "EXT", "MODE": "FULL"}
    elif camera.instrument == "ACS":
        wheel_1, wheel_2 = acs_filter_wheels(band)
        cards |= {"DETECTOR": "WFC", "FILTER1": wheel_1, "FILTER2": wheel_2, "CCDGAIN": camera.gain, "APERTURE": "WFC"}
        cards |= {"OBSTYPE": "IMAGING", "OBSMODE": "ACCUM", "IMAGETYP": "EXT", "CRSPLIT": 2, "CCDAMP": "ABCD"}
    else:
        cards |= {"DETECTOR": camera.detector, "FILTER": band.name, "CCDGAIN": camera.gain, "APERTURE": camera.detector}
        mode = "MULTIACCUM" if camera.detector == "IR" else "ACCUM"
        cards |= {"OBSTYPE": "IMAGING", "OBSMODE": mode, "IMAGETYP": "EXT", "CCDAMP": "ABCD", "SUBARRAY": False}
    if exposure.plan.kind.name == "calibration":
        cards["IMAGETYP"] = exposure.target.variant.upper()
    return cards


def _target_cards(exposure: Exposure) -> dict[str, object]:
    """Make the cards of target and proposal."""
    is_moving = exposure.plan.kind.is_moving
    last_name, _, first_name = exposure.pi.rpartition(" ")[::-1]
    # WFPC2 writes a boolean, later cameras a string.
    moving_flag: object = is_moving if exposure.camera.instrument == "WFPC2" else ("T" if is_moving else "")
    return {
        "TARGNAME": exposure.target.name.upper().replace(" ", "-")[:30], "RA_TARG": exposure.target.ra_deg,
        "DEC_TARG": exposure.target.dec_deg, "PROPOSID": int(exposure.plan.number),
        "PR_INV_L": last_name, "PR_INV_F": first_name, "MTFLAG": moving_flag,
    }  # fmt: skip


def _time_cards(exposure: Exposure) -> dict[str, object]:
    """Make the cards of time, roll and photometric calibration."""
    start = datetime(1858, 11, 17) + timedelta(days=exposure.start_mjd)  # MJD 0.
    return {
        "DATE-OBS": start.strftime("%Y-%m-%d"), "TIME-OBS": start.strftime("%H:%M:%S"), "EXPSTART": exposure.start_mjd,
        "EXPEND": exposure.start_mjd + exposure.exposure_s / 86400, "EXPTIME": exposure.exposure_s, "EXPFLAG": "NORMAL",
        "PA_V3": round((exposure.frame.roll_deg + 44.7) % 360, 6), "PHOTFLAM": exposure.band.photflam, "PHOTZPT": -21.1,
        "PHOTPLAM": exposure.band.wave_nm * 10, "PHOTBW": exposure.band.width_nm * 4.0,
    }  # fmt: skip


def extension_header(exposure: Exposure, name: str, version: int, unit: str, wcs: WCS) -> fits.Header:
    """Make the header of one image extension.

    Parameters
    ----------
    exposure
        Observation that the file belongs to.
    name
        EXTNAME, e.g. `SCI`.
    version
        EXTVER: number of the chip, from 1.
    unit
        BUNIT, or empty.
    wcs
        Coordinates of the extension.

    Returns
    -------
    fits.Header
        Header that fills EXTENSION_BLOCKS blocks once astropy has added the cards of the data.

    """
    header = fits.Header()
    header["EXTNAME"] = (name, "extension name")
    header["EXTVER"] = (version, "extension version number")
    header["INHERIT"] = (True, "inherit the primary header")
    header["ROOTNAME"] = exposure.obs_id.lower()
    header["EXPNAME"] = exposure.obs_id.lower()
    if unit:
        header["BUNIT"] = (unit, "brightness units")
    header["ORIENTAT"] = (round(exposure.frame.roll_deg, 8), "position angle of image y axis (deg. e of n)")
    if exposure.camera.instrument != "WFPC2" and name == "SCI":
        header["CCDCHIP"] = version if exposure.camera.footprint == "two_chips" else 1
        header["PHOTFLAM"] = exposure.band.photflam
        header["PHOTPLAM"] = exposure.band.wave_nm * 10
    header.update(wcs_cards(wcs))
    return header


def wcs_cards(wcs: WCS) -> dict[str, object]:
    """Make the cards in the order and style of the pipeline (astropy would write PC and CDELT instead of CD).

    Parameters
    ----------
    wcs
        Of the image.

    Returns
    -------
    dict[str, object]
        Value by keyword.

    """
    cd, crpix, crval = wcs.wcs.cd, wcs.wcs.crpix, wcs.wcs.crval
    return {
        "WCSAXES": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": float(crpix[0]),
        "CRPIX2": float(crpix[1]), "CRVAL1": float(crval[0]), "CRVAL2": float(crval[1]), "CD1_1": float(cd[0][0]),
        "CD1_2": float(cd[0][1]), "CD2_1": float(cd[1][0]), "CD2_2": float(cd[1][1]), "RADESYS": "ICRS",
    }  # fmt: skip


def pad_header(header: fits.Header, blocks: int) -> fits.Header:
    """Add blank cards up to `blocks` blocks, so that a file's size does not depend on its camera's keywords.

    Parameters
    ----------
    header
        Changed in place.
    blocks
        Length in FITS blocks.

    Returns
    -------
    fits.Header
        The same header.

    """
    # Minus one: the END card.
    while len(header) < blocks * CARDS_PER_BLOCK - 1:
        header.append(end=True)
    return header
