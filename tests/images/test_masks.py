"""Masks of valid pixels, each beside a slow and obvious one."""

from __future__ import annotations

import numpy as np
import pytest

from hubbleclip.images.bad_pixels import fill_cores
from hubbleclip.images.masks import find_finite, mask_unweighted, mask_zero_border, quality_flags

RNG = np.random.default_rng(2)


def border_mask(data):
    valid, zeros = find_finite(data)
    mask_zero_border(data, valid, zeros)
    return valid


@pytest.mark.parametrize(("num_zeros", "is_masked"), [(20, True), (19, False)])
@pytest.mark.parametrize("order", ["<f4", ">f4"])
def test_a_region_of_zeros_is_masked_from_a_two_thousandth_of_the_image_on(num_zeros, is_masked, order):
    data = RNG.normal(5, 1, (200, 200)).astype(order)  # 0.05 % of it are 20 pixels
    data[100, 50 : 50 + num_zeros] = 0
    data[[10, 30, 50, 70], [20, 40, 60, 80]] = 0  # lone zeros stay
    assert np.count_nonzero(~border_mask(data)) == num_zeros * is_masked


@pytest.mark.parametrize(
    ("change", "is_masked"), [(np.rint, False), (lambda data: data, True), (lambda data: data * 0, True)]
)
def test_zeros_of_whole_numbers_are_counts_unless_all_are_zeros(change, is_masked):
    data = RNG.normal(50, 9, (100, 100)).astype(np.float32)
    data[:20], data[5, 3] = 0, np.nan
    data = change(data).astype(np.float32)
    assert (not border_mask(data)[:20].any()) == is_masked
    assert border_mask(data)[20:].all() == bool(data[20:].any())


@pytest.mark.parametrize("row", [30, 98, 398])
def test_one_fraction_in_every_second_row_of_400_makes_no_whole_numbers(row):
    data = np.full((400, 60), 7, np.float32)
    data[:30] = 0
    data[30:] = np.nan
    data[row, 5] = 7.5
    assert not border_mask(data)[:29].any()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<i2", ">i4", "u1"])
def test_only_a_positive_weight_is_valid(dtype):
    values = [0.0, 1.0, 1e-30, -1.0, np.nan] if "f" in dtype else [0, 1, 2, 3, 100]
    if dtype in {"<i2", ">i4"}:
        values[3] = -3
    weight = np.array([values]).astype(dtype)
    valid = np.array([[True, True, False, True, True]])
    mask_unweighted(weight, valid)
    expected = [value > 0 for value in values]
    expected[2] = False  # it was not valid before
    assert valid[0].tolist() == expected


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">i4", "u1", "<f4"])
@pytest.mark.parametrize("zero", [0, 32768, -128, 1])
def test_flags_are_the_values_plus_zero_modulo_sixteen_bits(dtype, zero):
    quality = np.random.default_rng(3).integers(0, 256, (30, 40)).astype(dtype)
    expected = [[(int(value) + zero) % (1 << 16) for value in row] for row in quality]
    assert quality_flags(quality, zero).tolist() == expected


@pytest.mark.parametrize(
    ("radius", "is_filled"), [*((radius, True) for radius in range(1, 7)), (31, True), (32, False)]
)
def test_the_core_of_a_saturated_star_is_filled_with_the_highest_value_beside_it(radius, is_filled):
    dy, dx = np.mgrid[-60:61, -70:71]
    data = (20 + RNG.normal(0, 1, dy.shape) + 3e5 * np.exp((radius - np.hypot(dy, dx)) / 2)).astype(np.float32)
    hole = np.hypot(dy, dx) <= radius
    data[hole], data[:10], data[20:23, 20:23] = np.nan, np.nan, np.nan  # a border and dead pixels on the sky stay
    rows, columns, values = fill_cores(data, np.isfinite(data), 20.0, 1.0)
    if not is_filled:  # a hole of more than 64 columns is no core
        assert not rows.size
        return
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == set(map(tuple, np.argwhere(hole).tolist()))
    assert set(values) == {np.nanmax(data)}


def test_each_core_has_the_highest_value_beside_it_and_open_small_and_flat_holes_are_none():
    data, (y, x) = np.full((60, 120), 20.0, np.float32), np.mgrid[:60, :120]
    for y0, x0, height in ((15, 20, 1000), (15, 60, 3000), (15, 100, 1000), (45, 20, 1000)):
        data += height * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 8)
    data[38:52, 60:100] += 500
    data[14:17, 19:22], data[14:17, 59:62] = np.nan, np.nan
    data[14:17, 100:115] = np.nan  # from the middle of a star to the sky
    data[45, 19:22], data[44:47, 78:82] = np.nan, np.nan  # three pixels; a hole of an even area
    found = fill_cores(data, np.isfinite(data), 20.0, 1.0)
    edges = ((19, 20 + 1000 * np.exp(-0.5)), (59, 20 + 3000 * np.exp(-0.5)))  # two pixels from the middle
    expected = [(row, first + k, edge) for row in (14, 15, 16) for first, edge in edges for k in range(3)]
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-5)
