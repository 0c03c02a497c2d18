"""Renderers and optics: every kind renders in every camera, filters share a scene, and components follow their laws."""

import numpy as np
import pytest
import scipy.ndimage

from hubbleclip.simulator.detector import NUM_COMBINED, ExposureDepth, draw_counts, saturate
from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import CAMERAS
from hubbleclip.simulator.object_kinds import OBJECT_KINDS
from hubbleclip.simulator.objects.components import power_law_fluxes, sersic_profile
from hubbleclip.simulator.objects.deep import Lens, source_plane
from hubbleclip.simulator.objects.view import TEXTURE_PX, View, _sample_bilinear, fractal_tile
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of, plan_of
from hubbleclip.simulator.optics import convolve, psf_image
from hubbleclip.simulator.plans import Target
from hubbleclip.simulator.sky import OBJECT_RENDERERS, render_scene, scene_view

SIDE = 128
TARGET = Target(name="T", scene_key=7, variant="", ra_deg=30.0, dec_deg=10.0, half_field_arcsec=SIDE * 0.025)


def make_view(camera: str = "ACS/WFC", band: str = "F606W", roll_deg: float = 0.0, side: int = SIDE) -> View:
    frame = Frame(
        num_y=side,
        num_x=side,
        pixel_scale_arcsec=0.05,
        roll_deg=roll_deg,
        tilt_deg=0.0,
        half_px=side / 2,
        east_arcsec=0.0,
        north_arcsec=0.0,
        ra_deg=30.0,
        dec_deg=10.0,
    )
    return scene_view(frame, TARGET, CAMERAS[camera].filter(band), epoch=1)


def test_every_kind_has_a_renderer() -> None:
    assert set(OBJECT_RENDERERS) == set(OBJECT_KINDS)


@pytest.mark.parametrize("kind", list(OBJECT_KINDS))
def test_every_variant_is_finite_bright_enough_and_distinct(kind: str) -> None:
    images = []
    for variant in OBJECT_KINDS[kind].variants:
        image = OBJECT_RENDERERS[kind](make_view(), np.random.default_rng(3), variant)
        assert image.shape == (SIDE, SIDE)
        assert np.isfinite(image).all()
        assert np.quantile(image, 0.999) > 5
        images.append(image)
    assert not np.allclose(images[0], images[-1])


@pytest.mark.parametrize("kind", [kind for kind in OBJECT_KINDS if not OBJECT_KINDS[kind].is_moving])
def test_two_filters_show_the_same_scene(kind: str) -> None:
    variant = OBJECT_KINDS[kind].variants[0]
    blue, red = (
        OBJECT_RENDERERS[kind](make_view(band=band), np.random.default_rng(3), variant) for band in ("F475W", "F814W")
    )
    smooth = [scipy.ndimage.gaussian_filter(np.arcsinh(image), 1.0).ravel() for image in (blue, red)]
    assert np.corrcoef(smooth)[0, 1] > 0.7


def test_a_rotated_camera_records_the_rotated_scene() -> None:
    renderer = OBJECT_RENDERERS["elliptical galaxy"]
    upright = renderer(make_view(), np.random.default_rng(3), "giant")
    turned = renderer(make_view(roll_deg=90.0), np.random.default_rng(3), "giant")
    assert np.allclose(np.rot90(upright), turned, rtol=2e-2, atol=0.3) or np.allclose(
        np.rot90(upright, -1), turned, rtol=2e-2, atol=0.3
    )


def test_old_galaxies_are_red_and_nebulae_bright_in_emission_lines() -> None:
    def total(kind: str, band: str, camera: str = "ACS/WFC") -> float:
        return float(
            OBJECT_RENDERERS[kind](
                make_view(camera, band), np.random.default_rng(3), OBJECT_KINDS[kind].variants[0]
            ).sum()
        )

    assert total("elliptical galaxy", "F814W") > 2 * total("elliptical galaxy", "F435W")
    assert total("planetary nebula", "F502N") > total("planetary nebula", "F550M")


def test_the_background_changes_behind_a_moving_target_only() -> None:
    settings = SkySettings(num_proposals=40, frame_px=96)
    for name, differs in (("comet", True), ("spiral galaxy", False)):
        proposal = next(one for one in make_proposals(settings) if one.kind == name)
        plan = plan_of(settings, int(proposal.number) - 10001)
        assert len(observations_of(settings, proposal)) >= 2
        frames = [
            render_scene(View(**{**_fields(make_view()), "epoch": epoch}), plan, plan.targets[0]) for epoch in (1, 2)
        ]
        assert np.allclose(frames[0], frames[1]) is not differs


def _fields(view: View) -> dict[str, object]:
    return {name: getattr(view, name) for name in View.__slots__}


def test_texture_samples_agree_with_scipy() -> None:
    rows, columns = np.random.default_rng(0).uniform(-700, 900, (2, 40)).astype(np.float32)
    tile = fractal_tile(0, 2.5)
    slow = scipy.ndimage.map_coordinates(tile, [rows % TEXTURE_PX, columns % TEXTURE_PX], order=1, mode="grid-wrap")
    assert np.allclose(_sample_bilinear(tile, rows, columns), slow, atol=1e-3)


def test_added_points_keep_their_flux_and_position() -> None:
    view, image = make_view(), np.zeros((SIDE, SIDE), np.float32)
    view.add_points(image, np.array([0.25]), np.array([-0.5]), np.array([100.0]))
    assert image.sum() == pytest.approx(100.0, rel=1e-5)
    row, column = scipy.ndimage.center_of_mass(image)
    assert view.x_yx[0, round(column)] == pytest.approx(0.25, abs=view.pixel_size)
    assert view.y_yx[round(row), 0] == pytest.approx(-0.5, abs=view.pixel_size)


def test_half_of_a_sersic_galaxys_light_is_inside_its_effective_radius() -> None:
    radius = np.linspace(1e-4, 60, 400_000, dtype=np.float64)
    for index in (1.0, 2.5, 4.0):
        light = sersic_profile(radius.astype(np.float32), 1.0, index, 0.0).astype(np.float64) * radius
        assert light[radius < 1].sum() / light.sum() == pytest.approx(0.5, abs=0.02)


def test_luminosities_follow_their_power_law_between_the_limits() -> None:
    flux = power_law_fluxes(np.random.default_rng(1), 200_000, 1.0, 1.0, 1000.0)
    assert flux.min() >= 1
    assert flux.max() <= 1000
    assert (flux > 10).mean() == pytest.approx(0.1, abs=0.01)


def test_a_round_lens_maps_its_einstein_ring_to_a_point() -> None:
    view = make_view()
    u, v = source_plane(view, [Lens(einstein_radius=0.4, axis_ratio=1.0, angle=0.3, core_radius=0.0)])
    ring = np.abs(np.hypot(view.x_yx, view.y_yx) - 0.4) < view.pixel_size
    assert np.hypot(u, v)[ring].max() < 2 * view.pixel_size


def test_the_psf_has_unit_sum_and_spikes_on_the_diagonals() -> None:
    psf = np.fft.fftshift(psf_image(2.0, 45.0, (128, 128)))
    assert psf.sum() == pytest.approx(1.0, abs=1e-4)
    assert psf[64 + 25, 64 + 25] > 3 * psf[64, 64 + 35]


def test_convolution_agrees_with_the_direct_sum() -> None:
    image = np.zeros((64, 64), np.float32)
    image[30, 33] = 1000.0
    seen = convolve(image, CAMERAS["ACS/WFC"], 600.0, 0.0)
    shape = (108, 108)
    psf = psf_image(2.1, 45.0, shape) * 1000
    direct = np.roll(psf, (30, 33), (0, 1))[:64, :64]
    assert seen[25:36, 28:39] == pytest.approx(direct[25:36, 28:39], rel=0.02, abs=0.3)


def test_noise_has_the_variance_of_photons_and_readout() -> None:
    for level in (3.0, 400.0):
        counts = draw_counts(np.full((300, 300), level, np.float32), 4.0, np.random.default_rng(2))
        assert counts.mean() == pytest.approx(level, abs=0.3)
        assert counts.var() == pytest.approx(level + 16.0, rel=0.05)


def test_a_brightness_unit_is_one_sigma_of_a_typical_exposure() -> None:
    camera = CAMERAS["ACS/WFC"]
    depth = ExposureDepth(camera=camera, band=camera.filter("F606W"), exposure_s=1000.0, typical_s=1000.0)
    assert depth.unit_e == pytest.approx((depth.sky_e + NUM_COMBINED * camera.read_noise_e**2) ** 0.5)


def test_a_ccd_bleeds_along_columns_and_an_infrared_array_does_not() -> None:
    for bleeds in (True, False):
        image = np.zeros((50, 50), np.float32)
        image[25, 20] = 1e6
        full = saturate(image, 5e4, bleeds=bleeds)
        assert image.max() == 5e4
        assert full[:, 20].sum() == (19 if bleeds else 1)
        assert full[25].sum() == 1
