"""Scenes of the simulated sky, before the effects of optics, detector and noise."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import Filter
from hubbleclip.simulator.objects import deep, discs, galaxies, nebulae, solar, stellar
from hubbleclip.simulator.objects.components import add_field_stars, add_small_galaxies
from hubbleclip.simulator.objects.view import Image, ObjectRenderer, View
from hubbleclip.simulator.plans import ObservingPlan, Target
from hubbleclip.simulator.random_draws import hash_seed, numpy_rng

OBJECT_RENDERERS: dict[str, ObjectRenderer] = {
    "spiral galaxy": galaxies.spiral_galaxy,
    "elliptical galaxy": galaxies.elliptical_galaxy,
    "galaxy merger": galaxies.galaxy_merger,
    "dwarf galaxy": galaxies.dwarf_galaxy,
    "globular cluster": stellar.globular_cluster,
    "open cluster": stellar.open_cluster,
    "planetary nebula": nebulae.planetary_nebula,
    "supernova remnant": nebulae.supernova_remnant,
    "star-forming nebula": nebulae.star_forming_nebula,
    "planet": solar.planet,
    "comet": solar.comet,
    "Kuiper belt field": solar.kuiper_belt_field,
    "protoplanetary disk": discs.protoplanetary_disk,
    "stellar jet": discs.stellar_jet,
    "galaxy cluster": deep.galaxy_cluster,
    "gravitational lens": deep.gravitational_lens,
    "quasar host": deep.quasar_host,
    "deep field": deep.deep_field,
}
CROWDED = frozenset(
    {"globular cluster", "open cluster", "planetary nebula", "supernova remnant", "star-forming nebula", "stellar jet"}
)
# Kinds of object to which `add_background` adds nothing.
OWN_BACKGROUND = frozenset({"deep field", "galaxy cluster", "Kuiper belt field", "planet", "calibration"})


def scene_view(frame: Frame, target: Target, band: Filter, epoch: int) -> View:
    """Compute the position of each pixel of a frame relative to the target, in units of `half_field_arcsec`."""
    pixel_size = frame.pixel_scale_arcsec / target.half_field_arcsec
    # The sign is negative because x increases to the west.
    centre = (-frame.east_arcsec / target.half_field_arcsec, frame.north_arcsec / target.half_field_arcsec)
    y = (np.arange(frame.num_y, dtype=np.float32) - np.float32((frame.num_y - 1) / 2)) * np.float32(pixel_size)
    x = (np.arange(frame.num_x, dtype=np.float32) - np.float32((frame.num_x - 1) / 2)) * np.float32(pixel_size)
    roll = np.deg2rad(frame.roll_deg)
    cosine, sine = np.float32(np.cos(roll)), np.float32(np.sin(roll))
    # x increases to the west, so a frame with a roll of 0 has north up and east to the left.
    return View(
        x_yx=cosine * x[None, :] - sine * y[:, None] + np.float32(centre[0]),
        y_yx=sine * x[None, :] + cosine * y[:, None] + np.float32(centre[1]),
        pixel_size=pixel_size,
        angle_deg=frame.roll_deg,
        centre_xy=centre,
        wave_nm=band.wave_nm,
        line=band.line,
        epoch=epoch,
    )


def render_scene(view: View, plan: ObservingPlan, target: Target) -> Image:
    """Render the noise-free scene of a target in a frame.

    The object and its background depend only on the `scene_key` of the target, so all frames of a target show the same
    scene. The exception is a moving target, whose background changes with each observation.
    """
    if plan.kind.name == "calibration":
        return view.blank_image()
    image = OBJECT_RENDERERS[plan.kind.name](view, numpy_rng(target.scene_key, "object"), target.variant)
    # A moving target is in front of a different star field in each observation.
    field_key = hash_seed("background", view.epoch) if plan.kind.is_moving else target.scene_key
    add_background(view, image, numpy_rng(field_key, "field"), plan.kind.name)
    return np.asarray(image, np.float32)


def add_background(view: View, image: Image, rng: np.random.Generator, kind: str) -> None:
    """Add foreground stars and background galaxies in place."""
    if kind in OWN_BACKGROUND:
        return
    crowded = kind in CROWDED
    add_field_stars(view, image, rng, int(rng.integers(60, 260) if crowded else rng.integers(6, 28)))
    add_small_galaxies(view, image, rng, int(rng.integers(4, 12) if crowded else rng.integers(25, 70)))
