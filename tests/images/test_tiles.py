from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_fits import starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.tiling import plan_grid, tile_file

SHA = "ab" * 32
SETTINGS = TileSettings(views=("native",))


def levels_of(tile):
    """Levels of a tile in the order of FITS: the picture has the lowest row last."""
    return decode_own_png(tile.encoded)[::-1]


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


@given(st.integers(1, 3000), st.integers(32, 600), st.integers(1, 900))
def test_a_stride_sets_the_grid_exactly_and_leaves_less_than_a_step(length, size, stride):
    starts = [x0 for _, x0 in plan_grid((size, length), size, 0, stride)]
    assert all(b - a == stride for a, b in itertools.pairwise(starts))
    if length >= size:
        assert starts[0] >= 0 and starts[-1] + size <= length
        assert length - (starts[-1] - starts[0] + size) < stride


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
        (t.y0, t.x0): decode_own_png(t.encoded)[::-1]
        for t in tile_file(write_drz(tmp_path / "a.fits", data), "ab" * 32, settings).tiles
    }
    whole, seams = np.full(data.shape, -1), 0
    for (y0, x0), levels in tiles.items():
        window = whole[y0 : y0 + 128, x0 : x0 + 128]
        seen = window >= 0
        np.testing.assert_array_equal(window[seen], levels[seen])
        window[:], seams = levels, seams + np.count_nonzero(seen)
    assert seams > 10_000
