"""The `Mission` record of the James Webb Space Telescope: naming rules, files, cameras and credits."""

from __future__ import annotations

import re

from hubbleclip.missions.archive import ArchivePins, ProposalPages, PublicBucket, SearchColumns
from hubbleclip.missions.base import RAMP, Camera, HeaderConvention, Mission, ProductRanking

BAD = {1: "do not use"}
"""DQ bit that makes a pixel invalid. The JWST pipeline sets it in addition to the bit that gives the reason.

Harmless DQ bits: 2 saturated in part of the ramp; 4 jump (cosmic ray) in the ramp, corrected; 8 dropout; 16
outlier; 32 persistence; 64 A/D converter at its floor; 128 charge migration. Source: the JWST pipeline's package
stdatamodels, dqflags.pixel.
"""
CAMERA = Camera(
    kind=RAMP,
    bad_flags=BAD,
    # The number in a filter's name is the wavelength in units of 10 nm (F356W: 3,560 nm). In the two extra-wide
    # filters, the number is not the pivot wavelength (JDox, NIRCam filters, table 1).
    nm_per_number=10.0,
    pivots_nm={"F150W2": 1671.0, "F322W2": 3247.0},
)
"""Every JWST camera. All files have the unit MJy/sr, and extensions SCI, ERR, and DQ (_cal) or WHT (_i2d)."""
CAMERAS = dict.fromkeys(("NIRCAM", "NIRCAM/SHORT", "NIRCAM/LONG", "MIRI", "NIRISS"), CAMERA)

PRODUCTS = ProductRanking(
    names={
        # Level 3, for example `jw01234-o001_t001_nircam_clear-f356w`: programme, observation (o), target (t) or
        # source (s), instrument, optical elements.
        "combined": re.compile(r"(?P<programme>jw[0-9]{5})-o(?P<observation>[0-9]{3})_[ts][0-9]+_[a-z0-9_-]+"),
        # Level 2, for example `jw01234001001_02101_00001_nrca1`: programme, observation, visit, activity, exposure,
        # detector.
        "exposure": re.compile(
            r"(?P<programme>jw[0-9]{5})(?P<observation>[0-9]{3})[0-9]{3}_[0-9a-z]{5}_[0-9]{5}(-seg[0-9]{3})?_[a-z0-9]+"
        ),
    },
    other_origin="other",
    # Level 3 combines the exposures of one observation, so a "visit" means an observation here. For example, both
    # names in the comments above give `jw01234001`.
    visit_templates=(r"\g<programme>\g<observation>",),
    # Names such as `jw01234-c1001_...` are candidate associations that combine several observations.
    mosaic=re.compile(r"jw[0-9]{5}-[ac][0-9]{4}.*"),
    order={
        ("combined", "i2d"): "level 3: exposures combined and resampled",
        ("exposure", "i2d"): "level 2b: one exposure, resampled",
        ("exposure", "cal"): "level 2b: one calibrated exposure",
        ("other", "jpg"): "image whose kind is not stated",
    },
    # A file has seven images of four bytes per pixel. Two of them are read: SCI and WHT (_i2d), or SCI and DQ (_cal).
    read_shares={"i2d": 2 / 7, "cal": 2 / 7},
)

HEADER = HeaderConvention(
    # PUPIL comes first, because a filter in the pupil wheel of NIRCam or NIRISS has a narrower band than the filter in
    # the filter wheel.
    filter_keywords=(("PUPIL", "FILTER"),),
    detector_keyword="",
    # A combined NIRCam image comes from several detectors (DETECTOR = MULTIPLE) of one channel, so CHANNEL is used.
    detectors={"NIRCAM": ("CHANNEL", "")},
    target_keywords=("TARGPROP", "TARGNAME"),
    aim_keywords=(("TARG_RA", "TARG_DEC"),),
    exposure_keywords=("EFFEXPTM", "XPOSURE", "EXPTIME"),
    proposal_keyword="PROGRAM",
    pi_keywords=("PI_NAME",),
    moving_keyword="TARGTYPE",
    moving_values=frozenset({"MOVING"}),
    disperser=re.compile(r"(GRISM\w*|GR\d{3}\w*|G\d{3}\w+|GDHS\w*|PRISM|P750L)$"),
    spectrographs=frozenset({"NIRSPEC", "FGS"}),
    # Only the EXP_TYPE values of images are accepted. Spectra, coronagraphy, target acquisition, darks and flats have
    # other values.
    image_values={"EXP_TYPE": re.compile(r"(NRC|MIR|NIS)_IMAGE")},
)

SEARCH = SearchColumns(
    path="jwst",
    dataset="fileSetName",
    columns={
        "proposal_id": "program",
        "instrument_name": "instrume",
        "target_name": "targprop",
        "s_ra": "targ_ra",
        "s_dec": "targ_dec",
        "t_min": "date_obs",
        "t_exptime": "effexptm",
        "t_obs_release": "publicReleaseDate",
        "filters": "opticalElements",
        "calib_level": "productLevel",
        "s_region": "s_region",
        "obs_title": "title",
        "mtFlag": "targtype",
    },
    images={"exp_type": "NRC_IMAGE,MIR_IMAGE,NIS_IMAGE"},
    levels={3: re.compile("3"), 2: re.compile("2[abc]?")},
    level_values={3: ("3",), 2: ("2", "2a", "2b", "2c")},
)

JWST = Mission(
    name="jwst",
    telescope="JWST",
    collections=("JWST",),
    instruments=("NIRCAM*", "MIRI*", "NIRISS*"),
    products=PRODUCTS,
    cameras=CAMERAS,
    unknown_camera=Camera(kind=RAMP, bad_flags=BAD, nm_per_number=10.0),
    header=HEADER,
    bucket=PublicBucket(
        uri_prefix="mast:jwst/product/",
        path_prefix="jwst/public/",
        paths=(
            (
                re.compile(r"[^/]*/(?P<name>(?P<visit>(?P<programme>jw[0-9]{5})[0-9]{6})(_[a-z0-9-]+)+(\.[a-z]+)+)"),
                r"\g<programme>/\g<visit>/\g<name>",
            ),
            (
                re.compile(
                    r"[^/]*/(?P<name>(?P<programme>jw[0-9]{5})-(?P<observation>o[0-9]{3})_t[0-9]{3}(_[a-z0-9-]+)+"
                    r"(\.[a-z]+)+)"
                ),
                r"\g<programme>/L3/t/\g<observation>/\g<name>",
            ),
        ),
    ),
    proposals=ProposalPages(
        bulk_page="",
        apt="jwst-program-info/download/jwst/apt/{}/",
        listing="",
        page="jwst-program-info/program/?program={}",
        apt_copy="jwst/phase2-public/{}.aptx",
    ),
    ads_bibstem="jwst.prop",
    licence="NASA and STScI: public domain; ESA: CC BY 4.0",
    attribution="Based on observations made with the NASA/ESA/CSA James Webb Space Telescope, and obtained from the "
    "Mikulski Archive for Space Telescopes at the Space Telescope Science Institute. Credit: NASA, ESA, CSA, STScI.",
    homepage="https://archive.stsci.edu/jwst/",
    observation_page="https://mast.stsci.edu/portal/Mashup/Clients/Mast/Portal.html?searchQuery={0}",
    search=SEARCH,
    other_modes=re.compile(r".*/(CORON|AMI|TARGACQ|TACQ|TACONFIRM)"),
    pins=ArchivePins(released_mjd=(60_004.0, 60_014.0)),
)
