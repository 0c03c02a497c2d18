"""Positions of tiles: every form of header, planes of a cube, lookup tables, RA 0, the poles, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from synthetic_fits import wcs_header

from hubbleclip.images.reader import read_science_images
from hubbleclip.images.wcs import PLANE_COLUMNS, field_geometry, pixel_area_deg2, read_wcs, tile_geometries

PLAIN = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRPIX1": 40.0,
    "CRPIX2": 70.0,
    "CRVAL1": 150.0,
    "CRVAL2": 2.0,
    "CD1_1": -2e-3,
    "CD1_2": 5e-4,
    "CD2_1": 4e-4,
    "CD2_2": 3e-3,
}
SCALES = {"CDELT1": -2e-3, "CDELT2": 3e-3}
FORMS = {
    "plain": {},
    "pole of the projection": {"LONPOLE": 120.0},
    "SIP of order 4": {
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "A_ORDER": 4,
        "B_ORDER": 4,
        "A_4_0": 1e-7,
        "B_1_3": 2e-7,
    },
    "parameters of the projection": {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_2": 4.0},
    "rotation": SCALES | {"CROTA2": 25.0},
    "matrix of old headers": SCALES | {"PC001001": 0.9, "PC001002": -0.3, "PC002001": 0.3, "PC002002": 0.9},
    "FK5 of 1975": {"RADESYS": "FK5", "EQUINOX": 1975.0},
    "FK4": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "FK4 of 2000": {"RADESYS": "FK4", "EQUINOX": 2000.0},
    "epoch of old headers": {"EPOCH": 1950.0},
    "RA 0": {"CRVAL1": 0.0, "CRVAL2": -40.0},
    "Galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 96.3373, "CRVAL2": -60.1886},
    "pole": {"CRVAL2": 90.0},
    "pole in the south": {"CRVAL2": -89.95},
    "seconds of arc": {
        "CUNIT1": "arcsec",
        "CUNIT2": "arcsec",
        "CRVAL1": 540_000.0,
        "CRVAL2": 7200.0,
        "CD1_1": -7.2,
        "CD1_2": 1.8,
        "CD2_1": 1.44,
        "CD2_2": 10.8,
    },
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.0, "CRVAL2": 150.0},
}


def header_of(cards):
    """The plain header with these cards, which has a matrix unless it has CDELT."""
    merged = PLAIN | cards
    return fits.Header(
        [item for item in merged.items() if "CDELT1" not in cards or not item[0].startswith(("CD1_", "CD2_"))]
    )


def read(header):
    image = fits.ImageHDU(np.zeros((120, 100), np.float32), header)
    return read_wcs(fits.HDUList([fits.PrimaryHDU(), image]), 1, 0)


@pytest.mark.parametrize("form", FORMS)
def test_the_corners_and_the_centre_are_those_of_astropy_whatever_the_form_of_the_header(form):
    header = header_of(FORMS[form])
    (where,) = tile_geometries(read(header), [(20, 45)], 40)
    sky = WCS(header).pixel_to_world([44.5, 84.5, 84.5, 44.5, 64.5], [19.5, 19.5, 59.5, 59.5, 39.5]).icrs
    expected = np.column_stack([sky.ra.deg, sky.dec.deg])
    found = np.array([*where.corners_deg, where.ra_deg, where.dec_deg]).reshape(5, 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_only_tiles_whose_corners_are_all_on_the_sky_have_a_position():
    disc = WCS(header_of({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": -1.0, "CDELT2": 1.0}))
    disc.wcs.crpix = 40.5, 40.5  # half the sky is a disc with a radius of 57 px
    found = tile_geometries(disc, [(20, 70), (20, 20), (190, 190)], 40)
    assert [where is not None for where in found] == [False, True, False]
    assert field_geometry(disc, (400, 400), 4.0, (0, 0)) is None
    assert field_geometry(disc, (80, 80), 4.0, (0, 0)) is not None


def test_each_plane_of_a_cube_has_the_wcs_of_its_row_in_the_table(tmp_path):
    first = dict(zip(PLANE_COLUMNS, (20.0, -30.0, 25.0, 35.0, -1e-5, 1e-6, 2e-6, 3e-5), strict=True))
    rows = [{key: value * (1 + 0.1 * k) for key, value in first.items()} for k in range(3)]
    header = fits.Header({"INSTRUME": "WFPC2", "FILTNAM1": "F606W"} | PLAIN | rows[0])
    columns = [fits.Column(name, "D", array=[row[name] for row in rows]) for name in PLANE_COLUMNS]
    cube = fits.PrimaryHDU(np.random.default_rng(0).normal(5, 1, (4, 60, 50)).astype(np.float32), header)
    fits.HDUList([cube, fits.BinTableHDU.from_columns(columns)]).writeto(tmp_path / "u_c0f.fits")
    *placed, last = read_science_images(tmp_path / "u_c0f.fits", 10**6)
    for image, row in zip(placed, rows, strict=True):
        expected = WCS(header_of(row)).all_pix2world(7, 31, 0)
        np.testing.assert_allclose(image.wcs.all_pix2world(7, 31, 0), expected, rtol=0, atol=1e-10)
    assert last.wcs is None  # the table has no row for it
    data = (tmp_path / "u_c0f.fits").read_bytes().replace(b"TTYPE4  = 'CRPIX2  '", b"TTYPE4  =          0")
    (tmp_path / "v_c0f.fits").write_bytes(data)
    placed = [image.wcs is not None for image in read_science_images(tmp_path / "v_c0f.fits", 10**6)]
    assert placed == [True, False, False, False]


@pytest.mark.parametrize("axes", [("MALN", "MALT"), ("HPLN", "HPLT"), ("XXLN", "XXLT")])
def test_a_wcs_on_another_body_than_the_sky_gives_tiles_without_a_place(axes):
    wcs = WCS(header_of({"CTYPE1": f"{axes[0]}-TAN", "CTYPE2": f"{axes[1]}-TAN"}))
    assert tile_geometries(wcs, [(0, 0)], 64)[0] is None


@pytest.mark.parametrize(("kind", "key", "table"), [("CPDIS", "DP", "WCSDVARR"), ("D2IMDIS", "D2IM", "D2IMARR")])
def test_lookup_tables_that_change_over_the_image_shift_each_tile_by_their_mean(kind, key, table):
    science = fits.ImageHDU(np.zeros((700, 1100), np.float32), wcs_header((700, 1100)), name="SCI")
    hdus = [fits.PrimaryHDU(), science]
    steps = {1: 0.3 * np.arange(6)[None, :], 2: -0.25 * np.arange(6)[:, None]}
    for axis, shifts in steps.items():
        science.header[f"{kind}{axis}"] = "Lookup"
        for name, value in (("EXTVER", axis), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
            science.header.append((f"{key}{axis}", f"{name}: {value}"), end=True)
        values = fits.ImageHDU((shifts + np.zeros((6, 6))).astype(np.float32), name=table, ver=axis)
        values.header.update({"CRVAL1": 1, "CRVAL2": 1, "CRPIX1": 1, "CRPIX2": 1, "CDELT1": 220, "CDELT2": 220})
        hdus.append(values)
    wcs = read_wcs(fits.HDUList(hdus), 1, 0)
    starts = [(0, 38), (188, 550)]
    for where, (y0, x0) in zip(tile_geometries(wcs, starts, 512), starts, strict=True):
        own = WCS(fits.Header.fromstring(where.wcs, sep="\n"))
        without = WCS(wcs_header((700, 1100))).all_world2pix(where.ra_deg, where.dec_deg, 0)
        assert min(np.abs(np.array(without) - (x0 + 255.5, y0 + 255.5))) > 0.2
        np.testing.assert_allclose(own.all_world2pix(where.ra_deg, where.dec_deg, 0), 255.5, atol=0.05)
    sip = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8e-4}
    science.header.update(sip)  # it cannot be inverted far from the centre, and a tile there costs no other its shift
    distorted = read_wcs(fits.HDUList(hdus), 1, 0)
    near, far = tile_geometries(distorted, [(188, 400), (188, 1900)], 256)
    assert [near] == tile_geometries(distorted, [(188, 400)], 256)
    assert WCS(fits.Header.fromstring(far.wcs, sep="\n")).wcs.crpix[0] == 550.5 - 1900
    hdus[-1].data[:] = np.nan
    plain = read_wcs(fits.HDUList(hdus), 1, 0)
    assert (plain.cpdis2, plain.det2im2) == (None, None)


@pytest.mark.parametrize("crpix", [(1234.5678901234567, 0.1 + 0.2), (-1e-7 / 3, 50.5), (1e17, -2048.123456789012)])
def test_the_header_of_a_tile_has_the_cards_that_astropy_writes_and_no_dates(crpix):
    wcs = WCS(wcs_header((100, 100)))
    wcs.wcs.crpix, wcs.wcs.dateobs = crpix, "2001-01-01"
    for where, (y0, x0) in zip(tile_geometries(wcs, [(0, 0), (-206, 13)], 64), [(0, 0), (-206, 13)], strict=True):
        header = fits.Header.fromstring(where.wcs, sep="\n")
        for axis, value in ((1, crpix[0] - x0), (2, crpix[1] - y0)):
            card = fits.Card(f"CRPIX{axis}", value, header.comments[f"CRPIX{axis}"])
            assert str(card).rstrip() in where.wcs.split("\n")
        assert not {"DATE-OBS", "MJD-OBS", "MJDREF"} & set(header)


@pytest.mark.parametrize(
    "form", ["plain", "rotation", "matrix of old headers", "seconds of arc", "declination first", "SIP of order 4"]
)
def test_the_area_and_the_side_of_a_pixel_are_those_of_astropy(form):
    wcs = WCS(header_of(FORMS[form]))
    area = proj_plane_pixel_area(wcs.celestial)
    assert pixel_area_deg2(wcs) == pytest.approx(area)
    for where, shrink in (
        (tile_geometries(wcs, [(20, 45)], 40)[0], 1),
        (field_geometry(wcs, (120, 100), 4.0, (0, 0)), 4),
    ):
        assert where.pixel_scale_arcsec == pytest.approx(3600 * area**0.5 * shrink)


@pytest.mark.parametrize(
    ("order", "is_read"), [(4, True), (9, True), (10, False), (-1, False), (2.5, False), ("two", False)]
)
@pytest.mark.parametrize("key", ["A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"])
def test_an_order_of_a_distortion_is_at_most_nine(key, order, is_read):
    inverse = {"AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": 1e-9, "BP_2_0": 1e-9}
    assert (read(header_of(FORMS["SIP of order 4"] | inverse | {key: order})) is not None) == is_read


@pytest.mark.parametrize("cards", [{"D2IMDIS1": "Polynomial"}, {"CPDIS1": "Lookup"}])
def test_a_distortion_that_astropy_cannot_read_is_no_failure(cards):
    assert read(header_of(cards)) is not None


def test_cards_of_other_things_do_not_change_the_wcs():
    others = {"CTYPE3": "WAVE", "CRVAL3": 5.0, "CDELT3": 1.0, "CD3_3": 2.0}
    others |= {"VAFACTOR": 1.00001, "DATE-OBS": "2001-01-01", "CTYPE1A": "LINEAR"}
    wcs = read(header_of(others))
    np.testing.assert_array_equal(wcs.all_pix2world(7, 31, 0), WCS(header_of({})).all_pix2world(7, 31, 0))
    assert wcs.naxis == 2


def test_a_wcs_that_maps_all_pixels_to_one_place_or_to_none_is_none():
    for cards in (
        {key: 0.0 for key in PLAIN if key.startswith("CD")},
        {"CTYPE2": "RA---TAN"},
        {"CTYPE1": "", "CTYPE2": ""},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
    ):
        assert read(header_of(cards)) is None
    header = header_of(FORMS["SIP of order 4"] | {"AP_ORDER": 2, "BP_ORDER": 2})
    header.append(fits.Card.fromstring("AP_2_0  =                1E400"))
    assert read(header) is None


def test_a_field_without_matrix_scales_its_cdelt():
    where = field_geometry(WCS(header_of(SCALES)), (120, 100), 4.0, (-3, 5))
    own = WCS(fits.Header.fromstring(where.wcs, sep="\n"))
    np.testing.assert_allclose(
        own.all_world2pix(where.ra_deg, where.dec_deg, 0), (100 / 8 - 5.5, 120 / 8 + 2.5), atol=1e-6
    )
