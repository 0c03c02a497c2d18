"""Overviews: the whole image, downsampled by area, placed on the sky."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_fits import starry_sky, wcs_header, with_sip, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.images.downsample import downsample_image, overview_shrink
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import tile_file
from hubbleclip.images.wcs import field_geometry

SHA = "ab" * 32
ALONE = TileSettings(size_px=128, views=("overview",))
IMAGE = ScienceImage(data_yx=None, valid_yx=None, chip=1)


def shares_of(length: int, shrink: float, count: int) -> np.ndarray:
    """Share of each pixel in each of the small image's: the slow, obvious way."""
    shares = np.zeros((count, length))
    for small in range(count):
        for pixel in range(length):
            last = length if small == count - 1 else (small + 1) * shrink
            shares[small, pixel] = max(0.0, min(pixel + 1, last) - max(pixel, small * shrink))
    return shares


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.floats(1.0, 6.0), st.integers(0, 9))
def test_a_pixel_is_the_mean_of_the_sound_area_that_it_covers(height, width, shrink, seed):
    rng = np.random.default_rng(seed)
    data, good = rng.normal(5, 1, (height, width)).astype(np.float32), rng.random((height, width)) > 0.3
    data[~good] = np.nan
    small = downsample_image(replace(IMAGE, data_yx=data), good, shrink)
    rows, columns = (shares_of(n, shrink, m) for n, m in zip(data.shape, small.data_yx.shape, strict=True))
    area = rows @ good @ columns.T
    total = rows @ np.where(good, data, 0) @ columns.T
    clear = np.abs(area - 0.25 * shrink**2) > 1e-3
    np.testing.assert_array_equal(small.valid_yx[clear], (area > 0.25 * shrink**2)[clear])
    seen = clear & small.valid_yx
    np.testing.assert_allclose(small.data_yx[seen], total[seen] / area[seen], rtol=2e-5)


def test_a_small_image_is_padded_not_stretched_up(tmp_path):
    path = write_drz(tmp_path / "a.fits", starry_sky((80, 100)))
    (overview,) = tile_file(path, SHA, ALONE).tiles
    (native,) = tile_file(path, SHA, TileSettings(size_px=128, views=("native",))).tiles
    assert (overview.shrink, overview.y0, overview.x0) == (1.0, native.y0, native.x0)
    np.testing.assert_array_equal(decode_own_png(overview.encoded), decode_own_png(native.encoded))
    assert overview.tile_id != native.tile_id


@pytest.mark.parametrize("shape_yx", [(700, 1100), (900, 500), (1030, 1030)])
@pytest.mark.parametrize("distort", [lambda header: header, with_sip])
def test_centre_and_corners_of_the_field_are_met_within_a_tenth_of_a_pixel(shape_yx, distort):
    truth, shrink = WCS(distort(wcs_header(shape_yx))), overview_shrink(shape_yx, 128)
    height, width = (round(side / shrink + 0.4999) for side in shape_yx)
    start_yx = (height - 128) // 2, (width - 128) // 2
    where = field_geometry(truth, shape_yx, shrink, start_yx)
    own = WCS(fits.Header.fromstring(where.wcs, sep="\n"))
    corners = np.array(where.corners_deg).reshape(4, 2)
    edges_yx = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * shape_yx
    np.testing.assert_allclose(truth.all_world2pix(corners, 0)[:, ::-1], edges_yx - 0.5, atol=0.01)
    np.testing.assert_allclose(own.all_world2pix(corners, 0)[:, ::-1], edges_yx / shrink - start_yx - 0.5, atol=0.1)
    centre_yx = np.array(shape_yx) / 2 / shrink - start_yx - 0.5
    np.testing.assert_allclose(own.all_world2pix(where.ra_deg, where.dec_deg, 0), centre_yx[::-1], atol=0.1)
    assert where.pixel_scale_arcsec == pytest.approx(0.05 * shrink, rel=1e-3)


def test_both_directions_of_a_distortion_are_scaled():
    shape_yx, shrink, header = (700, 1100), 4.0, with_sip(wcs_header((700, 1100)))
    header.update({"AP_ORDER": 2, "BP_ORDER": 2, "AP_2_0": -8e-6, "BP_0_2": 5e-6, "AP_1_0": 1e-4})
    where = field_geometry(WCS(header), shape_yx, shrink, (0, 0))
    own = fits.Header.fromstring(where.wcs, sep="\n")
    scaled = {"A_2_0": 4 * 8e-6, "B_0_2": -4 * 5e-6, "AP_2_0": -4 * 8e-6, "BP_0_2": 4 * 5e-6, "AP_1_0": 1e-4}
    assert {key: own[key] for key in scaled} == pytest.approx(scaled)
