"""The compiled kernels against their NumPy references, in either byte order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import numpy_twins as twins
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_fits import starry_sky

from hubbleclip.images.background import block_background
from hubbleclip.images.bad_pixels import repair_rows
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.masks import find_finite, mask_zero_border
from hubbleclip.images.normalize import PreparedImage, count_bright, read_rows
from hubbleclip.images.stretch import Stretch, apply_stretch

ORDERS = ["<f4", ">f4"]
FEW = settings(max_examples=20, deadline=None)
ODD_VALUES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1e30, 3e38, 1e-42, 5.0], np.float32)
STRETCH = Stretch(kind="asinh", black=4.0, white=5000.0, softening=3.0, sky=5.0, noise=1.0)


def struck_sky(seed, shape_yx=(90, 110)):
    """Stars, cosmic rays and bad pixels, more of them in some draws; the mask."""
    rng = np.random.default_rng(seed)
    data = starry_sky(shape_yx, seed, num_stars=20)
    data[rng.random(shape_yx) < rng.uniform(0, 0.1)] += rng.uniform(20, 3000)
    valid = rng.random(shape_yx) > rng.choice([0, 0.02, 0.5])
    valid[: rng.integers(0, 30)] = False
    return data, valid


@pytest.mark.parametrize("order", ORDERS)
def test_finite_pixels_and_runs_of_zeros_are_found(order):
    data = np.resize(ODD_VALUES, (70, 13)).astype(order)
    valid, runs = find_finite(data)
    np.testing.assert_array_equal(valid, np.isfinite(data))
    places = [divmod(place, 14) for first, end in runs for place in range(first, end)]
    assert places == list(zip(*np.nonzero(data == 0), strict=True))


@FEW
@given(st.integers(0, 10_000), st.sampled_from(ORDERS))
def test_regions_of_zeros_are_those_that_labelling_finds(seed, order):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 150, 2))
    zeros = rng.random(shape) < rng.choice([0.002, 0.1, 0.55, 0.65, 0.95])
    zeros[:, : rng.integers(0, 20)] = True
    zeros[:, shape[1] - rng.integers(0, 3) :] = True
    data = np.where(zeros, 0, rng.normal(3, 0.1, shape)).astype(order)
    valid, border = np.ones(shape, bool), twins.zero_border(data)
    mask_zero_border(data, valid, find_finite(data)[1])
    np.testing.assert_array_equal(valid, np.ones(shape, bool) if border is None else ~border)


@FEW
@given(st.integers(0, 10_000), st.sampled_from(ORDERS))
def test_cosmic_rays_are_those_of_the_reference(seed, order):
    data, valid = struck_sky(seed)
    contrast = float(np.random.default_rng(seed).uniform(4, 8))
    expected = twins.find_cosmic_rays(data, valid, contrast)
    good = valid.copy()
    rays = reject_cosmic_rays(data.astype(order), good, contrast)
    np.testing.assert_array_equal(rays, np.nonzero(expected))
    np.testing.assert_array_equal(good, valid & ~expected)


def test_the_background_of_a_tall_image_is_that_of_the_reference():
    data, valid = struck_sky(3, (600, 60))
    for found, expected in zip(block_background(data, valid), twins.block_background(data, valid), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@FEW
@given(st.integers(0, 10_000), st.integers(0, 60), st.sampled_from(ORDERS))
def test_bad_pixels_are_filled_as_the_reference_fills_them(seed, top, order):
    data, good = struck_sky(seed)
    data[~good] = np.nan
    expected, expected_shown = twins.repair_pinholes(data, good)
    repaired, shown = repair_rows(data.astype(order), good, top, top + 30)
    np.testing.assert_array_equal(shown, expected_shown[top : top + 30])
    np.testing.assert_array_equal(repaired[shown], expected[top : top + 30][shown])


def as_int(levels):
    return levels.astype(int)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["asinh", "linear"])
@pytest.mark.parametrize("pedestal", [0.0, 1000.0, -20.0])
def test_levels_are_those_of_the_reference_or_in_few_pixels_one_off(order, kind, pedestal):
    data = starry_sky((200, 200)) + np.float32(pedestal)
    data[:3, : len(ODD_VALUES)] = ODD_VALUES
    valid = np.isfinite(data) & (np.random.default_rng(0).random(data.shape) > 0.1)
    stretch = Stretch(kind=kind, black=pedestal + 4, white=pedestal + 800, softening=3.0, sky=pedestal + 5.0, noise=1.0)
    difference = np.abs(
        as_int(apply_stretch(data.astype(order), valid, stretch)) - twins.apply_stretch(data, valid, stretch)
    )
    assert difference.max() <= 1 and np.mean(difference > 0) <= 0.003


@pytest.mark.parametrize("softening", [1e-25, 1e-3, 1.0, 1e6])
def test_levels_hold_for_every_softening(softening):
    ramp = np.linspace(-10, 10_010, 40_000, dtype=np.float32)[None]
    valid = np.ones(ramp.shape, bool)
    stretch = Stretch(kind="asinh", black=0.0, white=10_000.0, softening=softening, sky=1.0, noise=1.0)
    levels = as_int(apply_stretch(ramp, valid, stretch))
    assert (np.diff(levels) >= 0).all() and levels[0, 0] == 0 and levels[0, -1] == 255
    if softening > 1e-9:
        assert np.abs(levels - twins.apply_stretch(ramp, valid, stretch)).max() <= 1


@FEW
@given(st.integers(0, 10_000), st.integers(-50, 80), st.integers(-50, 100), st.sampled_from(ORDERS))
def test_bright_pixels_of_a_tile_are_counted_as_the_reference_counts_them(seed, y0, x0, order):
    data, valid = struck_sky(seed)
    rays = twins.find_cosmic_rays(data, valid, 5.5)
    good, side = valid & ~rays, 64
    places = tuple(part.astype(np.int32) for part in np.nonzero(rays))
    image = SimpleNamespace(data_yx=data.astype(order))
    rows = read_rows(PreparedImage(image, good, STRETCH, places), [(y0, x0)], side)
    limits = (np.float32(5), np.float32(50), np.float32(5))
    count = count_bright(rows.values_yx, rows.valid_yx, x0 - rows.left, limits, side**2 + 1)
    repaired, _ = twins.repair_pinholes(data, good)
    padded, padded_valid = (np.pad(part, 64)[64 + y0 :, 64 + x0 :][:side, :side] for part in (repaired, valid))
    if padded.shape == (side, side):
        np.testing.assert_array_equal(rows.valid_yx[:, x0 - rows.left :][:, :side], padded_valid)
        assert abs(count - twins.count_bright(padded, padded_valid, 5.0, 50.0, 5.0)) <= 1
        enough = count_bright(rows.values_yx, rows.valid_yx, x0 - rows.left, limits, 1)
        assert (enough >= 1) == (count >= 1)
