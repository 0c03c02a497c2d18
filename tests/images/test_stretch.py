from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from synthetic_fits import starry_sky

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError, SettingsError
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.masks import find_finite, mask_zero_border, repair_pinholes
from hubbleclip.images.stretch import STRETCHES, apply_stretch, clipped_sky, fit_stretch, sky_and_noise


def rays_of(data, sky, noise):
    good = all_valid(data)
    reject_cosmic_rays(data, good, sky, noise)
    return ~good


def all_valid(data):
    return np.ones(data.shape, bool)


def test_sky_and_noise_agree_with_astropys_sigma_clipping():
    data = starry_sky((500, 500), num_stars=200)
    _, median, deviation = sigma_clipped_stats(data, sigma=3, maxiters=None)
    sky, noise = sky_and_noise(data, all_valid(data))
    assert sky == pytest.approx(median, abs=0.05)
    assert noise == pytest.approx(deviation, rel=0.08)


def test_a_frame_that_a_nebula_fills_is_measured_by_its_pixels_noise():
    y, x = np.mgrid[:400, :400]
    data = (200 + 100 * np.sin(y / 90) * np.cos(x / 70) + np.random.default_rng(0).normal(0, 1, (400, 400))).astype(
        np.float32
    )
    stretch = fit_stretch(data, all_valid(data), TileSettings())
    assert stretch.noise < 3
    levels = apply_stretch(data, all_valid(data), stretch)
    assert np.ptp(np.percentile(levels, [10, 90])) > 60


def test_a_planets_disc_keeps_its_shades():
    y, x = np.mgrid[:500, :500]
    radius = np.hypot(y - 250, x - 250)
    data = np.where(radius < 80, 1000 - 300 * (radius / 80) ** 2, 0) + np.random.default_rng(0).normal(
        0, 0.5, (500, 500)
    )
    data = data.astype(np.float32)
    levels = apply_stretch(data, all_valid(data), fit_stretch(data, all_valid(data), TileSettings())).astype(int)
    assert levels[250, 250] - levels[250, 325] >= 10
    assert np.median(levels) < 40


@pytest.mark.parametrize("kind", sorted(STRETCHES))
def test_every_stretch_grows_with_the_value_and_keeps_the_sky_dark(kind):
    data = starry_sky((400, 400))
    stretch = fit_stretch(data, all_valid(data), TileSettings(stretch=kind))
    ramp = np.linspace(stretch.black - 5, stretch.white + 5, 500, dtype=np.float32)[None]
    levels = apply_stretch(ramp, all_valid(ramp), stretch).astype(int)
    assert (np.diff(levels) >= 0).all() and levels[0, 0] == 0 and levels[0, -1] == 255
    assert kind == "zscale" or np.median(apply_stretch(data, all_valid(data), stretch)) < 45


def test_an_unknown_stretch_names_the_known_ones():
    data = starry_sky((64, 64), num_stars=1)
    with pytest.raises(SettingsError, match="asinh, linear, zscale"):
        fit_stretch(data, all_valid(data), TileSettings().model_copy(update={"stretch": "cubic"}))


def test_the_settings_take_the_stretches_that_are_registered_and_no_other():
    assert set(get_args(TileSettings.model_fields["stretch"].annotation)) == set(STRETCHES)


def test_levels_are_rounded_not_truncated():
    data = starry_sky((200, 200), num_stars=20)
    stretch = fit_stretch(data, all_valid(data), TileSettings(stretch="linear"))
    exact = 255 * (data.astype(float) - stretch.black) / (stretch.white - stretch.black)
    difference = apply_stretch(data, all_valid(data), stretch) - np.clip(exact, 0, 255)
    assert np.abs(difference).max() <= 0.501 and abs(difference[exact > 5].mean()) < 0.03


def test_sparse_photons_have_a_noise():
    counts = np.sort(np.random.default_rng(0).poisson(0.02, 50_000).astype(np.float32))
    assert clipped_sky(counts)[0] == 0 and clipped_sky(counts)[1] == pytest.approx(0.02**0.5, rel=0.1)


def test_a_constant_image_has_no_signal():
    with pytest.raises(ImageError, match="no_signal"):
        clipped_sky(np.ones(100, np.float32))


@pytest.mark.parametrize("fwhm_px", [1.6, 2.0, 4.0])
def test_no_stars_core_is_taken_for_a_cosmic_ray(fwhm_px):
    data = starry_sky((600, 600), num_stars=300, fwhm_px=fwhm_px)
    rays = rays_of(data, 5.0, 1.0)
    peaks = (data == ndimage.maximum_filter(data, 5)) & (data > 60)
    assert peaks.sum() > 100 and not (rays & peaks).any()


def test_hot_pixels_and_tracks_are_taken_for_cosmic_rays():
    data = np.random.default_rng(0).normal(5, 1, (200, 200)).astype(np.float32)
    struck = np.zeros(data.shape, bool)
    struck[50, 50] = struck[100, 20:60] = struck[150:152, 100:130] = True
    struck[np.arange(20, 60), np.arange(120, 160)] = True
    data[struck] += 300
    rays = rays_of(data, 5.0, 1.0)
    assert rays[struck].all() and rays[~struck].sum() <= 5


def test_sparse_photons_are_not_taken_for_cosmic_rays():
    counts = np.random.default_rng(0).poisson(0.2, (200, 200)).astype(np.float32)
    assert not rays_of(counts, 0.0, 0.1).any()


@given(st.integers(0, 10_000))
def test_pinholes_take_the_median_of_their_valid_neighbours(seed):
    rng = np.random.default_rng(seed)
    data, valid = rng.normal(size=(14, 15)).astype(np.float32), rng.random((14, 15)) > 0.3
    repaired, shown = repair_pinholes(data, valid)
    for y, x in np.argwhere(~valid):
        rows, columns = np.arange(y - 2, y + 3).clip(0, 13), np.arange(x - 2, x + 3).clip(0, 14)
        near_y, near_x = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
        assert shown[y, x] == (valid[near_y, near_x].sum() >= 8)
        if shown[y, x] and 2 <= y < 12 and 2 <= x < 13:
            window = data[np.ix_(rows, columns)][valid[np.ix_(rows, columns)]]
            assert repaired[y, x] == pytest.approx(np.median(window))
    np.testing.assert_array_equal(repaired[valid], data[valid])


def test_a_slanted_zero_border_is_found_whole():
    y, x = np.mgrid[:300, :300]
    outside = (y + 2 * x < 150) | (y + 2 * x > 800)
    data = np.where(outside, 0, starry_sky((300, 300))).astype(np.float32)
    valid = all_valid(data)
    mask_zero_border(data, valid, find_finite(data)[1])
    np.testing.assert_array_equal(valid, ~outside)
