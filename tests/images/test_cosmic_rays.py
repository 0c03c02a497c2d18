"""Cosmic rays are rejected, and stars are not: beside invalid pixels, at the frame's edge, in nebulae."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from synthetic_fits import starry_sky, write_drz

from benchmarks import simulated_rays as simulated
from hubbleclip.config.tiles import TileSettings
from hubbleclip.fits.instruments import star_contrast
from hubbleclip.images.background import background_at, block_background
from hubbleclip.images.cosmic_rays import reject_cosmic_rays
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.normalize import prepare_image
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.tiling import tile_file

ACS = simulated.CAMERAS[0]
NATIVE = TileSettings(views=("native",))
CONTRAST = star_contrast("F606W", "ACS/WFC")


def rays_of(data, valid=None, contrast=CONTRAST):
    good = np.ones(data.shape, bool) if valid is None else valid.copy()
    rows, columns = reject_cosmic_rays(data, good, contrast)
    rays = np.zeros(data.shape, bool)
    rays[rows, columns] = True
    return rays


@pytest.mark.parametrize("fwhm_px", [1.6, 2.0, 4.0])
def test_no_stars_core_is_taken_for_a_cosmic_ray(fwhm_px):
    data = starry_sky((600, 600), num_stars=300, fwhm_px=fwhm_px)
    peaks = (data == ndimage.maximum_filter(data, 5)) & (data > 60)
    assert peaks.sum() > 100 and not (rays_of(data) & peaks).any()


@pytest.mark.parametrize("mean", [0.005, 0.02])
def test_sparse_photons_are_not_taken_for_cosmic_rays(mean):
    assert not rays_of(np.random.default_rng(0).poisson(mean, (200, 200)).astype(np.float32)).any()


def test_stars_beside_flagged_pixels_keep_their_cores_in_a_tile(tmp_path):
    rng = np.random.default_rng(6)
    light = np.zeros((512, 512))
    peaks = simulated.add_stars(light, ACS, np.full(400, simulated.star_flux_e(ACS, 60)), rng)
    data, flags = simulated.expose(light, 0.0, ACS, rng), np.where(rng.random(light.shape) < 0.02, 4, 0)
    flags[tuple(peaks.T)] = 0
    truth, seen = (
        decode_own_png(tile_file(write_exposure(tmp_path, data, quality), "0" * 64, NATIVE).tiles[0].encoded)[::-1]
        for quality in (np.zeros_like(flags), flags)
    )
    assert np.mean(seen[tuple(peaks.T)] < 0.8 * truth[tuple(peaks.T)]) <= 0.02


def write_exposure(folder, data, quality):
    return write_drz(folder / "a_flt.fits", data, ("ACS", "WFC"), {"NDRIZIM": 0}, DQ=quality.astype(np.int16))


def test_a_star_that_the_frames_edge_cuts_is_not_a_cosmic_ray():
    light = np.zeros((600, 600))
    peaks = simulated.add_stars(light, ACS, np.full(100, 5000.0), np.random.default_rng(3))
    data = simulated.expose(light, 0.0, ACS, np.random.default_rng(4))
    for y, x in peaks:
        assert not rays_of(data[y : y + 64, x - 12 : x + 52]).any(axis=1)[0]


def test_a_ray_in_the_wing_of_a_star_does_not_grow_over_its_core():
    data = np.random.default_rng(0).normal(0, 1, (64, 64))
    dy, dx = np.mgrid[-32:32, -32:32]
    data += 1000 * np.exp(-(dy**2 + dx**2) / 2)
    data[32, 35:37] += 300
    rays = rays_of(data.astype(np.float32))
    assert rays[32, 35:37].all() and not rays[31:34, 31:34].any()


@pytest.mark.skipif(not simulated.has_real_psfs(), reason="the analytic profiles are sharper than any star")
def test_the_core_of_a_star_that_is_cut_off_at_the_full_well_is_not_a_cosmic_ray():
    camera = next(camera for camera in simulated.CAMERAS if camera.name == "WFC3/UVIS F336W")
    rng, light = np.random.default_rng(2), np.zeros((512, 512))
    simulated.add_stars(light, camera, np.geomspace(3e5, 3e6, 225), rng)
    data = simulated.expose(light, 0.0, camera, rng)
    rays = rays_of(data, contrast=star_contrast(camera.filter, camera.instrument))
    assert not rays[data == camera.full_well_e].any()


@pytest.mark.parametrize(
    ("mean_e", "share", "least"),
    [(300, 0, 0.8), (1500, 0, 0.75), (300, 0.25, 0.8), (300, 0.5, 0.75), (1000, 0.25, 0.65)],
)
def test_cosmic_rays_are_found_in_smooth_and_fine_nebulae(mean_e, share, least):
    rng = np.random.default_rng(5)
    light = np.zeros((300, 300))
    if share:
        simulated.add_fine_nebula(light, mean_e, share, rng)
    else:
        simulated.add_nebula(light, mean_e, rng)
    tracks = simulated.draw_rays(light.shape, rng)
    rays = rays_of(simulated.expose(light, tracks, ACS, rng))
    assert rays[tracks > 6 * simulated.noise_map(light, ACS)].mean() >= least
    assert not rays_of(simulated.expose(light, 0.0, ACS, rng)).any()


@pytest.mark.parametrize("bit", [256, 2048])
def test_pixels_that_are_flagged_as_saturated_are_not_cosmic_rays(tmp_path, bit):
    data, flags = starry_sky((128, 128), num_stars=20), np.zeros((128, 128), int)
    data[20:100, 64], flags[20:100, 64] = 80_000, bit  # a bleed trail
    data[100, 64], data[60:64, 30] = 5000, 500  # below the trail, and a ray
    flags[[19, 50], 64] |= 4
    image = read_science_images(write_exposure(tmp_path, data, flags), 10**6)[0]
    rays = prepare_image(image, NATIVE).rays
    found = set(zip(*(part.tolist() for part in rays), strict=True))
    assert found >= {(y, 30) for y in range(60, 64)} and not found & {(y, 64) for y in range(20, 101)}
    assert not image.valid_yx[[19, 50], 64].any()


def test_level_and_noise_of_whole_numbers_are_not_rounded():
    counts = np.rint(np.random.default_rng(0).normal(1.4, 0.8, (512, 512))).astype(np.float32)
    levels, noises = block_background(counts, np.ones(counts.shape, bool))
    assert levels.mean() == pytest.approx(1.4, abs=0.03)
    assert noises.mean() == pytest.approx((0.8**2 + 1 / 12) ** 0.5, rel=0.06)


def test_the_background_between_blocks_is_that_of_their_centres():
    at_y, at_x = (16 * axis.astype(np.float32) + np.float32(7.5) for axis in np.mgrid[:4, :5])
    found = [background_at((at_y, at_x), y, x) for y, x in ((7, 8), (20, 33), (55, 71), (0, 79))]
    assert found == [(7.5, 8), (20, 33), (55, 71), (7.5, 71.5)]


@pytest.mark.parametrize(("num_rows", "are_rays"), [(59, True), (61, False)])
def test_up_to_fifteen_percent_of_an_image_may_be_rays(num_rows, are_rays):
    data = np.random.default_rng(0).normal(5, 1, (200, 200)).astype(np.float32)
    data[1 : 2 * num_rows : 2, 1::2] += 300  # 100 pixels a row, none of which the background is sampled from
    valid = np.ones(data.shape, bool)
    rows, columns = reject_cosmic_rays(data, valid, CONTRAST)
    assert (rows.size > 0) == are_rays and np.count_nonzero(~valid) == rows.size
    assert not are_rays or (valid[rows, columns].sum() == 0 and abs(rows.size - 100 * num_rows) < 60)
