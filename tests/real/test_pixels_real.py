"""Rejection of cosmic rays on simulated exposures with Tiny Tim's PSFs: the goals for rays, stars and false pixels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import simulated_rays as simulated
from benchmarks.bench_pixels import BRIGHT, CROWD, FAINT, FINE, SCENES, find_ours, harm_stars, score_scene
from hubbleclip.fits.instruments import star_contrast

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.real,
    pytest.mark.skipif(not simulated.has_real_psfs(), reason=f"no PSFs at {simulated.PSF_FOLDER}"),
]
MIN_FOUND = {"empty sky": 0.95, "250 galaxies in an ACS frame": 0.95} | dict(
    zip(FINE, (0.8, 0.75, 0.65, 0.55), strict=True)
)
by_camera = pytest.mark.parametrize("camera", simulated.CAMERAS, ids=lambda camera: camera.name)


@by_camera
def test_no_star_reaches_the_contrast_of_its_camera(camera):
    stamps_nyx = simulated.psf_stamps(camera)
    peaks_nyx = [np.unravel_index(stamp_yx.argmax(), stamp_yx.shape) for stamp_yx in stamps_nyx]
    cores_nyx = [s[y - 1 : y + 2, x - 1 : x + 2] for s, (y, x) in zip(stamps_nyx, peaks_nyx, strict=True)]
    largest = max(core_yx.max() / np.median(core_yx) for core_yx in cores_nyx)
    assert 1.05 * largest < star_contrast(camera.filter, camera.instrument)


@by_camera
@pytest.mark.parametrize("scene", SCENES)
def test_most_pixels_of_rays_are_found_and_nothing_else(camera, scene):
    score = score_scene(camera, scene, find_ours)
    least = MIN_FOUND.get(scene, 0.7)
    assert score.pixels >= (least if camera.instrument == "ACS/WFC" or scene not in FINE else 0.5)
    assert score.false_per_mpix <= (700 if scene == CROWD else 4)  # 4 per Mpix are one pixel


@by_camera
@pytest.mark.parametrize(("limits", "allowed"), [(FAINT, 0.02), (BRIGHT, 0.005)])
@pytest.mark.parametrize("flagged", [0, 0.02])
def test_few_stars_are_harmed_and_none_has_a_hole(camera, limits, allowed, flagged):
    harm = harm_stars(camera, limits, find_ours, flagged=flagged)
    assert harm.harmed <= (0.08 if limits == FAINT and camera.instrument == "WFPC2" else allowed)
    assert flagged or limits == FAINT or not harm.holes


@by_camera
def test_few_stars_with_a_ray_beside_them_are_harmed(camera):
    for scene in ("empty sky", CROWD):
        harm = harm_stars(camera, BRIGHT, find_ours, with_rays=True, scene=scene)
        assert harm.harmed <= 0.01 and harm.holes <= 0.01  # one of about 120 stars
