"""The compiled kernels against their NumPy references, in either byte order."""

from __future__ import annotations

import numpy as np
import numpy_twins as twins
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_fits import starry_sky

from hubbleclip.images import kernels
from hubbleclip.images.bad_pixels import REPAIR_MIN_VALID
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.masks import (
    find_finite,
    mask_flagged,
    mask_unweighted,
    mask_zero_border,
    repair_pinholes,
)
from hubbleclip.images.render import count_bright, count_valid, render_levels
from hubbleclip.images.stretch import Stretch, apply_stretch, curve_parameters

ORDERS = ["<f4", ">f4"]
FEW = settings(max_examples=40, deadline=None)
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
def test_finite_pixels_and_zeros_are_found_by_their_bits(order):
    data = np.resize(ODD_VALUES, (7, 13)).astype(order)
    valid, zeros = find_finite(data)
    np.testing.assert_array_equal(valid, np.isfinite(data))
    np.testing.assert_array_equal(zeros[:, 0], np.count_nonzero(data == 0, axis=1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("row", "expected"),
    [([0, -0.0, 1, 0, 2, 0], (4, 2, 1)), ([0, 0, 0], (3, 3, 0)), ([1, 0, 1], (1, 0, 0)), ([1, 2, 0], (1, 0, 1))],
)
def test_zeros_at_the_ends_of_a_row_are_counted_apart_from_those_inside(order, row, expected):
    _, zeros = find_finite(np.array([row], order))
    assert tuple(zeros[0]) == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("step", [1, 3])
def test_samples_are_those_that_numpy_takes_without_negative_zero(order, step):
    data, valid = struck_sky(1)
    data -= 5
    data[0, :2] = -0.0
    pixels = pixel_words(data.astype(order))
    sample = kernels.sample_pixels(pixels, valid, step)
    np.testing.assert_array_equal(sample, data[::step, ::step][valid[::step, ::step]])
    assert not np.signbit(sample[sample == 0]).any()
    lag = 4
    both = valid[::step, lag::step] & valid[::step, :-lag:step]
    steps = np.abs(data[::step, lag::step] - data[::step, :-lag:step])[both]
    np.testing.assert_array_equal(kernels.lagged_differences(pixels, valid, step, lag), steps)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", ">i2", "u1"])
def test_only_weights_above_zero_count(dtype):
    with np.errstate(invalid="ignore"):
        weight = np.resize(ODD_VALUES if "f" in dtype else np.arange(5), (7, 13)).astype(dtype)
    valid = np.ones(weight.shape, bool)
    mask_unweighted(weight, valid)
    np.testing.assert_array_equal(valid, weight > 0)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">i4", "u1", ">f4", "i1"])
@pytest.mark.parametrize("zero", [0, 32768, 3])
def test_quality_bits_are_those_of_the_scaled_value(dtype, zero):
    stored = np.arange(-60, 60).astype(np.int8 if dtype in ("u1", "i1") else np.int16) * 3
    stored = np.abs(stored).astype(dtype)
    bad = 1 | 4 | 16 | 8192
    valid = np.arange(stored.size) % 7 > 0
    expected = valid & (((stored.astype(np.int64) + zero) & bad) == 0)
    mask_flagged(stored[None], zero, bad, valid[None])
    np.testing.assert_array_equal(valid, expected)


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


@FEW
@given(st.integers(0, 10_000), st.sampled_from(ORDERS))
def test_bad_pixels_are_filled_as_the_reference_fills_them(seed, order):
    data, valid = struck_sky(seed)
    data[~valid] = np.nan
    expected, expected_shown = twins.repair_pinholes(data, valid)
    repaired, shown = repair_pinholes(data.astype(order), valid)
    np.testing.assert_array_equal(shown, expected_shown)
    np.testing.assert_array_equal(repaired[shown], expected[shown])


def as_int(levels):
    return levels.astype(int)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["asinh", "linear"])
@pytest.mark.parametrize("pedestal", [0.0, 1000.0, -20.0])
def test_levels_are_those_of_the_reference_or_in_few_pixels_one_off(order, kind, pedestal):
    data = starry_sky((600, 600)) + np.float32(pedestal)
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
@given(st.integers(0, 10_000), st.sampled_from(ORDERS))
def test_rendered_levels_are_repaired(seed, order):
    data, good = struck_sky(seed)
    data[~good] = np.nan
    y0 = seed % 60
    levels = np.empty((30, data.shape[1]), np.uint8)
    curve = curve_parameters(STRETCH, REPAIR_MIN_VALID)
    render_levels(pixel_words(data.astype(order)), good, curve, y0, levels)
    repaired, shown = twins.repair_pinholes(data, good)
    expected = twins.apply_stretch(repaired, shown, STRETCH)[y0 : y0 + 30]
    assert np.abs(as_int(levels) - expected).max() <= 1 and np.mean(levels != expected) < 0.003


@FEW
@given(st.integers(0, 10_000), st.integers(-50, 80), st.integers(-50, 100), st.sampled_from(ORDERS))
def test_bright_pixels_of_a_window_are_counted_as_the_reference_counts_them(seed, y0, x0, order):
    data, valid = struck_sky(seed)
    rays = twins.find_cosmic_rays(data, valid, 5.5)
    good = valid & ~rays
    masks = (good, *(places.astype(np.int32) for places in np.nonzero(rays)))
    side = 64
    limits = (np.float32(5), np.float32(50), np.float32(5), REPAIR_MIN_VALID)
    window = (y0, x0, side)
    count = count_bright(pixel_words(data.astype(order)), masks, window, limits, side**2 + 1)
    repaired, _ = twins.repair_pinholes(data, good)
    padded, padded_valid = (np.pad(values, 64)[64 + y0 :, 64 + x0 :][:side, :side] for values in (repaired, valid))
    if padded.shape == (side, side):
        assert count_valid(masks, window) == np.count_nonzero(padded_valid)
        expected = twins.count_bright(padded, padded_valid, 5.0, 50.0, 5.0)
        assert abs(count - expected) <= 1
        enough = count_bright(pixel_words(data.astype(order)), masks, window, limits, 1)
        assert (enough >= 1) == (count >= 1)


@pytest.mark.parametrize("dtype", [">i2", "<i4", ">f8"])
def test_a_negative_weight_counts_no_more_than_none(dtype):
    weight = np.arange(-6, 6).reshape(3, 4).astype(dtype)
    valid = np.ones(weight.shape, bool)
    valid[2, 3] = False
    mask_unweighted(weight, valid)
    np.testing.assert_array_equal(valid, (weight > 0) & (weight < 5))


@pytest.mark.parametrize(
    ("shape_yx", "num_zeros", "is_masked"),
    [
        ((200, 210), 20, False),
        ((200, 210), 21, True),
        ((30, 31), 1, False),
        ((30, 31), 2, True),
    ],
)
def test_a_region_of_zeros_is_unexposed_from_its_least_size_on(shape_yx, num_zeros, is_masked):
    """The least size is 0.05 % of the image, and 2 px."""
    data = np.random.default_rng(0).normal(5, 1, shape_yx).astype(np.float32)
    data[7, 4 : 4 + num_zeros] = 0
    valid = np.ones(shape_yx, bool)
    mask_zero_border(data, valid, find_finite(data)[1])
    expected = np.ones(shape_yx, bool)
    expected[7, 4 : 4 + num_zeros] = not is_masked
    np.testing.assert_array_equal(valid, expected)


@pytest.mark.parametrize("is_fractional", [False, True])
def test_zeros_are_counts_only_where_the_pixels_of_all_rows_are_whole_numbers(is_fractional):
    data = np.random.default_rng(0).poisson(3, (300, 100)).astype(np.float32)
    data[0], data[1, 3], data[100:140, 20:60] = 7, np.nan, 0
    data[250] += 0.5 * is_fractional
    valid = np.ones(data.shape, bool)
    mask_zero_border(data, valid, find_finite(data)[1])
    assert valid[110, 30] != is_fractional
