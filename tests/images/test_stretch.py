from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from synthetic_fits import starry_sky

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images import stretch as stretching
from hubbleclip.images.stretch import STRETCHES, apply_stretch, edge_level, fit_stretch, lagged_noise


def all_valid(data):
    return np.ones(data.shape, bool)


def test_sky_and_noise_agree_with_astropys_sigma_clipping():
    data = starry_sky((500, 500), num_stars=200)
    _, median, deviation = sigma_clipped_stats(data, sigma=3, maxiters=None)
    stretch = fit_stretch(data, all_valid(data), TileSettings())
    assert stretch.sky == pytest.approx(median, abs=0.05)
    assert stretch.noise == pytest.approx(deviation, rel=0.08)


def test_a_frame_that_a_nebula_fills_is_measured_by_its_pixels_noise():
    y, x = np.mgrid[:400, :400]
    data = (200 + 100 * np.sin(y / 90) * np.cos(x / 70) + np.random.default_rng(0).normal(0, 1, (400, 400))).astype(
        np.float32
    )
    stretch = fit_stretch(data, all_valid(data), TileSettings())
    assert stretch.noise < 3
    levels = apply_stretch(data, all_valid(data), stretch)
    assert np.ptp(np.percentile(levels, [10, 90])) > 60


def test_a_small_bright_disc_keeps_its_shades():
    y, x = np.mgrid[:1000, :1000]
    radius = np.hypot(y - 500, x - 500)
    data = np.where(radius < 56, 5000 * (1 - 0.6 * (radius / 56) ** 2), 0) + np.random.default_rng(0).normal(
        0, 2, (1000, 1000)
    )
    data = data.astype(np.float32)
    levels = apply_stretch(data, all_valid(data), fit_stretch(data, all_valid(data), TileSettings())).astype(int)
    assert np.ptp(np.percentile(levels[radius < 50], [5, 95])) >= 50


def test_the_sky_of_a_cut_out_is_that_of_its_edge():
    y, x = np.mgrid[:100, :100] - 50
    galaxy = 3000 / (1 + np.hypot(y, x / 0.7) / 8) ** 2
    data = (50 + galaxy + np.random.default_rng(0).normal(0, 5, galaxy.shape)).astype(np.float32)
    stretch = fit_stretch(data, all_valid(data), TileSettings())
    edge = ~np.pad(np.ones((92, 92), bool), 4)
    assert np.mean(data[edge] < stretch.sky) <= 0.55


ACROSS, FROM_CENTRE = np.mgrid[:200, :200][1], np.hypot(*(np.mgrid[:200, :200] - 100))
FILLED = {
    "bright half": 600 / (1 + np.exp((100 - ACROSS) / 5)),
    "faint 60 %": 100 / (1 + np.exp((80 - ACROSS) / 3)),
    "disc": 500.0 * (FROM_CENTRE < 27),
    "nebula": 400 * np.exp(-(FROM_CENTRE**2) / 2 / 57**2),
}


SERIES = {
    "exposure": [(e, 5, 0) for e in np.geomspace(0.5, 4, 106)],
    "noise": [(1, n, 0) for n in np.geomspace(2, 20, 116)],
    "gradient": [(1, 5, g) for g in np.linspace(0, 60, 100)],
}
CROSSED = [("noise", "bright half"), ("noise", "nebula"), ("gradient", "faint 60 %"), ("gradient", "disc")]


@pytest.mark.parametrize(("series", "scene"), [*(("exposure", scene) for scene in FILLED), *CROSSED])
def test_steps_of_two_percent_never_make_the_levels_jump(series, scene):
    deviates, shown = np.random.default_rng(0).normal(size=ACROSS.shape), []
    for exposure, noise, gradient in SERIES[series]:
        mean = exposure * (FILLED[scene] + 20 + gradient * ACROSS / 200)
        data = (mean + np.sqrt(mean + noise**2) * deviates).astype(np.float32)
        stretch = fit_stretch(data, all_valid(data), TileSettings())
        shown.append(apply_stretch(data, all_valid(data), stretch).astype(float))
    assert max(np.abs(after - before).mean() for before, after in pairwise(shown)) <= 3


@pytest.mark.parametrize("sigma", [0.6, 0.8, 3.0])
def test_the_noise_between_whole_numbers_is_not_rounded(sigma):
    counts = np.rint(np.random.default_rng(0).normal(1.4, sigma, (512, 512))).astype(np.float32)
    assert lagged_noise(counts, all_valid(counts)) == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.1)


@pytest.mark.parametrize("kind", sorted(STRETCHES))
def test_every_stretch_grows_with_the_value_and_keeps_the_sky_dark(kind):
    data = starry_sky((400, 400))
    stretch = fit_stretch(data, all_valid(data), TileSettings(stretch=kind))
    ramp = np.linspace(stretch.black - 5, stretch.white + 5, 500, dtype=np.float32)[None]
    levels = apply_stretch(ramp, all_valid(ramp), stretch).astype(int)
    assert (np.diff(levels) >= 0).all() and levels[0, 0] == 0 and levels[0, -1] == 255
    assert kind == "zscale" or np.median(apply_stretch(data, all_valid(data), stretch)) < 45


def test_the_settings_take_the_stretches_that_are_registered_and_no_other():
    assert set(get_args(TileSettings.model_fields["stretch"].annotation)) == set(STRETCHES)


@pytest.mark.parametrize("kind", ["asinh", "linear", "zscale"])
@pytest.mark.parametrize("seed", range(15))
def test_pixels_of_any_size_give_a_finite_stretch_or_a_reason(seed, kind) -> None:
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        data_yx = (rng.normal(0, 1, (96, 112)) * 10.0 ** rng.uniform(-45, 38.5)).astype(np.float32)
        extreme = np.float32(rng.choice([0, 1e38, -1e38, 3.4e38, -3.4e38, 1e-45]))
        data_yx = np.where(rng.random(data_yx.shape) < rng.random(), extreme, data_yx)
    try:
        found = fit_stretch(data_yx, np.isfinite(data_yx), TileSettings(stretch=kind))
    except ImageError as error:
        assert error.reason in {"no_signal", "all_invalid"}
    else:
        assert np.isfinite([found.black, found.white, found.softening, found.sky, found.noise]).all()


@pytest.mark.parametrize("shape", [(50, 1000), (1000, 50)])
def test_the_edge_of_an_oblong_image_is_a_share_of_each_side(shape):
    levels = np.full(shape, 7.0, np.float32)
    ends = np.s_[2:-2, 40:-40] if shape[1] > shape[0] else np.s_[40:-40, 2:-2]
    levels[ends] = 100.0  # all but 4 % of each side
    assert edge_level(levels, all_valid(levels)) == 7.0


def test_the_noise_is_that_of_pixels_four_columns_apart():
    waves = np.tile(np.array([0, 9, 0, 9], np.float32), (64, 16)) + np.tile(
        np.array([0, 0, 7, 7], np.float32), (64, 16)
    )
    data = waves + np.random.default_rng(0).normal(0, 0.5, waves.shape).astype(np.float32)
    assert lagged_noise(data, all_valid(data)) == pytest.approx(0.5, rel=0.1)
    invalid = all_valid(data)
    invalid[:, 4:] = False
    assert lagged_noise(data, invalid) == 0.0


def test_only_valid_pixels_are_fitted():
    data, valid = starry_sky((120, 130), num_stars=20), np.random.default_rng(0).random((120, 130)) < 0.7
    damaged = np.where(valid, data, np.float32(1e30))
    assert fit_stretch(damaged, valid, TileSettings()) == fit_stretch(
        np.where(valid, data, np.float32(-7)), valid, TileSettings()
    )


def test_a_few_valid_pixels_beside_the_sample_are_used():
    data, valid = np.random.default_rng(0).normal(5, 1, (700, 700)).astype(np.float32), np.zeros((700, 700), bool)
    valid[1::2, 1::2] = True  # every second row and column are sampled
    stretch = fit_stretch(data, valid, TileSettings())
    assert (stretch.sky, stretch.noise) == (pytest.approx(5, abs=0.05), pytest.approx(1, rel=0.05))


def test_equal_values_are_spread_between_the_middles_to_their_neighbours():
    ordered = np.array([0, 0, 1, 1, 1, 1, 3, 3, 3, 4], np.float32)
    for share, expected in ((0.2, 0.5), (0.4, 1.25), (0.3, 0.875), (0.65, 2 + 0.5 / 2), (0.75, 2 + 1.5 * 0.5)):
        assert stretching._spread_quantile(ordered, share) == pytest.approx(expected), share
    assert stretching._spread_quantile(ordered, 0.0) == 0 and stretching._spread_quantile(ordered, 1.0) == 4
    most = np.array([0, 1, 1, 1, 2], np.float32)
    assert stretching._spread_quantile(most, 0.3) == 1
