"""Renderers and optics: every kind renders in every camera, filters share a scene, and components follow their laws."""

import numpy as np
import pytest
import scipy.ndimage

from hubbleclip.simulator.detector import draw_counts, saturate
from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import CAMERAS
from hubbleclip.simulator.object_kinds import OBJECT_KINDS
from hubbleclip.simulator.objects.view import View
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of, plan_of
from hubbleclip.simulator.plans import Target
from hubbleclip.simulator.sky import OBJECT_RENDERERS, render_scene, scene_view

SIDE = 128
TARGET = Target(name="T", scene_key=7, variant="", ra_deg=30.0, dec_deg=10.0, half_field_arcsec=SIDE * 0.025)


def make_view(camera: str = "ACS/WFC", band: str = "F606W", roll_deg: float = 0.0, side: int = SIDE) -> View:
    zeros = dict.fromkeys(("tilt_deg", "east_arcsec", "north_arcsec"), 0.0)
    sides = {"num_y": side, "num_x": side, "half_px": side / 2, "pixel_scale_arcsec": 0.05}
    frame = Frame(**sides, **zeros, roll_deg=roll_deg, ra_deg=30.0, dec_deg=10.0)
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
    def total(kind: str, band: str) -> float:
        variant = OBJECT_KINDS[kind].variants[0]
        return float(OBJECT_RENDERERS[kind](make_view(band=band), np.random.default_rng(3), variant).sum())

    assert total("elliptical galaxy", "F814W") > 2 * total("elliptical galaxy", "F435W")
    assert total("planetary nebula", "F502N") > total("planetary nebula", "F550M")


def test_the_background_changes_behind_a_moving_target_only() -> None:
    settings = SkySettings(num_proposals=40, frame_px=96)
    for name, differs in (("comet", True), ("spiral galaxy", False)):
        proposal = next(one for one in make_proposals(settings) if one.kind == name)
        plan = plan_of(settings, int(proposal.number) - 10001)
        assert len(observations_of(settings, proposal)) >= 2
        fields = {name: getattr(make_view(), name) for name in View.__slots__}
        frames = [render_scene(View(**fields | {"epoch": epoch}), plan, plan.targets[0]) for epoch in (1, 2)]
        assert np.allclose(frames[0], frames[1]) is not differs


def test_added_points_keep_their_flux_and_position() -> None:
    view, image = make_view(), np.zeros((SIDE, SIDE), np.float32)
    view.add_points(image, np.array([0.25]), np.array([-0.5]), np.array([100.0]))
    assert image.sum() == pytest.approx(100.0, rel=1e-5)
    row, column = scipy.ndimage.center_of_mass(image)
    assert view.x_yx[0, round(column)] == pytest.approx(0.25, abs=view.pixel_size)
    assert view.y_yx[round(row), 0] == pytest.approx(-0.5, abs=view.pixel_size)


def test_noise_has_the_variance_of_photons_and_readout() -> None:
    for level in (3.0, 400.0):
        counts = draw_counts(np.full((300, 300), level, np.float32), 4.0, np.random.default_rng(2))
        assert counts.mean() == pytest.approx(level, abs=0.3)
        assert counts.var() == pytest.approx(level + 16.0, rel=0.05)


def test_a_ccd_bleeds_along_columns_and_an_infrared_array_does_not() -> None:
    for bleeds in (True, False):
        image = np.zeros((50, 50), np.float32)
        image[25, 20] = 1e6
        full = saturate(image, 5e4, bleeds=bleeds)
        assert image.max() == 5e4
        assert full[:, 20].sum() == (19 if bleeds else 1)
        assert full[25].sum() == 1
