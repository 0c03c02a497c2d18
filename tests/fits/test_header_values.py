"""What the keywords of a header mean: instrument, filters, gain, exposure, flux, and whether it is the sky at all."""

from __future__ import annotations

import numpy as np
import pytest

from hubbleclip.fits.instruments import (
    CAMERAS,
    blind_parts,
    camera_of,
    exposure_of,
    filter_name,
    filter_names,
    flux_density_of,
    gain_of,
    instrument_name,
    mission_of,
    not_sky_reason,
    wavelength_nm,
)
from hubbleclip.fits.pointing import aims_of
from hubbleclip.missions import MISSIONS

WFC, JWST = CAMERAS["ACS/WFC"], {"TELESCOP": "JWST"}


@pytest.mark.parametrize(("telescope", "name"), [("HST", "hst"), (" jwst ", "jwst"), ("Keck", "hst"), (None, "hst")])
def test_the_mission_is_that_of_the_telescope_and_hubble_for_an_unknown_one(telescope, name):
    assert mission_of({"TELESCOP": telescope}.get) is MISSIONS[name]


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"INSTRUME": " wfc3 ", "DETECTOR": "uvis "}, "WFC3/UVIS"),
        ({"INSTRUME": "ACS"}, "ACS"),
        ({"INSTRUME": "ACS", "DETECTOR": " "}, "ACS"),
        ({"INSTRUME": "acs/wfc", "DETECTOR": "HRC"}, "ACS/WFC"),
        ({"INSTRUME": "WFPC2", "DETECTOR": 3}, "WFPC2"),
        ({"INSTRUME": "WFPC2", "DETECTOR": "3"}, "WFPC2"),
        ({"INSTRUME": "NICMOS", "CAMERA": 2}, "NICMOS/NIC2"),
        ({"INSTRUME": "NICMOS", "CAMERA": "x", "DETECTOR": "y"}, "NICMOS"),
        ({"INSTRUME": "NICMOS"}, "NICMOS"),
        ({"DETECTOR": "WFC"}, None),
        ({"INSTRUME": ""}, None),
        (JWST | {"INSTRUME": "NIRCAM", "CHANNEL": "long", "DETECTOR": "MULTIPLE"}, "NIRCAM/LONG"),
        (JWST | {"INSTRUME": "NIRISS", "DETECTOR": "NIS"}, "NIRISS"),
        (JWST | {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE"}, "MIRI"),
    ],
)
def test_an_instrument_is_named_with_its_detector_if_that_has_a_name(cards, name):
    assert instrument_name(cards.get) == name


def test_a_camera_is_found_by_its_full_name_then_by_its_instrument():
    assert camera_of("WFC3/IR") is CAMERAS["WFC3/IR"]
    assert camera_of("NICMOS/NIC2") is CAMERAS["NICMOS"]
    for name in ("ACS", "ACS/NONE", "", None):
        assert camera_of(name) is MISSIONS["hst"].unknown_camera


@pytest.mark.parametrize(
    ("cards", "names"),
    [
        ({"FILTER": " f606w "}, ("F606W",)),
        ({"FILTER": "F606W;CLEAR2L; f814w"}, ("F606W", "F814W")),
        ({"FILTER1": "F606W", "FILTER2": "F606W"}, ("F606W",)),
        ({"FILTER": "CLEAR", "FILTER1": "F435W"}, ("F435W",)),
        ({"FILTER": "F606W", "FILTER1": "F435W"}, ("F606W",)),
        ({"FILTER1": "F435W", "FILTNAM1": "F555W"}, ("F435W",)),
        ({"FILTER1": 44, "FILTER2": 0, "FILTNAM1": "", "FILTNAM2": "F555W"}, ("F555W",)),
        ({"FILTER": "44", "FILTER1": "1.5"}, ()),
        ({"FILTER": "N/A;NA;none;Open;BLANK;CLEAR1S"}, ()),
        ({"FILTER": "NONEW"}, ("NONEW",)),
        ({}, ()),
        (JWST | {"PUPIL": "F164N", "FILTER": "F150W2", "FILTER1": "F1"}, ("F164N", "F150W2")),
        (JWST | {"PUPIL": "CLEAR", "FILTER": "F356W"}, ("F356W",)),
        (JWST | {"PUPIL": "F150W", "FILTER": "CLEAR"}, ("F150W",)),
    ],
)
def test_the_filters_are_those_of_the_first_group_that_names_one(cards, names):
    assert filter_names(cards.get, WFC) == names
    assert filter_name(cards.get, WFC) == ("+".join(names) or None)


WAVELENGTHS_NM = {
    "ACS/WFC": {"f606w": 606, "POL0V+F606W+F814W": 606, "F606W+POL0V": 606, "F850LP": 904, "POL0V": None},
    "ACS/SBC": {"F140LP": 140},
    "ACS/NONE": {"F606W": None},
    "WFC3/UVIS": {"F657N": 657, "FQ508N": 508, "F200LP": 488, "F350LP": 585, "F600LP": 744, "F785LP": 866},
    "WFC3/IR": {"F160W": 1600, "F098M": 980},
    "NICMOS/NIC2": {"F222M": 2220},
    "WFPC2": {"FR533N": 533, "F1042M": 1042},
    None: {None: None},
    "NIRCAM/LONG": {"F356W": 3560},
    "NIRCAM/SHORT": {"F164N+F150W2": 1640},
    "NIRCAM/IMAGE": {"F322W2": 3247},
    "NIRISS": {"F090W": 900},
    "MIRI": {"F770W": 7700},
    "MIRI/IMAGE": {"F1500W": 15000},
}


@pytest.mark.parametrize("instrument", WAVELENGTHS_NM)
def test_a_wavelength_is_that_of_the_first_filter_with_a_number_whatever_its_case(instrument):
    expected = WAVELENGTHS_NM[instrument]
    assert {name: wavelength_nm(name, instrument) for name in expected} == expected


@pytest.mark.parametrize(
    ("cards", "first"),
    [
        ({}, (0, 0)),
        ({"LTV1": 19.0, "LTV2": 20}, (20, 19)),
        ({"LTV1": -7.0, "LTV2": -1.5}, (-1, -7)),
        ({"LTV1": "19"}, (0, 0)),
    ],
)
def test_light_falls_on_the_rows_and_columns_from_the_first_that_the_header_gives(cards, first):
    camera, seen_yx = CAMERAS["ACS/HRC"], np.ones((1044, 1062), bool)
    for blind in blind_parts(cards.get, camera, (1044, 1062)):
        seen_yx[blind] = False
    y, x = first
    expected = np.zeros(seen_yx.shape, bool)
    expected[max(y, 0) : max(y, 0) + 1024, max(x, 0) : max(x, 0) + 1024] = True
    np.testing.assert_array_equal(seen_yx, expected)


def test_the_gap_between_two_amplifiers_is_blind():
    camera = CAMERAS["WFC3/UVIS"]
    seen_yx = np.ones(camera.raw_yx, bool)
    for blind in blind_parts({"LTV1": 25.0, "LTV2": 19.0}.get, camera, camera.raw_yx):
        seen_yx[blind] = False
    assert np.flatnonzero(seen_yx.any(axis=1))[[0, -1]].tolist() == [19, 2069]
    columns = np.flatnonzero(seen_yx.any(axis=0))
    assert (columns[0], columns[-1]) == (25, 4180)
    assert sorted(set(range(25, 4181)) - set(columns.tolist())) == list(range(2073, 2133))


@pytest.mark.parametrize("shape_yx", [(1044, 1061), (1024, 1024), (1062, 1044)])
def test_only_a_raw_full_frame_has_blind_parts(shape_yx):
    assert blind_parts({"LTV1": 19.0}.get, CAMERAS["ACS/HRC"], shape_yx) == []
    assert blind_parts({}.get, CAMERAS["WFPC2"], (800, 800)) == []


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"ADCGAIN": 6.5}, 6.5),
        ({"CCDGAIN": 2, "ADCGAIN": 6.5}, 2.0),
        ({"ATODGAIN": 7.0, "CCDGAIN": 2}, 7.0),
        ({"ATODGAIN": 0.0, "CCDGAIN": 2}, 2.0),
        ({"ATODGAIN": "7", "CCDGAIN": 2}, 2.0),
        ({"CCDGAIN": 0}, None),
        ({"GAIN": 2}, None),
    ],
)
def test_the_gain_is_the_first_positive_number(cards, gain):
    assert gain_of(cards.get, WFC) == gain
    assert gain_of(cards.get, CAMERAS["ACS/SBC"]) == 1.0  # a photon counter counts photons


@pytest.mark.parametrize(
    ("flam", "pivot", "jy"),
    [
        (1e-19, 5000.0, 1e-19 * 5000.0**2 * 1e23 / 2.99792458e18),
        (0.0, 5000.0, None),
        (-1e-19, 5000.0, None),
        (1e-19, 0.0, None),
        (None, 5000.0, None),
        (1e-19, None, None),
        ("1e-19", 5000.0, None),
        (1, 2, 4e23 / 2.99792458e18),
    ],
)
def test_a_flux_density_needs_two_positive_numbers(flam, pivot, jy):
    found = flux_density_of({"PHOTFLAM": flam, "PHOTPLAM": pivot}.get)
    assert found == (None if jy is None else pytest.approx(jy))


@pytest.mark.parametrize(
    ("cards", "exposure_s"),
    [
        ({"EXPTIME": 100}, 100.0),
        ({"EXPTIME": 0.0}, 0.0),
        ({"EXPTIME": "100"}, None),
        ({}, None),
        (JWST | {"EFFEXPTM": 5.0, "XPOSURE": 6.0, "EXPTIME": 7.0}, 5.0),
        (JWST | {"XPOSURE": 6.0, "EXPTIME": 7.0}, 6.0),
        (JWST | {"EFFEXPTM": "?", "EXPTIME": 7.0}, 7.0),
    ],
)
def test_the_exposure_time_is_the_first_number_of_its_keywords(cards, exposure_s):
    assert exposure_of(cards.get) == exposure_s


@pytest.mark.parametrize(
    ("cards", "reason", "detail"),
    [
        ({}, None, ""),
        ({"INSTRUME": "ACS", "FILTER1": "F606W", "OBSTYPE": "IMAGING", "FILETYPE": "sci"}, None, ""),
        ({"INSTRUME": " hrs"}, "not_an_image", "files of HRS are not used"),
        ({"INSTRUME": "FGS"}, "not_an_image", "files of FGS are not used"),
        ({"OBSTYPE": "Spectroscopic"}, "not_an_image", "OBSTYPE is spectroscopic"),
        ({"FILETYPE": "WHT"}, "not_an_image", "FILETYPE is wht"),
        ({"FILETYPE": "SCIX"}, "not_an_image", "FILETYPE is scix"),
        ({"FILTER": "g141"}, "not_an_image", "seen through g141"),
        ({"FILTER2": "PR200L"}, "not_an_image", "seen through PR200L"),
        ({"OPT_ELEM": "G750L"}, "not_an_image", "seen through G750L"),
        ({"OPT_ELEM": "MIRVIS"}, None, ""),
        ({"SCAN_TYP": "C"}, "not_an_image", "SCAN_TYP is c"),
        ({"SCAN_TYP": "N"}, None, ""),
        ({"INSTRUME": "FOC", "FILTNAM3": "PRISM1"}, "not_an_image", "seen through PRISM1"),
        ({"INSTRUME": "FOC", "FILTNAM4": "PRISM2"}, "not_an_image", "seen through PRISM2"),
        ({"FILTER": "F606W", "FILTER1": "G800L"}, "not_an_image", "seen through G800L"),
        ({"FILTER": "G1"}, None, ""),
        ({"IMAGETYP": "Dark"}, "calibration", "a dark image"),
        ({"TARGNAME": "BIAS"}, "calibration", "a bias image"),
        ({"IMAGETYP": "EXT", "TARGNAME": "FLAT"}, "calibration", "a flat image"),
        ({"TARGNAME": "DARK-CLOUD"}, None, ""),
        ({"IMAGETYP": "DARK", "FILTER": "G141"}, "not_an_image", "seen through"),
        (JWST | {"EXP_TYPE": "NRC_IMAGE"}, None, ""),
        (JWST | {"EXP_TYPE": "NRC_TACQ"}, "not_an_image", "EXP_TYPE is nrc_tacq"),
        (JWST | {"INSTRUME": "NIRSPEC"}, "not_an_image", "NIRSPEC"),
        (JWST | {"PUPIL": "GRISMR"}, "not_an_image", "GRISMR"),
        (JWST | {"FILTER": "G141"}, None, ""),
        ({"EXP_TYPE": "NRC_TACQ"}, None, ""),
    ],
)
def test_what_is_no_image_of_the_sky_has_a_reason_and_a_word_about_it(cards, reason, detail):
    found = not_sky_reason(cards.get)
    assert (found and found[0]) == reason
    assert found is None or detail in found[1]


def test_the_aims_are_the_pairs_of_numbers_in_their_order():
    cards = {"RA_TARG": 10, "DEC_TARG": -20.5, "RA_APER": 30.0, "DEC_APER": 40.0}
    assert aims_of(cards.get) == ((10.0, -20.5), (30.0, 40.0))
    for key, value in (("RA_TARG", None), ("DEC_TARG", "-20"), ("RA_TARG", True), ("DEC_TARG", False)):
        assert aims_of((cards | {key: value}).get) == ((30.0, 40.0),)
    assert aims_of((JWST | {"TARG_RA": 1.0, "TARG_DEC": 2.0} | cards).get) == ((1.0, 2.0),)
