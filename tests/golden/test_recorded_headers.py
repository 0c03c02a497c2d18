"""What is read from a header, for headers of each camera in which one keyword has another value, is as recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hubbleclip.fits import instruments, keywords
from hubbleclip.fits.pointing import aims_of

HST = {"TELESCOP": "HST", "EXPTIME": 100.0, "RA_TARG": 10.0, "DEC_TARG": -20.5, "RA_APER": 30.0, "DEC_APER": 40.0}
HST |= {"PHOTFLAM": 1e-19, "PHOTPLAM": 5000.0, "OBJECT": "NGC 1", "EXPSTART": 50_000.5, "DATE-OBS": "2000-01-01"}
JWST = {"TELESCOP": "JWST", "EXP_TYPE": "NRC_IMAGE", "EFFEXPTM": 5.0, "XPOSURE": 6.0, "EXPTIME": 7.0}
JWST |= {"TARG_RA": 1.0, "TARG_DEC": 2.0, "RA_TARG": 3.0, "DEC_TARG": 4.0, "TARGPROP": "M-16", "TARGNAME": "M 16"}
HEADERS: dict[str, dict[str, Any]] = {
    "WFC3": HST | {"INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F606W", "CCDGAIN": 1.5, "TARGNAME": "M-31"},
    "infrared": HST | {"INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F160W", "CCDGAIN": 2.5, "ADCGAIN": 6.5},
    "dark": HST | {"INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F160W", "IMAGETYP": "DARK"},
    "ACS": HST | {"INSTRUME": "ACS", "DETECTOR": "WFC", "FILTER1": "CLEAR1L", "FILTER2": "F814W", "CCDGAIN": 2},
    "SBC": HST | {"INSTRUME": "ACS", "DETECTOR": "SBC", "FILTER1": "F140LP", "CCDGAIN": 2},
    "WFPC2": HST | {"INSTRUME": "WFPC2", "DETECTOR": 3, "FILTER1": 44, "FILTNAM1": "F555W", "ATODGAIN": 7.0},
    "NICMOS": HST | {"INSTRUME": "NICMOS", "CAMERA": 2, "DETECTOR": "x", "FILTER": "F222M", "ADCGAIN": 6.5},
    "FOC": HST | {"INSTRUME": "FOC", "FILTNAM1": "F220W", "FILTNAM4": "F2ND"},
    "NIRCam": JWST | {"INSTRUME": "NIRCAM", "CHANNEL": "long", "DETECTOR": "MULTIPLE", "FILTER": "F356W"},
    "MIRI": JWST | {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F770W", "EXP_TYPE": "MIR_IMAGE"},
}
TEXTS = (None, "", " ", 3)
NUMBERS = (None, "7", 0, -1.5, 20)
FILTERS = ("f475w ", "F606W;CLEAR2L; f814w", "POL0V", "POL0V+F606W", "F850LP", "F098M", "FQ508N", "F322W2", "FR533N")
FILTERS += ("N/A;NA;none;Open;BLANK;CLEAR1S", "NONEW", "44", "1.5", "g141", "G1", "G800L", "PRISM2", "GRISMR", "P750L")
FILTERS += ("F200LP", "F350LP", "F600LP", "F785LP", "F657N", "F1042M", "F164N;F150W2")
VALUES: dict[str, tuple[Any, ...]] = {
    "TELESCOP": (" jwst ", "HST", "Keck", None),
    "INSTRUME": (*TEXTS, " wfc3 ", "acs/wfc", "hrs", "FGS", "NIRSPEC", "NICMOS", "NIRISS", "STIS"),
    **dict.fromkeys(("DETECTOR", "CHANNEL", "CAMERA"), (*TEXTS, "ir ", "NONE", "3")),
    **dict.fromkeys(("FILTER", "FILTER1", "FILTNAM1", "PUPIL"), (*TEXTS, *FILTERS)),
    **dict.fromkeys(("FILTER2", "FILTNAM2", "FILTNAM3", "FILTNAM4"), ("F435W", "CLEAR", "PR200L", 0)),
    "OPT_ELEM": ("MIRVIS", "G750L", None),
    **dict.fromkeys(("ATODGAIN", "CCDGAIN", "ADCGAIN", "GAIN"), NUMBERS),
    **dict.fromkeys(("EXPTIME", "XPOSURE", "EFFEXPTM"), NUMBERS),
    **dict.fromkeys(("PHOTFLAM", "PHOTPLAM", "EXPSTART"), NUMBERS),
    **dict.fromkeys(("RA_TARG", "DEC_TARG", "RA_APER", "TARG_RA", "TARG_DEC"), (*NUMBERS, True)),
    "DATE-OBS": ("1970-01-01", "2000-01-01T06:00:00", "19/05/94", None),
    "OBSTYPE": ("Spectroscopic", "IMAGING", ""),
    "FILETYPE": ("sci", "WHT", "SCIX"),
    "SCAN_TYP": ("C", "d", "N", "CD"),
    "EXP_TYPE": ("NRC_TACQ", "nis_image", "", "MIR_IMAGES"),
    "IMAGETYP": ("Dark", "EXT", "ZEROS"),
    **dict.fromkeys(("TARGNAME", "TARGPROP"), (*TEXTS, "BIAS", " M  31 ", "any", "DARK-CLOUD", "n/a")),
    "PRIMESI": (" wfc3", "COS", "nircam", ""),
}


def facts_of(cards: Mapping[str, Any]) -> dict[str, Any]:
    look = cards.get
    instrument = instruments.instrument_name(look)
    camera = instruments.camera_of(instrument)
    label = instruments.filter_name(look, camera)
    return {
        "mission": instruments.mission_of(look).name,
        "instrument": instrument,
        "kind": camera.kind,
        "filters": label,
        "each filter": instruments.filter_names(look, camera),
        "wavelength": instruments.wavelength_nm(label, instrument),
        "contrast": instruments.star_contrast(label, instrument),
        "gain": instruments.gain_of(look, camera),
        "exposure": instruments.exposure_of(look),
        "flux density": instruments.flux_density_of(look),
        "no sky": instruments.not_sky_reason(look),
        "parallel": instruments.is_parallel(look),
        "aims": aims_of(look),
        "target": keywords.target_of(cards),
        "start": keywords.start_of(cards),
    }


def test_what_headers_say_is_as_recorded(compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {}
    for name, cards in HEADERS.items():
        found[name] = before = facts_of(cards)
        for key, values in VALUES.items():
            for value in values:
                changed = facts_of(cards | {key: value})
                differences = {one: changed[one] for one in changed if changed[one] != before[one]}
                found |= {f"{name}, {key} {value!r}": differences} if differences else {}
    compare_recorded("headers.json", found)
