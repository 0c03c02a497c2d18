"""Rejection of cosmic rays on simulated exposures with Tiny Tim's PSFs: the goals for rays, stars and false pixels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import simulated_rays as simulated
from benchmarks.bench_pixels import SCENES, STAR_CLASSES, find_ours, harmed_stars, score_scene
from hubbleclip.fits.instruments import camera_of

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.real,
    pytest.mark.skipif(not simulated.has_real_psfs(), reason=f"no PSFs at {simulated.PSF_FOLDER}"),
]
MIN_FOUND = dict(zip(SCENES, (0.85, 0.85, 0.75, 0.75, 0.75), strict=True))
FAINT = "S/N 10 to 30"
by_camera = pytest.mark.parametrize("camera", simulated.CAMERAS, ids=lambda camera: camera.name)


@by_camera
def test_no_star_reaches_the_contrast_of_its_camera(camera):
    stamps_nyx = simulated.psf_stamps(camera)
    peaks_nyx = [np.unravel_index(stamp_yx.argmax(), stamp_yx.shape) for stamp_yx in stamps_nyx]
    cores_nyx = [s[y - 1 : y + 2, x - 1 : x + 2] for s, (y, x) in zip(stamps_nyx, peaks_nyx, strict=True)]
    assert max(core_yx.max() / np.median(core_yx) for core_yx in cores_nyx) < camera_of(camera.instrument).star_contrast


@by_camera
@pytest.mark.parametrize("scene", SCENES)
def test_most_pixels_of_rays_are_found_and_nothing_else(camera, scene):
    score = score_scene(camera, scene, find_ours, side_px=1024)
    assert score.pixels >= MIN_FOUND[scene]
    assert score.false_per_mpix <= 1


@by_camera
@pytest.mark.parametrize("stars", STAR_CLASSES)
@pytest.mark.parametrize("flagged", [0, 0.01, 0.02])
def test_few_stars_are_harmed(camera, stars, flagged):
    allowed = (0.08 if camera.instrument == "WFPC2" else 0.02) if stars == FAINT else 0.005
    assert harmed_stars(camera, STAR_CLASSES[stars], flagged, find_ours, num_stars=1000) <= allowed
