"""The solar system: planets, comets and the Kuiper belt."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import luminosities, smooth_step, tints
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View
from hubbleclip.simulator.random_draws import numpy_rng


@draws("planet")
def planet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A limb-darkened, flattened disc with belts, storms or albedo marks, and rings and moons where it has them."""
    size = {"Jupiter": 0.78, "Saturn": 0.42, "Uranus": 0.36, "Neptune": 0.42, "Mars": 0.55}[variant] * rng.uniform(
        0.8, 1.15
    )
    angle, depth = rng.uniform(0, np.pi), rng.uniform(60, 260)
    flat = {"Jupiter": 0.935, "Saturn": 0.9, "Uranus": 0.977, "Neptune": 0.983, "Mars": 0.995}[variant]
    radius = view.radius(0, 0, flat, angle) / np.float32(size)
    along, across = view.axes(0, 0, angle)
    mu = np.sqrt(np.clip(1 - radius**2, 0, 1))
    edge = smooth_step(radius, 1 + view.pixel / size, 1 - view.pixel / size)
    surface = _surface(view, rng, variant, (along / np.float32(size), across / np.float32(size * flat)), mu)
    light = (
        edge
        * np.maximum(surface, 0.08)
        * (mu + 0.02) ** np.float32(rng.uniform(0.8, 1.2) if variant != "Mars" else 0.3)
    )
    if variant == "Mars":
        light = light * smooth_step(along / np.float32(size) * 0.8 + mu, -0.25, 0.35)
    if variant in ("Saturn", "Uranus"):
        light = _with_rings(view, rng, (light, edge), (angle, size), broad=variant == "Saturn")
    image = np.asarray(depth * light, np.float32)
    count = int(rng.integers(1, 5))
    place = rng.choice([-1, 1], count) * rng.uniform(1.2, 2.0, count) * size
    drift = rng.normal(0, 0.08, count) * size
    x, y = place * np.cos(angle) - drift * np.sin(angle), place * np.sin(angle) + drift * np.cos(angle)
    view.add_points(image, x, y, rng.uniform(300, 4000, count))
    return image


def _surface(view: View, rng: np.random.Generator, variant: str, place: tuple[Image, Image], mu: Image) -> Image:
    """Albedo over the disc; the longitude seen changes from visit to visit."""
    along, across = place
    spin = numpy_rng(view.epoch, "longitude").uniform(0, 10)
    x, y = along / (0.35 + 0.65 * mu), across
    swirl = view.texture(rng, 2.2, 1.6, at=(x * np.float32(0.6) + np.float32(spin), y * np.float32(2.0)))
    if variant == "Mars":
        marks = smooth_step(view.texture(rng, 3.2, 2.4, at=(x + np.float32(spin), y)), -0.3, 1.0)
        cap = smooth_step(y + 0.03 * swirl, 0.78, 0.84)
        return (
            0.95 - np.float32(0.5 * min(1.2, view.wave_nm / 600)) * marks + np.float32(0.9 * 600 / view.wave_nm) * cap
        )
    belts = {"Jupiter": 0.34, "Saturn": 0.2, "Uranus": 0.13, "Neptune": 0.2}[variant]
    wavy = y + np.float32(0.02 if variant == "Jupiter" else 0.006) * swirl
    pattern = view.blank()
    for number in (5, 9, 14, 23) if variant == "Jupiter" else (3, 6, 11):
        pattern += np.float32(rng.uniform(0.5, 1.0)) * np.sin(wavy * number + np.float32(rng.uniform(0, 6.28)))
    albedo = 1 + np.float32(belts) * pattern + np.float32(0.35 * belts) * swirl
    if variant == "Uranus":
        albedo = albedo + np.float32(0.5 * min(1.5, view.wave_nm / 700)) * smooth_step(y, 0.35, 0.75)
    return albedo + _storms(view, rng, variant, x, y)


def _storms(view: View, rng: np.random.Generator, variant: str, x: Image, y: Image) -> Image:
    """Jupiter's red spot, dark in the blue; bright methane clouds on the ice giants."""
    marks = view.blank()
    shift = numpy_rng(view.epoch, "storms").uniform(-0.5, 0.5)
    if variant == "Jupiter":
        spot = ((x - np.float32(shift)) / 0.2) ** 2 + ((y + 0.35) / 0.1) ** 2
        return np.asarray(
            marks + (0.35 * np.exp(-(((spot - 1.3) / 0.5) ** 2)) - 0.45 * 550 / view.wave_nm * np.exp(-(spot**2))),
            np.float32,
        )
    bright = 0.15 if variant == "Saturn" else 0.8 * min(2.0, view.wave_nm / 650)
    for place_x, place_y, size in zip(
        rng.uniform(-0.7, 0.7, 5), rng.uniform(-0.7, 0.7, 5), rng.uniform(0.04, 0.1, 5), strict=True
    ):
        stretched = ((x - np.float32(place_x + 0.5 * shift)) / np.float32(2.2 * size)) ** 2 + (
            (y - np.float32(place_y)) / np.float32(0.6 * size)
        ) ** 2
        marks += np.float32(bright) * np.exp(-stretched)
    return marks


def _with_rings(
    view: View,
    rng: np.random.Generator,
    disc: tuple[Image, Image],
    pose: tuple[float, float],
    *,
    broad: bool,
) -> Image:
    """Rings before and behind the disc, with the gap that Cassini saw; the planet's shadow falls on the far side."""
    (light, edge), (angle, size) = disc, pose
    tilt = rng.uniform(0.12, 0.42)
    along, across = view.axes(0, 0, angle)
    radius = np.hypot(along, across / np.float32(tilt)) / np.float32(size)
    if broad:
        ring = 0.75 * smooth_step(radius, 1.52, 1.58) * smooth_step(radius, 1.96, 1.93) + 0.15 * smooth_step(
            radius, 1.24, 1.3
        ) * (radius < 1.52)
        ring = ring + 0.5 * smooth_step(radius, 2.02, 2.05) * smooth_step(radius, 2.28, 2.25)
        ring = ring * (1 + 0.12 * np.sin(radius * 60))
    else:
        ring = 0.035 * np.exp(-(((radius - 2.0) / 0.02) ** 2))
    behind = (across > 0).astype(np.float32) * edge
    opacity = np.clip(ring, 0, 0.9) * (1 - behind)
    return np.asarray(light * (1 - opacity) + ring * (1 - behind), np.float32)


@draws("comet")
def comet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A coma falling as 1/r about a bright nucleus, a curved fan of dust and a thin tail of ions; or a broken comet."""
    turn, depth = rng.uniform(0, 2 * np.pi), rng.uniform(25, 70) * view.tint(0.1)
    centre = (-0.35 * np.cos(turn), -0.35 * np.sin(turn))
    grain = view.texture(rng, 2.6, 1.2)
    pieces = int(rng.integers(4, 9)) if variant == "disintegrating" else 1
    light = view.blank()
    strength = 1.0 if variant != "short-period" else 0.6
    along, across = view.axes(*centre, turn)
    steps, drift = rng.exponential(0.16, pieces).cumsum(), rng.normal(0, 0.045, pieces)
    for k in range(pieces):
        step, off = (0.0, 0.0) if k == 0 else (steps[k], drift[k])
        share = np.float32(strength if k == 0 else rng.uniform(0.2, 0.6))
        light += share * _coma_and_tail(
            rng, along - np.float32(step), across - np.float32(off), grain, scale=1.0 if k == 0 else 0.45
        )
    if variant == "long-period":
        light += 0.25 * _ion_tail(rng, along, across, grain)
    image = np.asarray(depth * light, np.float32)
    view.add_points(image, np.array([centre[0]]), np.array([centre[1]]), np.array([depth * rng.uniform(25, 90)]))
    return image


def _coma_and_tail(rng: np.random.Generator, along: Image, across: Image, grain: Image, *, scale: float) -> Image:
    radius = np.hypot(along, across)
    size, spread, bend = np.float32(0.07 * scale), np.float32(rng.uniform(0.12, 0.3)), np.float32(rng.normal(0, 0.18))
    coma = size / (radius + np.float32(0.01)) * np.exp(-radius / np.float32(0.38 * scale))
    width = size * 0.5 + spread * np.clip(along, 0, None)
    fan = np.exp(-0.5 * ((across - bend * along * np.abs(along)) / width) ** 2) * size / width
    reach = np.float32(rng.uniform(0.5, 1.0) * scale)
    tail = fan * smooth_step(along, -0.02, 0.05) * np.exp(-np.clip(along, 0, None) / reach) * np.exp(0.12 * grain)
    return np.asarray(coma + 1.0 * tail, np.float32)


def _ion_tail(rng: np.random.Generator, along: Image, across: Image, grain: Image) -> Image:
    """Straight, narrow rays that fan out a little."""
    light = np.zeros_like(along)
    for tilt in rng.normal(0, 0.07, 6):
        width = 0.008 + 0.02 * np.clip(along, 0, None)
        light += np.exp(-0.5 * ((across - np.float32(tilt) * along + 0.006 * grain) / width) ** 2)
    return np.asarray(light * (along > 0) * np.exp(-np.clip(along, 0, None) / 1.5), np.float32)


@draws("Kuiper belt field")
def kuiper_belt_field(view: View, rng: np.random.Generator, variant: str) -> Image:
    """An almost empty field. The telescope follows the faint point in its middle, so all else is trailed."""
    light = view.blank()
    passing = numpy_rng(view.epoch, "trails")
    count, turn, length = int(passing.integers(9, 22)), passing.uniform(0, np.pi), passing.uniform(0.05, 0.16)
    x, y = passing.uniform(-1.5, 1.5, (2, count))
    flux = luminosities(passing, count, 60, 0.5, 9000) * tints(view, passing.normal(0.5, 0.5, count)) / 24
    fuzz = np.where(flux < 40, passing.uniform(0.0, 0.01, count), 0.0)
    for step in np.linspace(-0.5, 0.5, 90) * length:
        jitter = passing.normal(0, 1, (2, count)) * fuzz
        view.add_points(light, x + step * np.cos(turn) + jitter[0], y + step * np.sin(turn) + jitter[1], flux)
    bright = rng.uniform(150, 900)
    body_x, body_y, body_flux = np.zeros(1), np.zeros(1), np.array([bright])
    if variant == "binary":
        gap = rng.uniform(0.015, 0.04)
        body_x, body_y, body_flux = np.array([0, gap]), np.array([0, 0.4 * gap]), np.array([bright, 0.6 * bright])
    view.add_points(light, body_x, body_y, body_flux * view.tint(0.4))
    return light
