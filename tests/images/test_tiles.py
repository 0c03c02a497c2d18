from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from synthetic_fits import starry_sky, wcs_header, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.encode import decode_png
from hubbleclip.images.normalize import small_object
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.tiling import cut_tiles, plan_grid, tile_file

SHA = "ab" * 32
SETTINGS = TileSettings(views=("native",))


def levels_of(tile):
    """Levels of a tile in the order of FITS: the picture has the lowest row last."""
    return decode_png(tile.encoded)[::-1]


@given(st.integers(1, 6000), st.integers(32, 600), st.integers(0, 31))
def test_the_grid_covers_an_axis_but_for_an_eighth_of_a_tile_with_the_fewest_tiles(length, size, overlap):
    starts = [x0 for _, x0 in plan_grid((size, length), size, overlap)]
    if length <= size:
        assert starts == [(length - size) // 2]
        return
    margin = int(size * 0.25) // 2 + 1
    assert 0 <= starts[0] <= margin and length - margin <= starts[-1] + size <= length
    assert all(overlap <= a + size - b for a, b in itertools.pairwise(starts))
    fewer = len(starts) - 1
    assert fewer == 0 or fewer * (size - overlap) + overlap + int(size * 0.25) < length


def test_a_slightly_larger_image_gives_one_centred_tile():
    assert plan_grid((560, 639), 512, 0) == [(24, 63)]


@given(st.integers(1, 3000), st.integers(32, 600), st.integers(1, 900))
def test_a_stride_sets_the_grid_exactly_and_leaves_less_than_a_step(length, size, stride):
    starts = [x0 for _, x0 in plan_grid((size, length), size, 0, stride)]
    assert all(b - a == stride for a, b in itertools.pairwise(starts))
    if length >= size:
        assert starts[0] >= 0 and starts[-1] + size <= length
        assert length - (starts[-1] - starts[0] + size) < stride


def test_every_pixel_of_every_tile_is_the_files_own(tmp_path):
    data = starry_sky((700, 1100))
    (image,) = read_science_images(write_drz(tmp_path / "a.fits", data), 10**7)
    result = cut_tiles([image], SHA, SETTINGS)
    assert [(t.y0, t.x0) for t in result.tiles] == [(0, 38), (0, 550), (188, 38), (188, 550)]
    for tile in result.tiles:
        window = data[tile.y0 : tile.y0 + 512, tile.x0 : tile.x0 + 512]
        s = tile.stretch
        scaled = np.arcsinh(np.clip(window.astype(float) - s.black, 0, s.white - s.black) / s.softening)
        expected = 255 * scaled / np.arcsinh((s.white - s.black) / s.softening)
        assert np.abs(levels_of(tile) - expected).max() < 0.51


def galaxy_sky(shape_yx, centre_yx, radius_px):
    """A sky of 5 with noise of sigma 1, and a galaxy whose surface brightness falls by e per radius."""
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]]
    light = 500 * np.exp(-np.hypot(y - centre_yx[0], x - centre_yx[1]) / radius_px)
    return (np.random.default_rng(1).normal(5, 1, shape_yx) + light).astype(np.float32)


def test_a_small_object_gets_a_smaller_tile_of_the_same_pixels(tmp_path):
    path = write_drz(tmp_path / "a.fits", galaxy_sky((480, 500), (150, 320), 10))
    whole, small = (
        tile_file(path, SHA, SETTINGS.model_copy(update={"object_scale": on})).tiles[0] for on in (False, True)
    )
    assert (whole.size_px, small.view, small.shrink) == (512, "native", 1.0)
    assert 80 <= small.size_px <= 200 and levels_of(small).shape == (small.size_px, small.size_px)
    assert abs(small.y0 + small.size_px / 2 - 150) < 5 and abs(small.x0 + small.size_px / 2 - 320) < 5
    top, left = small.y0 - whole.y0, small.x0 - whole.x0
    np.testing.assert_array_equal(
        levels_of(small), levels_of(whole)[top : top + small.size_px, left : left + small.size_px]
    )
    own = WCS(fits.Header.fromstring(small.geometry.wcs, sep="\n"))
    ra, dec = WCS(wcs_header((480, 500))).all_pix2world(320, 150, 0)
    np.testing.assert_allclose(own.all_world2pix(ra, dec, 0), [320 - small.x0, 150 - small.y0], atol=0.1)


@pytest.mark.parametrize("shape_yx", [(60, 400), (400, 60)])
def test_a_long_object_in_an_oblong_image_is_whole(shape_yx):
    data = np.zeros(shape_yx, np.float32)
    inside = (slice(20, 40), slice(100, 300)) if shape_yx[1] > shape_yx[0] else (slice(100, 300), slice(20, 40))
    data[inside] = 100
    prepared = SimpleNamespace(
        image=SimpleNamespace(data_yx=data), good_yx=np.ones(shape_yx, bool), stretch=SimpleNamespace(sky=0, noise=1)
    )
    (y0, x0), size_px = small_object(prepared, SETTINGS.model_copy(update={"size_px": 512}))
    start = max(x0, y0)
    assert start <= 100 and 300 <= start + size_px <= 400


def test_other_settings_give_another_id(tmp_path, sky):
    path = write_drz(tmp_path / "a.fits", sky)
    ids = {tile_file(path, SHA, TileSettings(softening_sigma=s)).tiles[0].tile_id for s in (2.0, 3.0)}
    assert len(ids) == 2


def test_an_empty_tile_is_rejected_and_its_neighbour_kept(tmp_path):
    data = starry_sky((512, 1024), num_stars=0)
    data[:, :512] = starry_sky((512, 512))
    result = tile_file(write_drz(tmp_path / "a.fits", data), SHA, SETTINGS)
    assert [(tile.y0, tile.x0) for tile in result.tiles] == [(0, 0)]
    assert [(r.entity_id, r.reason) for r in result.rejections] == [(f"{SHA}:1:0:512", "no_signal")]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: np.full((600, 600), np.nan, np.float32), "all_invalid"),
        (lambda: np.full((600, 600), 3.5, np.float32), "no_signal"),
        (lambda: np.zeros((600, 600), np.float32), "all_invalid"),
        (lambda: starry_sky((40, 600), num_stars=0), "too_small"),
    ],
)
def test_an_image_without_use_is_refused_with_its_reason(tmp_path, make, reason):
    with pytest.raises(ImageError) as caught:
        tile_file(write_drz(tmp_path / "a.fits", make()), SHA, SETTINGS)
    assert caught.value.reason == reason


def test_negative_skies_stay_dark(tmp_path, sky):
    (tile,) = tile_file(write_drz(tmp_path / "a.fits", sky - 20), SHA, SETTINGS).tiles
    assert 8 <= np.median(levels_of(tile)) <= 45 and tile.stretch.sky < 0


@pytest.mark.parametrize("stretch", ["asinh", "linear", "zscale"])
def test_tiles_with_an_overlap_are_equal_at_their_seams(tmp_path, stretch):
    data = starry_sky((300, 500), num_stars=400)
    data[np.random.default_rng(1).random(data.shape) < 0.01] = np.nan
    settings = TileSettings(size_px=128, overlap_px=32, views=("native",), stretch=stretch)
    tiles = {
        (t.y0, t.x0): decode_png(t.encoded)[::-1]
        for t in tile_file(write_drz(tmp_path / "a.fits", data), "ab" * 32, settings).tiles
    }
    whole, seams = np.full(data.shape, -1), 0
    for (y0, x0), levels in tiles.items():
        window = whole[y0 : y0 + 128, x0 : x0 + 128]
        seen = window >= 0
        np.testing.assert_array_equal(window[seen], levels[seen])
        window[:], seams = levels, seams + np.count_nonzero(seen)
    assert seams > 10_000
