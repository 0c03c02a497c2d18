"""FITS headers of HST files, with the keywords that the pipeline of each camera writes.

The primary header of each file says that the image is simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan, Target
from hubbleclip.simulator.products import PRIMARY_BLOCKS, acs_filter_wheels
from hubbleclip.simulator.random_draws import SEED

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

ORIGIN = "SIMULATED"
NOTICE = "SIMULATED IMAGE: made by hubbleclip.simulator. It is not the sky."
CARDS_PER_BLOCK = 36  # A card has 80 bytes.
NUM_COMBINED = 4  # Number of exposures per drizzled image.
# Number of each filter of WFPC2, as written to the keyword FILTER1.
WFPC2_FILTER_NUMBERS = {"F300W": 22, "F450W": 28, "F555W": 31, "F606W": 33, "F675W": 36, "F814W": 38}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Data of one observation that determine the content of its files.

    `version` is the number of times that the observation was reprocessed; each version has different noise.
    `extra_blocks` is the number of FITS blocks that reprocessing added to each file.
    """

    plan: ObservingPlan
    target: Target
    frame: Frame
    camera: Camera
    band: Filter
    exposure_s: float
    start_mjd: float
    obs_id: str
    pi: str
    version: int = 0
    extra_blocks: int = 0

    @property
    def noise_key(self) -> str:
        """Key that determines the random noise."""
        return f"{self.obs_id}:{self.version}" if self.version else self.obs_id


def frame_wcs(frame: Frame, origin_yx: tuple[int, int] = (0, 0)) -> WCS:
    """Make the TAN WCS of an image; `origin_yx` is the (row, column) of the image's first pixel within the frame."""
    from astropy.wcs import WCS  # noqa: PLC0415 - an archive that only lists need not load it

    cosine, sine = math.cos(math.radians(frame.roll_deg)), math.sin(math.radians(frame.roll_deg))
    scale_deg = frame.pixel_scale_arcsec / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [frame.ra_deg, frame.dec_deg]
    # The reference pixel is the centre of the frame. FITS counts pixels from 1.
    wcs.wcs.crpix = [(frame.num_x + 1) / 2 - origin_yx[1], (frame.num_y + 1) / 2 - origin_yx[0]]
    # At a roll of 0, right ascension increases towards -x and declination towards +y.
    wcs.wcs.cd = [[-cosine * scale_deg, sine * scale_deg], [sine * scale_deg, cosine * scale_deg]]
    return wcs


def primary_header(
    exposure: Exposure, file_name: str, num_extensions: int, blocks: int = PRIMARY_BLOCKS
) -> fits.Header:
    """Make the header of the primary HDU, which has no data."""
    # Headers have `_drz`, the suffix in earlier versions of the simulator, so that the files have the same bytes.
    file_name = file_name.replace("_drw.", "_drz.")
    header = begin_header(file_name, num_extensions)
    header["FILETYPE"] = ("SCI", "type of data found in data file")
    header["TELESCOP"] = ("HST", "telescope (simulated)")
    header.update(_camera_cards(exposure))
    header.update(_target_cards(exposure))
    header.update(_time_cards(exposure))
    if file_name.endswith(("_drz.fits", "_drc.fits")):
        header["NDRIZIM"] = (NUM_COMBINED, "number of exposures combined")
        header["DRIZCORR"] = ("COMPLETE", "drizzle processing")
    return end_header(header, exposure, blocks)


def begin_header(file_name: str, num_extensions: int) -> fits.Header:
    """Make the first cards of a primary header; these cards are the same for all missions."""
    from astropy.io import fits  # noqa: PLC0415 - an archive that only lists need not load it

    header = fits.Header([("SIMPLE", True, "conforms to FITS standard"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    header["ORIGIN"] = (ORIGIN, "not an observation")
    header["NEXTEND"] = (num_extensions, "Number of standard extensions")
    header["FILENAME"] = (file_name, "name of file")
    return header


def end_header(header: fits.Header, exposure: Exposure, blocks: int) -> fits.Header:
    """Add the last cards of a primary header (equal for all missions), and pad the header to `blocks` FITS blocks."""
    if exposure.version:
        header["CAL_VER"] = (f"1.{exposure.version}", "version of the calibration software (simulated)")
    header["COMMENT"] = NOTICE
    header["HISTORY"] = NOTICE
    header["HISTORY"] = f"seed {SEED}, scene {exposure.target.scene_key}"
    return pad_header(header, blocks)


def _camera_cards(exposure: Exposure) -> dict[str, object]:
    """Make the header cards for instrument, detector and filters; the keywords differ between cameras."""
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
    """Make the header cards for target and proposal."""
    is_moving = exposure.plan.kind.is_moving
    last_name, _, first_name = exposure.pi.rpartition(" ")[::-1]
    # The flag of a moving target is a boolean in WFPC2 files and a string in files of later cameras.
    moving_flag: object = is_moving if exposure.camera.instrument == "WFPC2" else ("T" if is_moving else "")
    return {
        "TARGNAME": exposure.target.name.upper().replace(" ", "-")[:30],
        "RA_TARG": exposure.target.ra_deg,
        "DEC_TARG": exposure.target.dec_deg,
        "PROPOSID": int(exposure.plan.number),
        "PR_INV_L": last_name,
        "PR_INV_F": first_name,
        "MTFLAG": moving_flag,
    }


def _time_cards(exposure: Exposure) -> dict[str, object]:
    """Make the header cards for time, roll and photometric calibration."""
    start = datetime(1858, 11, 17) + timedelta(days=exposure.start_mjd)  # This date is MJD 0.
    return {
        "DATE-OBS": start.strftime("%Y-%m-%d"),
        "TIME-OBS": start.strftime("%H:%M:%S"),
        "EXPSTART": exposure.start_mjd,
        "EXPEND": exposure.start_mjd + exposure.exposure_s / 86400,
        "EXPTIME": exposure.exposure_s,
        "EXPFLAG": "NORMAL",
        "PA_V3": round((exposure.frame.roll_deg + 44.7) % 360, 6),
        "PHOTFLAM": exposure.band.photflam,
        "PHOTZPT": -21.1,
        "PHOTPLAM": exposure.band.wave_nm * 10,
        "PHOTBW": exposure.band.width_nm * 4.0,
    }


def extension_header(exposure: Exposure, name: str, version: int, unit: str, wcs: WCS) -> fits.Header:
    """Make the header of one image extension."""
    from astropy.io import fits  # noqa: PLC0415 - an archive that only lists need not load it

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
    """Make the header cards of a world coordinate system, in the order and form that the HST pipelines write.

    The cards are not made with astropy, because astropy would write PC and CDELT keywords instead of a CD matrix.
    """
    cd, crpix, crval = wcs.wcs.cd, wcs.wcs.crpix, wcs.wcs.crval
    return {
        "WCSAXES": 2,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": float(crpix[0]),
        "CRPIX2": float(crpix[1]),
        "CRVAL1": float(crval[0]),
        "CRVAL2": float(crval[1]),
        "CD1_1": float(cd[0][0]),
        "CD1_2": float(cd[0][1]),
        "CD2_1": float(cd[1][0]),
        "CD2_2": float(cd[1][1]),
        "RADESYS": "ICRS",
    }


def pad_header(header: fits.Header, blocks: int) -> fits.Header:
    """Pad a header to `blocks` FITS blocks with blank cards, so that file sizes do not depend on camera keywords."""
    # One card is reserved for END, which astropy adds.
    while len(header) < blocks * CARDS_PER_BLOCK - 1:
        header.append(end=True)
    return header
