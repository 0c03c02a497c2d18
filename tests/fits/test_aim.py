"""Aim tiles: native pixels about the point at which the exposure was aimed."""

from __future__ import annotations

import pytest
from astropy.io import fits
from astropy.wcs import WCS
from synthetic_fits import starry_sky, wcs_header, with_sip, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.fits.pointing import aim_point
from hubbleclip.images.tiling import tile_file

SHA, SHAPE = "ab" * 32, (700, 1100)
TRUTH = WCS(wcs_header(SHAPE))
AIM, BOTH = (TileSettings(size_px=128, views=views) for views in (("aim",), ("native", "aim")))


def sky_at(x, y):
    return tuple(float(degrees) for degrees in TRUTH.all_pix2world(x, y, 0))


def write(path, **aims):
    cards = {
        f"{axis}_{kind}": degrees
        for kind, place in aims.items()
        for axis, degrees in zip(("RA", "DEC"), place, strict=True)
    }
    return write_drz(path, starry_sky(SHAPE), primary=cards)


@pytest.mark.parametrize(
    ("aims", "expected"),
    [
        ({}, (349.5, 549.5)),
        ({"APER": (10, 20)}, (20, 10)),
        ({"TARG": (5000, 20), "APER": (10, 20)}, (20, 10)),
        ({"TARG": (5000, 20)}, (349.5, 549.5)),
        ({"TARG": (30, 40), "APER": (10, 20)}, (40, 30)),
    ],
)
def test_the_target_goes_before_the_aperture_and_that_before_the_reference_pixel(aims, expected):
    places = [sky_at(*aims[kind]) for kind in ("TARG", "APER") if kind in aims]
    assert aim_point(places, TRUTH, SHAPE) == pytest.approx(expected, abs=0.01)


def test_an_image_whose_aim_lies_outside_is_left_out_for_that(tmp_path):
    path = write(tmp_path / "a.fits", TARG=sky_at(5000, 20))
    with fits.open(path, "update") as hdus:
        hdus["SCI"].header["CRPIX1"] = 5000.0
    result = tile_file(path, SHA, AIM)
    assert [(r.entity_id, r.reason) for r in result.rejections] == [(f"{SHA}:1:aim", "no_aim")]
    assert "lie outside" in result.rejections[0].detail
    assert [r.reason for r in tile_file(path, SHA, BOTH).rejections if r.entity_id.endswith("aim")] == []


@pytest.mark.parametrize(
    ("place_yx", "is_inside"),
    [
        ((-0.49, 5), True),
        ((-0.51, 5), False),
        ((5, -0.49), True),
        ((5, -0.51), False),
        ((39.49, 5), True),
        ((39.51, 5), False),
        ((5, 59.49), True),
        ((5, 59.51), False),
        ((45, 5), False),
        ((5, 45), True),
    ],
)
def test_a_point_lies_in_the_image_up_to_the_outer_edges_of_its_pixels(place_yx, is_inside):
    wcs = WCS(wcs_header((40, 60)))
    wcs.wcs.crpix = 1000.0, 1000.0
    aim = tuple(float(degrees) for degrees in wcs.all_pix2world(place_yx[1], place_yx[0], 0))
    found = aim_point([aim], wcs, (40, 60))
    assert found == (pytest.approx(place_yx, abs=1e-3) if is_inside else None)


@pytest.mark.parametrize(
    ("crpix", "expected"),
    [((31.0, 11.5), (10.5, 30.0)), ((0.6, 1.0), (0.0, -0.4)), ((60.4, 40.4), (39.4, 59.4)), ((60.6, 1.0), None)],
)
def test_the_reference_pixel_counts_from_one_in_x_and_y(crpix, expected):
    wcs = WCS(wcs_header((40, 60)))
    wcs.wcs.crpix = crpix
    assert aim_point([], wcs, (40, 60)) == (pytest.approx(expected) if expected else None)


def test_a_wcs_may_have_the_declination_first():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = (
        ("DEC--TAN", "RA---TAN"),
        (2.0, 150.0),
        (1e-5, -1e-5),
        (1, 1),
    )
    dec, ra = wcs.all_pix2world(7, 31, 0)
    assert aim_point([(float(ra), float(dec))], wcs, (40, 60)) == pytest.approx((31, 7), abs=1e-3)


@pytest.mark.parametrize("distort", [lambda header: header, with_sip])
def test_a_position_on_the_other_side_of_the_sky_is_no_pixel(distort):
    wcs, antipode = WCS(distort(wcs_header(SHAPE))), (150.1 + 180, -2.2)
    near = tuple(float(degrees) for degrees in wcs.all_pix2world(10, 20, 0))
    assert aim_point([antipode, near], wcs, SHAPE) == pytest.approx((20, 10), abs=0.01)
