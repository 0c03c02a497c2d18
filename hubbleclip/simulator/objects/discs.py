"""Young stars: protoplanetary discs and jets."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import ridges, smooth_step
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View


@draws("protoplanetary disk")
def protoplanetary_disk(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Dust about a young star: a dark lane between bowls of scattered light, bright rings, or a shadow on a nebula."""
    size, angle, depth = rng.uniform(0.3, 0.55), rng.uniform(0, np.pi), rng.uniform(35, 110)
    if variant == "edge-on":
        return _flared(view, rng, size, angle, depth)
    if variant == "ringed":
        return _ringed(view, rng, size * 1.3, angle, depth)
    return _silhouette(view, rng, size * 0.8, angle, depth)


def _flared(view: View, rng: np.random.Generator, size: float, angle: float, depth: float) -> Image:
    """Starlight scattered off both surfaces of a flared disc; the midplane hides the star (as in HH 30)."""
    along, across = view.axes(0, 0, angle)
    along, across = along / np.float32(size), across / np.float32(size)
    grain = view.texture(rng, 2.6, size * 1.5)
    surface = np.float32(rng.uniform(0.09, 0.16)) + np.float32(rng.uniform(0.3, 0.45)) * along**2
    light = view.blank()
    for side, share in ((1, 1.0), (-1, rng.uniform(0.45, 0.95))):
        above = side * across - surface
        bowl = smooth_step(above, -0.03, 0.03) * np.exp(-np.maximum(above, 0) / np.float32(0.17))
        light += np.float32(share) * bowl * np.exp(-((np.abs(along) / 0.75) ** 3))
    light += 0.06 * np.exp(-np.hypot(along, across) / 0.5)
    jet = (
        np.exp(-0.5 * (along / 0.02) ** 2)
        * np.exp(-np.abs(across) / 0.9)
        * (1 + np.sin(across * 25))
        * (np.abs(across) > 0.12)
    )
    colour = view.tint(0.4) if not view.line else 0.5
    return np.asarray(
        depth * (colour * light * np.exp(0.12 * grain) + 0.22 * view.glow(HA=1.2, SII=1.5, FEII=1.5) * jet), np.float32
    )


def _ringed(view: View, rng: np.random.Generator, size: float, angle: float, depth: float) -> Image:
    """An inclined disc with gaps, about a star behind an occulting spot."""
    ratio = rng.uniform(0.4, 0.9)
    radius, azimuth = view.polar(0, 0, ratio, angle)
    radius = radius / np.float32(size)
    light = 0.25 * np.exp(-radius / 0.4)
    for place in np.sort(rng.uniform(0.3, 1.0, int(rng.integers(2, 4)))):
        light += (
            rng.uniform(0.6, 1.2)
            * np.exp(-(((radius - np.float32(place)) / np.float32(rng.uniform(0.03, 0.06))) ** 2))
            * (0.4 / place)
        )
    front = 1 + np.float32(rng.uniform(0.3, 0.7)) * np.sin(azimuth)
    light = light * front * smooth_step(radius, 1.25, 0.95)
    spot = view.radius(0, 0) / np.float32(0.15 * size)
    image = depth * view.tint(0.3) * light * smooth_step(spot, 0.85, 1.1)
    star = view.blank()
    view.add_points(star, np.zeros(1), np.zeros(1), np.array([rng.uniform(1e4, 4e4) * view.tint(0.4)]))
    return np.asarray(image + star, np.float32)


def _silhouette(view: View, rng: np.random.Generator, size: float, angle: float, depth: float) -> Image:
    """A dark disc in front of a bright nebula, inside a cusp and tail of ionised gas (as in Orion)."""
    sky = np.exp(0.25 * view.texture(rng, 3.0, 2.5)) * (1 + 0.25 * ridges(view.texture(rng, 2.6, 1.8), 0.2))
    along, across = view.axes(0, 0, angle + rng.uniform(-0.7, 0.7))
    along, across = along / np.float32(size), across / np.float32(size)
    head = np.hypot(along, across)
    cusp = np.exp(-(((head - 0.75) / 0.09) ** 2)) * smooth_step(along, -0.5, 0.4)
    flank = (
        np.exp(-(((np.abs(across) - 0.75 * np.exp(along / 3.0)) / 0.1) ** 2))
        * (along < 0)
        * np.exp(np.minimum(along, 0) / 0.9)
    )
    cavity = smooth_step(head, 0.75, 0.6) + (along < 0) * (np.abs(across) < 0.7 * np.exp(along / 3.0)) * np.exp(
        np.minimum(along, 0)
    )
    shade = smooth_step(view.radius(0, 0, rng.uniform(0.3, 0.7), angle) / np.float32(size * 0.5), 1.1, 0.8)
    glow = 0.35 * depth * view.glow(HA=1.5, OIII=0.9, NII=0.9, SII=0.6)
    light = glow * (0.55 * sky + 2.2 * (cusp + 0.6 * flank) + 0.3 * np.minimum(cavity, 1))
    image = light * (1 - 0.96 * shade)
    view.add_points(image, np.zeros(1), np.zeros(1), np.array([rng.uniform(150, 600) * view.tint(0.9)]))
    return np.asarray(image, np.float32)


@draws("stellar jet")
def stellar_jet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A Herbig-Haro flow: a beam of knots from a hidden star, ending in curved bow shocks."""
    angle, depth = (
        rng.uniform(0, 2 * np.pi),
        rng.uniform(35, 90) * view.glow(HA=1.4, SII=1.7, OIII=0.4, FEII=1.8, NII=1.0, PAB=0.8),
    )
    depth *= 1.0 if view.line else 1.5
    grain = view.texture(rng, 2.2, 0.35)
    base = -0.65 if variant != "bipolar" else 0.0
    along, across = view.axes(base * np.cos(angle), base * np.sin(angle), angle)
    across = across + np.float32(0.02) * np.sin(along * np.float32(rng.uniform(4, 8)) + np.float32(rng.uniform(0, 6)))
    light = view.blank()
    for side in (1, -1) if variant == "bipolar" else (1,):
        reach = rng.uniform(0.6, 0.85) if variant == "bipolar" else rng.uniform(1.05, 1.4)
        light += _beam(rng, side * along, across, reach, variant == "knotty")
        for place, share in ((reach, 1.0), (reach * rng.uniform(0.5, 0.75), 0.5)):
            light += np.float32(share) * _bow(rng, side * along - np.float32(place), across, variant == "bow shock")
    cone = np.exp(-np.hypot(along, across) / 0.12) * smooth_step(np.abs(across) - 0.6 * np.abs(along), 0.05, -0.02)
    image = depth * light * np.exp(0.6 * grain) + 14 * view.tint(0.7) * cone
    lane = np.exp(-((along / 0.03) ** 2)) * np.exp(-((across / 0.16) ** 2))
    return np.asarray(image * (1 - 0.9 * lane), np.float32)


def _beam(rng: np.random.Generator, along: Image, across: Image, reach: float, knotty: bool) -> Image:
    """Knots strung along the axis, wider as they go."""
    width = 0.012 + 0.014 * np.clip(along, 0, None)
    light = (
        0.5
        * np.exp(-0.5 * (across / width) ** 2)
        * (along > 0.02)
        * (along < reach)
        * np.exp(-along / np.float32(0.7 * reach))
    )
    for place in np.linspace(0.07, reach * 0.95, 16 if knotty else 9) + rng.normal(0, 0.012, 16 if knotty else 9):
        size, share = rng.uniform(0.014, 0.03), rng.uniform(0.4, 1.4)
        shape = ((along - np.float32(place)) / np.float32(size * 1.5)) ** 2 + (across / np.float32(size)) ** 2
        light = light + np.float32(share) * np.exp(-0.5 * shape)
    return np.asarray(light, np.float32)


def _bow(rng: np.random.Generator, ahead: Image, across: Image, large: bool) -> Image:
    """A parabolic shock front, brightest at its apex."""
    width = np.float32(rng.uniform(0.16, 0.26) if large else rng.uniform(0.07, 0.13))
    front = ahead + across**2 / width
    skin = np.exp(-np.maximum(-front, 0) / np.float32(0.03)) * smooth_step(front, 0.012, -0.012)
    wing = np.exp(-((across / (0.75 * width)) ** 2)) * np.exp(np.clip(ahead, -3, 0) / np.float32(0.22))
    return np.asarray(2.0 * skin * wing, np.float32)
