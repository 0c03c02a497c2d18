"""The `Mission` record of the Hubble Space Telescope: naming rules, files, cameras and credits."""

from __future__ import annotations

import re
from functools import partial

from hubbleclip.missions.archive import ArchivePins, PinnedFile, ProposalPages, PublicBucket, SearchColumns
from hubbleclip.missions.base import CCD, COUNTER, PRESS, RAMP, Camera, HeaderConvention, Mission, ProductRanking

LONG_PASS_NM = {"F200LP": 488.0, "F350LP": 585.0, "F600LP": 744.0, "F785LP": 866.0, "F850LP": 904.0}
"""Pivot wavelengths (nm) of long-pass filters. The number in the name of a long-pass filter is its blue edge.

Sources: WFC3 Instrument Handbook (IHB), tables 6.2 and 7.2; ACS IHB, table 5.1; WFPC2 IHB, table 3.1.
"""
FILTER_KEYWORDS = (("FILTER",), ("FILTER1", "FILTER2"), ("FILTNAM1", "FILTNAM2"))
"""Groups of filter keywords in the order to try. WFC3, NICMOS and STIS use the first, ACS the second, WFPC2 the third.

WFPC2 headers have FILTER1 too, but its value is the number of a wheel position.
"""
FOC_FILTERS = (*FILTER_KEYWORDS[:2], ("FILTNAM1", "FILTNAM2", "FILTNAM3", "FILTNAM4"))

# Data quality bits that make a pixel invalid, by camera. The comment above a camera's bits lists the harmless bits,
# whose pixels stay valid. A "?" marks an uncertain meaning.
LOST = {1: "Reed-Solomon error", 2: "filled for lost data", 4: "bad detector pixel, or pixel beyond the aperture"}
RAYS = {4096: "cosmic ray found by AstroDrizzle", 8192: "cosmic ray found by the calibration of repeated exposures"}
COUNTER_BAD = LOST | {8: "masked: repeller wire or bar", 512: "bad in a reference file"}
# Stable hot pixels are valid, because the dark corrects them. Unstable pixels and charge traps are invalid. drizzlepac
# makes the same choice: its parameter final_bits, the sum of the accepted DQ bits, is 336 (528 for WFC3/IR).
# docs/tiles.md compares each bit.
CCD_BAD = LOST | RAYS | {128: "bad in the bias", 512: "bad in the flat"}
# Harmless DQ bits: 16 hot, 64 warm, 256 full well, 2048 A/D converter saturated, 16384 (perhaps a
# satellite trail)
ACS_BAD = CCD_BAD | {8: "masked by the finger", 32: "unstable", 1024: "sink pixel"}
# Harmless DQ bits: 16 hot, 64 warm, 256 full well, 2048 A/D converter saturated, 16384 (perhaps crosstalk)
UVIS_BAD = CCD_BAD | {8: "deviant?", 32: "unstable or tail of a hot pixel", 1024: "charge trap"}
# Harmless DQ bits: 16 hot, 256 saturated, 512 blob, 2048 signal in the zero read, 8192 cosmic ray (corrected in the
# ramp)
IR_BAD = LOST | {8: "deviant zero read", 32: "unstable", 64: "warm?", 128: "bad reference pixel", 4096: RAYS[4096]}
# Harmless DQ bits: 32 large blemish, 256 saturated, 1024 small blemish
STIS_BAD = COUNTER_BAD | {16: "hot: 5 sigma above the median dark", 128: "bad in the bias", 8192: RAYS[8192]}
# Harmless DQ bits: 8 A/D converter saturated; 64 (perhaps unused); 128 charge trap (unused); 256 above a charge
# trap; 1024 hot, repaired
WFPC2_BAD = {
    1: "Reed-Solomon error",
    2: "bad in a calibration file",
    4: "permanent defect",
    16: "missing",
    32: "bad otherwise",
    512: "hot, not repaired",
}
# Harmless DQ bits: 2 uncertain linearity; 4 uncertain dark; 8 uncertain flat; 64 saturated; 512 cosmic ray
# (corrected in the ramp); 1024 source; 2048 signal in the zero read
NICMOS_BAD = {1: "Reed-Solomon error", 16: "grot", 32: "defective", 128: "missing", 256: "bad by calibration"}

FULL = 256 | 2048  # DQ bits of ACS and WFC3/UVIS: full well, and A/D converter saturated
WFPC2_CONTRASTS = {300: 8.2, 439: 7.2, 606: 6.6}

CAMERA = partial(Camera, pivots_nm=LONG_PASS_NM)
WFPC2 = CAMERA(kind=CCD, bad_flags=WFPC2_BAD, planes=4, star_contrasts=WFPC2_CONTRASTS, saturated_flags=8)
CAMERAS = {
    # ACS Data Handbook 10, sections 2.2 and 3.4.3 (table 3.4 of DQ bits). Filter keywords: FILTER1 and FILTER2; the
    # value of one of the two is CLEAR. A file has a SCI extension for each of the two chips, in ELECTRONS, but a _drc
    # or _drz file has a single SCI extension, in ELECTRONS/S.
    "ACS/WFC": CAMERA(kind=CCD, bad_flags=ACS_BAD, raw_yx=(2068, 4144), light_yx=(2048, 4096), saturated_flags=FULL),
    "ACS/HRC": CAMERA(
        kind=CCD,
        bad_flags=ACS_BAD,
        raw_yx=(1044, 1062),
        light_yx=(1024, 1024),
        saturated_flags=FULL,
        star_contrasts={435: 5.0},
    ),
    "ACS/SBC": CAMERA(kind=COUNTER, bad_flags=COUNTER_BAD),
    # WFC3 Data Handbook 5, sections 2.2, 3.2 and table 3.3 of DQ bits. Filter keyword: FILTER. A UVIS file has a SCI
    # extension for each of the two chips, in ELECTRONS, but a _drc or _drz file has a single SCI extension, in
    # ELECTRONS/S. The unit of WFC3/IR is ELECTRONS/S.
    "WFC3/UVIS": CAMERA(
        kind=CCD,
        bad_flags=UVIS_BAD,
        raw_yx=(2070, 4206),
        light_yx=(2051, 4156),
        gap=(2073, 2133),
        star_contrasts={336: 5.0, 606: 4.5},
        saturated_flags=FULL,
    ),
    # An _ima file has a SCI extension for each read of the ramp; EXTVER 1 is the last read. Its SAMP extensions hold
    # the number of reads used for each pixel.
    "WFC3/IR": Camera(kind=RAMP, bad_flags=IR_BAD, nm_per_number=10.0, raw_yx=(1024, 1024), light_yx=(1014, 1014)),
    # WFPC2 Data Handbook 4, sections 2.2, 3.3 (table 3.5 of DQ bits). Filter keywords: FILTNAM1 and FILTNAM2
    # (FILTER1 is a wheel position). Unit: COUNTS. A _c0m file has four SCI extensions, and a _c0f file has a cube of
    # four planes. DQ files (_c1m, _c1f) are not read.
    "WFPC2": WFPC2,
    # HST Data Handbook 3 (1997), part WF/PC. The DQ bits are assumed to be those of WFPC2. WF/PC consisted of
    # two cameras of four chips each. A _c0f file of either camera has four planes, one per chip.
    "WFPC": WFPC2,
    # STIS Data Handbook 7, sections 2.2, 2.5 (table 2.8 of DQ bits) and 3.4.2. Filter keyword of the CCD: FILTER.
    # OPT_ELEM names the mirror (MIRVIS), not the filter. Unit: COUNTS.
    "STIS/CCD": CAMERA(kind=CCD, bad_flags=STIS_BAD, raw_yx=(1044, 1062), light_yx=(1024, 1024), saturated_flags=256),
    "STIS/FUV-MAMA": CAMERA(kind=COUNTER, bad_flags=COUNTER_BAD),
    "STIS/NUV-MAMA": CAMERA(kind=COUNTER, bad_flags=COUNTER_BAD),
    # HST Data Handbook 3 (1997), part FOC. Unit: COUNTS, in the primary HDU.
    "FOC": CAMERA(kind=COUNTER, bad_flags={1: "lost?", 2: "filled?", 4: "bad?"}, filter_keywords=FOC_FILTERS),
    # NICMOS Data Handbook 8, section 2.2 (table 2.2 of DQ bits). Unit: COUNTS/S. The image is the SCI
    # extension with EXTVER 1.
    "NICMOS": Camera(kind=RAMP, bad_flags=NICMOS_BAD, nm_per_number=10.0),
}
"""HST cameras, by instrument and detector.

The DQ extension of a drizzled file is used if it exists. The WHT extension of a drizzled file is always used.
"""

_EXPOSURE = re.compile(r"(?P<root>[a-z][a-z0-9]{5})[a-z0-9]{3}")
"""Matches a rootname `ipppssoot`: instrument (i), programme (ppp), visit (ss), observation (oo), source (t).

The names are defined in section 2.2 of https://hst-docs.stsci.edu/hstdhb.
"""
_ADVANCED = r"hst_(?P<proposal>[0-9]+)_(?P<visit>[a-z0-9]{2})_.*?"
"""Matches the start of the name of an advanced product, up to the visit.

Names of Hubble Advanced Products end with the rootname of a visit (`ipppss`) or of an exposure. Names of Hubble Legacy
products contain the visit only.
"""
_ROOT = r"_(?P<root>[a-z][a-z0-9]{3}(?P=visit))"
_ALL_FILTERS = r"(?=(?:.*_)?(?:total|detection)(?:_|$))"

_LEGACY = f"{_ADVANCED}(?:{_ROOT}(?:[a-z0-9]{{2,3}})?)?"
"""Matches the names of all products of visits and exposures. The patterns of Hubble Advanced Products are tried first,
so this pattern is used only for names of Hubble Legacy products.
"""

PRODUCTS = ProductRanking(
    names={
        "wfpc2": re.compile(r"(?P<root>u[a-z0-9]{5})[a-z0-9]{3}"),
        "calibrated": _EXPOSURE,
        "total": re.compile(f"{_ALL_FILTERS}{_ADVANCED}{_ROOT}(?:[a-z0-9]{{2,3}})?"),
        "exposure": re.compile(f"{_ADVANCED}{_ROOT}[a-z0-9]{{2,3}}"),
        "advanced": re.compile(f"{_ADVANCED}{_ROOT}"),
        "legacy total": re.compile(f"{_ALL_FILTERS}{_LEGACY}"),
        "legacy": re.compile(_LEGACY),
    },
    other_origin="calibrated",
    all_filters_origins=("total", "legacy total"),
    visit_templates=(r"\g<root>", r"\g<visit>"),
    mosaic=re.compile(r"hst_.*"),
    # All four chips of WFPC2 are exposed together, but MAST names the instrument after the chip with the target.
    single_cameras=frozenset({"WFPC2"}),
    # The preview of a single exposure is distorted and shows cosmic rays.
    no_previews=frozenset({"raw", "flt", "flc", "d0m", "d0f"}),
    # Ramp filters of ACS and WFPC2.
    tunable=re.compile(r"FR[0-9]{3}[A-Z][0-9]*"),
    # Combined files come before single exposures, because they have the highest signal-to-noise ratio.
    order={
        ("advanced", "drc"): "advanced product of the visit through one filter, corrected for charge transfer",
        ("advanced", "drz"): "advanced product of the visit through one filter",
        ("advanced", "drw"): "advanced product of the visit through one filter (WFPC2)",
        ("calibrated", "drc"): "combined image, corrected for charge transfer",
        ("calibrated", "drz"): "combined image",
        ("wfpc2", "drw"): "combined image (WFPC2)",
        ("calibrated", "crc"): "exposures with cosmic rays rejected, corrected for charge transfer",
        ("calibrated", "crj"): "exposures with cosmic rays rejected",
        ("exposure", "drc"): "one drizzled exposure, corrected for charge transfer",
        ("exposure", "drz"): "one drizzled exposure",
        ("exposure", "drw"): "one drizzled exposure (WFPC2)",
        ("calibrated", "flc"): "one exposure, corrected for charge transfer",
        ("exposure", "flc"): "one exposure, aligned, corrected for charge transfer",
        ("calibrated", "flt"): "one exposure",
        ("exposure", "flt"): "one exposure, aligned",
        ("calibrated", "mos"): "mosaic of exposures (NICMOS)",
        ("calibrated", "cal"): "one exposure (NICMOS)",
        ("wfpc2", "flt"): "one exposure (WFPC2), newest format",
        ("wfpc2", "c0m"): "one exposure (WFPC2)",
        ("wfpc2", "c0f"): "one exposure (WFPC2), older format",
        ("calibrated", "c0m"): "one exposure (WF/PC)",
        ("calibrated", "c0f"): "one exposure (WF/PC), older format",
        # Legacy products come after single exposures, because the Hubble Legacy Archive ended its calibration in 2018.
        ("legacy", "drc"): "legacy product, corrected for charge transfer",
        ("legacy", "drz"): "legacy product",
        # Until 2023, a `drz` file of WFPC2 was a quick look at one exposure, without rejection of cosmic rays. A `drw`
        # file has replaced it.
        ("wfpc2", "drz"): "quick-look mosaic of one exposure (WFPC2), superseded",
        ("total", "drc"): "all filters of the visit together, corrected for charge transfer",
        ("total", "drz"): "all filters of the visit together",
        ("total", "drw"): "all filters of the visit together (WFPC2)",
        ("legacy total", "drz"): "all filters of the visit together, legacy product",
        ("calibrated", "jpg"): "image whose kind is not stated",
    },
    # Bytes read per pixel, divided by all bytes. In a drizzled file, SCI and WHT (4 bytes each) are read and CTX (4
    # bytes) is skipped. In an exposure, SCI (4 bytes) and DQ (2 bytes) are read and ERR (4 bytes) is skipped.
    read_shares={"drz": 2 / 3, "drc": 2 / 3, "drw": 2 / 3, "flt": 0.6, "flc": 0.6},
)

HEADER = HeaderConvention(
    filter_keywords=FILTER_KEYWORDS,
    detector_keyword="DETECTOR",
    detectors={"NICMOS": ("CAMERA", "NIC")},
    target_keywords=("TARGNAME", "OBJECT"),
    # The first pair is the position of the proposer's target. The second pair is the reference point of the aperture.
    # The telescope puts the target on the reference point or at an offset from it (ACS Data Handbook, section 2.2).
    aim_keywords=(("RA_TARG", "DEC_TARG"), ("RA_APER", "DEC_APER")),
    exposure_keywords=("EXPTIME",),
    proposal_keyword="PROPOSID",
    pi_keywords=("PR_INV_F", "PR_INV_M", "PR_INV_L"),
    moving_keyword="MTFLAG",
    moving_values=frozenset({"T", "TRUE"}),
    # ATODGAIN is the measured gain of WFPC2 and STIS. CCDGAIN is the commanded gain of ACS, WFC3 and STIS. ADCGAIN is
    # the gain of NICMOS.
    gain_keywords=("ATODGAIN", "CCDGAIN", "ADCGAIN"),
    disperser=re.compile(r"(G\d{3}[A-Z]?|PR\d{3}[A-Z]?|GRISM\w*|PRISM\w*)$"),
    element_keywords=("OPT_ELEM",),
    spectrographs=frozenset({"HRS", "GHRS", "FOS", "HSP", "FGS"}),
    # SCAN_TYP is C or D for a spatial scan, which draws stars as lines.
    image_values={
        "OBSTYPE": re.compile(r"(?!SPECTR).*"),
        "FILETYPE": re.compile(r"SCI"),
        "SCAN_TYP": re.compile(r"(?![CD]$).*"),
    },
    prime_keyword="PRIMESI",
    calibration_keywords=("IMAGETYP", "TARGNAME"),
    calibration_values=frozenset({"BIAS", "DARK", "FLAT", "ZERO", "WAVECAL", "GAIN", "LINEARITY"}),
)

SEARCH = SearchColumns(
    path="hst",
    dataset="sci_data_set_name",
    columns={
        "proposal_id": "sci_pep_id",
        "instrument_name": "sci_instrume",
        "target_name": "sci_targname",
        "s_ra": "sci_ra",
        "s_dec": "sci_dec",
        "t_min": "sci_start_time",
        "t_exptime": "sci_actual_duration",
        "t_obs_release": "sci_release_date",
        "filters": "sci_spec_1234",
        "calib_level": "sci_data_set_name",
    },
    images={"sci_obs_type": "IMAGE"},
    intents={"science": {"sci_aec": "S"}, "calibration": {"sci_aec": "C"}},
    # The last character of a rootname is a digit for an association, and a letter for a single exposure.
    levels={3: re.compile(r".*[0-9]"), 2: re.compile(r".*[a-z]", re.IGNORECASE)},
    # An aperture is named after its detector, for example WFC1-CTE and UVIS2-C1K1C-SUB.
    detector="sci_aper_1234",
    detectors={"ACS": re.compile(r"WFC|HRC|SBC"), "WFC3": re.compile(r"UVIS|IR")},
    is_upper=True,
)

PINS = ArchivePins(
    released_mjd=(60_384.0, 60_387.0),  # three days of March 2024
    # The proposal has 142 files in 30 observations. One file is chosen for each visit and filter.
    proposal="17301",
    file_names=frozenset(
        f"hst_17301_{visit}_wfc3_uvis_{band}_if3x{visit}_drc.fits"
        for visit in ("01", "02", "03", "04", "05", "06")
        for band in ("f200lp", "f350lp")
    ),
    file=PinnedFile(
        proposal="9026",
        obs_id="j8cka1040",
        uri="mast:HST/product/j8cka1041_drz.fits",
        size_bytes=15_963_840,
        preview_uri="mast:HST/product/j8cka1041_drz.jpg",
    ),
    title=("13012", "Near-equinox spectro-imaging of Uranus aurorae sampling two planetary rotations"),
)

HST = Mission(
    name="hst",
    telescope="HST",
    collections=("HST", "HLA"),
    instruments=("WFC3*", "ACS*", "WFPC2*", "NICMOS*", "STIS*", "FOC*", "WFPC*"),
    products=PRODUCTS,
    cameras=CAMERAS,
    unknown_camera=CAMERA(kind="", bad_flags={1: "lost, in every HST camera"}),
    header=HEADER,
    bucket=PublicBucket(
        uri_prefix="mast:hst/product/",
        path_prefix="hst/public/",
        # A name such as `j8pu0y010_drc.fits` consists of a rootname of nine characters and the kind of file. The last
        # character of the rootname is a letter for an exposure, and a digit for a product of an association. A product
        # is in the folder of its association: `j8ck01040/j8ck01041_drz.fits`. The folder of a file `hst_...` is not
        # known.
        paths=(
            (
                re.compile(
                    r"(?P<root>(?P<programme>[a-z][a-z0-9]{3})[a-z0-9]{4})[0-9]/(?P=root)[0-9](_[a-z0-9_]+)?(\.[a-z]+)+"
                ),
                r"\g<programme>/\g<0>",
            ),
            (
                re.compile(
                    r"[^/]*/(?P<name>(?P<root>(?P<programme>[a-z][a-z0-9]{3})[a-z0-9]{5})(_[a-z0-9_]+)?(\.[a-z]+)+)"
                ),
                r"\g<programme>/\g<root>/\g<name>",
            ),
        ),
    ),
    proposals=ProposalPages(
        bulk_page="https://archive.stsci.edu/hst/proposal_abstracts.html",
        apt="hst-program-info/download/hst/apt/{}/",
        listing="hst-program-info/download/hst/list/{}/",
        page="hst-program-info/program/?program={}",
        apt_copy="hst/phase2-public/{}.apt",
        listing_copy="hst/phase2-public/{}.pro",
    ),
    ads_bibstem="hst..prop",
    licence="NASA and STScI: public domain; ESA: CC BY 4.0",
    attribution="Based on observations made with the NASA/ESA Hubble Space Telescope, and obtained from the "
    "Mikulski Archive for Space Telescopes at the Space Telescope Science Institute.",
    homepage="https://archive.stsci.edu/hst/",
    observation_page="https://archive.stsci.edu/cgi-bin/mastpreview?mission=hst&dataid={1}",
    search=SEARCH,
    pins=PINS,
    other_modes=re.compile(PRESS),
    press_collection="OPO",
)
