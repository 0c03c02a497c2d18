"""A tile's WCS alone gives the position of each of its pixels."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from synthetic_fits import starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.images.tiling import tile_file

SIZE_PX = 96
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2}
SIP |= {"A_2_0": 8e-5, "B_0_2": -5e-5, "A_1_1": 3e-5, "B_1_1": 2e-5}
"""Distortion of up to 1 px in an image of 200 px."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape_yx", "distortion"),
    [("a_drz.fits", (300, 260), {}), ("a_drz.fits", (90, 80), {}), ("a_flt.fits", (200, 160), SIP)],
)
def test_every_pixel_has_its_position_within_a_milliarcsecond(name, shape_yx, distortion, tmp_path):
    path = write_drz(tmp_path / name, starry_sky(shape_yx, num_stars=20))
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].header.update(distortion)
        whole = WCS(hdus["SCI"].header)
    settings = TileSettings(size_px=SIZE_PX, min_side_px=32, views=("native", "overview"))
    tiles = tile_file(path, "0" * 64, settings).tiles
    assert {tile.view for tile in tiles} >= {"native"}
    y, x = (axis.ravel() for axis in np.mgrid[:SIZE_PX, :SIZE_PX])
    for tile in tiles:
        found = WCS(fits.Header.fromstring(tile.geometry.wcs, sep="\n")).pixel_to_world(x, y)
        starts = (round(start / tile.shrink) for start in (tile.x0, tile.y0))  # in pixels of the tile
        at_xy = ((start + axis + 0.5) * tile.shrink - 0.5 for start, axis in zip(starts, (x, y), strict=True))
        assert found.separation(whole.pixel_to_world(*at_xy)).max() < 1 * u.mas
