"""The simulated sky: a scene as a camera would see it were its optics and electronics perfect."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.frames import Frame
from hubbleclip.simulator.instruments import Filter
from hubbleclip.simulator.objects import deep, discs, galaxies, nebulae, solar, stellar  # noqa: F401  (they register)
from hubbleclip.simulator.objects.brushes import add_field_stars, add_small_galaxies
from hubbleclip.simulator.objects.registry import DRAWINGS
from hubbleclip.simulator.objects.view import Image, View
from hubbleclip.simulator.plans import Plan, Target
from hubbleclip.simulator.random_draws import integer_of, numpy_rng

CROWDED = frozenset(
    {"globular cluster", "open cluster", "planetary nebula", "supernova remnant", "star-forming nebula", "stellar jet"}
)
OWN_BACKGROUND = frozenset({"deep field", "galaxy cluster", "Kuiper belt field", "planet", "calibration"})


def view_of(frame: Frame, target: Target, band: Filter, epoch: int) -> View:
    """The frame's grid in scene coordinates."""
    pixel = frame.pixel_scale_arcsec / target.half_field_arcsec
    centre = (-frame.east_arcsec / target.half_field_arcsec, frame.north_arcsec / target.half_field_arcsec)
    y = (np.arange(frame.num_y, dtype=np.float32) - np.float32((frame.num_y - 1) / 2)) * np.float32(pixel)
    x = (np.arange(frame.num_x, dtype=np.float32) - np.float32((frame.num_x - 1) / 2)) * np.float32(pixel)
    turn = np.deg2rad(frame.roll_deg)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return View(
        x_yx=cosine * x[None, :] - sine * y[:, None] + np.float32(centre[0]),
        y_yx=sine * x[None, :] + cosine * y[:, None] + np.float32(centre[1]),
        pixel=pixel, angle_deg=frame.roll_deg, centre_xy=centre, wave_nm=band.wave_nm, line=band.line, epoch=epoch,
    )  # fmt: skip


def draw_scene(view: View, plan: Plan, target: Target, seed: int) -> Image:
    """The scene in the frame, in units of the noise of a typical combined exposure.

    The object and what lies behind it come from the target's key alone; behind a moving target the stars change with
    each observation.
    """
    if plan.kind.name == "calibration":
        return view.blank()
    image = DRAWINGS[plan.kind.name](view, numpy_rng(target.scene_key, "object"), target.variant)
    field_key = integer_of(seed, "background", view.epoch) if plan.kind.is_moving else target.scene_key
    add_background(view, image, numpy_rng(field_key, "field"), plan.kind.name)
    return np.asarray(image, np.float32)


def add_background(view: View, image: Image, rng: np.random.Generator, kind: str) -> None:
    """Foreground stars and background galaxies: more stars near the Galactic plane, where clusters and nebulae are."""
    if kind in OWN_BACKGROUND:
        return
    crowded = kind in CROWDED
    add_field_stars(view, image, rng, int(rng.integers(60, 260) if crowded else rng.integers(6, 28)))
    add_small_galaxies(view, image, rng, int(rng.integers(4, 12) if crowded else rng.integers(25, 70)))
