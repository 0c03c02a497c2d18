"""The numbers of the recipe: the same pixels have the same limits, cosmic rays and background in every version.

Tiles of equal settings have equal ids, so a change of one of these numbers needs another `RECIPE` in hubbleclip/config/tiles.py.
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from synthetic_fits import starry_sky

from hubbleclip.config.settings import TileSettings
from hubbleclip.images.background import block_background
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.stretch import edge_level, fit_stretch, flatness

Y, X = np.mgrid[:160, :200]
RADIUS = np.hypot(Y - 70, X - 120)


def scene(name):
    """Pixels (160, 200) of a scene with noise of sigma 1; the corner is invalid."""
    rng = np.random.default_rng(5)
    noise = rng.normal(5, 1, Y.shape)
    data = {
        "stars": starry_sky(Y.shape, num_stars=30),
        "empty": noise,
        "planet": noise + np.where(RADIUS < 30, 3000 - 900 * (RADIUS / 30) ** 2, 0),
        "nebula": noise + 300 * np.exp(-((RADIUS / 60) ** 2)),
        "full": noise + 60 * np.sin(Y / 25) * np.cos(X / 20) + 200,
        "cut-out": noise * 3 + 2000 / (1 + RADIUS / 6) ** 2,
        "photons": rng.poisson(0.05, Y.shape),
        "counts": np.rint(noise * 0.8 + 3000 * np.exp(-((RADIUS / 3) ** 2))),
    }[name].astype(np.float32)
    valid = np.ones(data.shape, bool)
    valid[:20, :30] = False
    data[~valid] = np.nan
    return data, valid


LIMITS = {
    ("stars", "asinh"): (3.94415, 4278.56, 3.16522, 4.99922, 1.05507),
    ("stars", "zscale"): (0.969596, 12.6984, 3.16522, 4.99922, 1.05507),
    ("empty", "asinh"): (3.99854, 34.1125, 3.01139, 5.00233, 1.0038),
    ("planet", "asinh"): (-291.467, 2999.84, 1482.34, 5.00169, 1.00522),
    ("nebula", "asinh"): (-3.96865, 304.744, 75.0598, 11.0433, 9.28479),
    ("full", "asinh"): (143.995, 417.796, 27.3801, 153.122, 9.1267),
    ("full", "linear"): (143.995, 417.796, 27.3801, 153.122, 9.1267),
    ("cut-out", "asinh"): (15.2697, 1076.28, 20.2329, 22.014, 6.74429),
    ("photons", "asinh"): (-0.225386, 6.53619, 0.676158, 0, 0.225386),
    ("photons", "zscale"): (-0.135232, 0.225386, 0.676158, 0, 0.225386),
    ("counts", "asinh"): (2.9513, 1725, 5.2435, 4, 0.952153),
}
"""Black, white, softening, sky and noise by scene and stretch."""


@pytest.mark.parametrize(("name", "kind"), LIMITS)
def test_the_limits_of_a_scene_are_those_of_the_recipe(name, kind):
    _, *found = astuple(fit_stretch(*scene(name), TileSettings(stretch=kind)))
    np.testing.assert_allclose(found, LIMITS[name, kind], rtol=2e-4)


def test_the_settings_place_black_white_and_softening():
    data, valid = scene("stars")
    found = fit_stretch(data, valid, TileSettings(black_sigma=2.5, white_quantile=0.99, softening_sigma=1.5))
    assert (found.sky - found.black) / found.noise == pytest.approx(2.5)
    assert found.softening / found.noise == pytest.approx(1.5)
    assert found.white == pytest.approx(np.quantile(data[valid], 0.99), rel=0.02)
    low = fit_stretch(data, valid, TileSettings(white_quantile=0.51))
    assert (low.white - low.black) / low.noise == pytest.approx(30)
    flat = fit_stretch(data, valid, TileSettings(black_sigma=0.0))
    assert (flat.sky - flat.black) / flat.softening == pytest.approx(0.2)


def test_flatness_is_the_share_of_pixels_above_40_percent_among_those_above_4_percent():
    ordered = np.array([0, 0, 13.9, 14.1, 49, 51, 79, 110], np.float32)  # 4 % is at 14, 40 % at 50
    assert flatness(ordered, 10.0, 110.0) == 3 / 5


RAYS = {3.5: (527, 43151, 48542), 5.5: (482, 39604, 42487), 8.0: (455, 37074, 41115)}
"""Number of pixels that cosmic rays have hit, and the sums of their rows and columns, by contrast."""


@pytest.mark.parametrize("contrast", RAYS)
def test_the_cosmic_rays_of_an_exposure_are_those_of_the_recipe(contrast):
    rng = np.random.default_rng(8)
    data = starry_sky(Y.shape, num_stars=40, fwhm_px=1.7)
    for length, height in zip(rng.integers(1, 9, 60), np.geomspace(8, 900, 60), strict=True):
        y, x = rng.integers(4, 150), rng.integers(4, 185)
        data[y, x : x + length] += height
        data[y + 1, x : x + length] += 0.3 * height
    rows, columns = reject_cosmic_rays(data, np.ones(data.shape, bool), contrast)
    assert (rows.size, int(rows.sum()), int(columns.sum())) == RAYS[contrast]


BACKGROUND = (6.014958, 1.131339, 5.795999, 1.115055)
"""Mean level and mean noise of the blocks of the scene of stars, and of the block that has the fewest valid pixels."""


def test_the_background_of_a_scene_is_that_of_the_recipe():
    data, valid = scene("stars")
    valid[32:48, 64:80] = False
    valid[34:36, 64:80] = True  # 8 samples, so that the block has the values of its neighbour
    levels, noises = block_background(data, valid)
    found = levels.mean(), noises.mean(), levels[2, 4], noises[2, 4]
    np.testing.assert_allclose(found, BACKGROUND, rtol=1e-5)
    assert levels[2, 4] == levels[2, 3]


@pytest.mark.parametrize(("percent_valid", "level"), [(29, np.inf), (31, 8.0)])
def test_the_edge_gives_the_sky_only_where_three_tenths_of_it_are_valid(percent_valid, level):
    valid = np.add(*np.mgrid[:100, :100]) % 100 < percent_valid  # this share of each row and column
    assert edge_level(np.full((100, 100), 8.0, np.float32), valid) == level
