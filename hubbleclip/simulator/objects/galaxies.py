"""Spiral, elliptical, merging and dwarf galaxies."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import luminosities, ridges, sersic, smooth_step, tints
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View


@draws("spiral galaxy")
def spiral_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Exponential disc with log-spiral arms, dust on their inner side, star-forming knots and a bulge."""
    scale, angle, depth = rng.uniform(0.17, 0.36), rng.uniform(0, np.pi), rng.uniform(45, 140)
    if variant == "edge-on":
        return _edge_on(view, rng, scale * 1.2, angle, depth)
    ratio, pitch = rng.uniform(0.42, 1.0), np.deg2rad(rng.uniform(13, 27)) * rng.choice([-1, 1])
    arms = int(rng.integers(4, 8)) if variant == "flocculent" else int(rng.choice([2, 2, 2, 3]))
    radius, azimuth = view.polar(0, 0, ratio, angle)
    ripple = view.texture(rng, 2.6, scale * 5)
    grain = view.texture(rng, 2.0, scale * 3)
    lag = (1.1 if variant == "flocculent" else 0.45) * ripple
    phase = arms * (azimuth - np.log(radius + 0.02) / np.float32(np.tan(pitch))) + lag
    sharp = np.float32(1.2 if variant == "flocculent" else 2.4)
    arm = np.exp(-sharp * (1 - np.cos(phase)))
    grown = smooth_step(radius, 0.15 * scale, 0.9 * scale)
    disc = np.exp(-radius / np.float32(scale))
    young = disc * arm * grown * np.exp(0.7 * grain)
    light = depth * (view.tint(0.6) * 0.55 * disc + view.tint(-0.5) * 1.5 * young)
    lane = np.exp(-sharp * 2 * (1 - np.cos(phase - np.float32(0.9 * np.sign(pitch))))) * grown
    light *= np.exp(
        -np.float32(_opacity(view)) * (0.8 * lane + 0.3 * ridges(grain, 0.35)) * smooth_step(radius, 3.2 * scale, scale)
    )
    light += _bulge(view, rng, (scale, ratio, angle), depth, barred=variant == "barred")
    _add_knots(view, rng, light, (scale, ratio, angle, pitch, arms), depth)
    return np.asarray(light, np.float32)


def _opacity(view: View) -> float:
    """Dust hides blue light more: about 1/wavelength."""
    return 1.5 * 600.0 / view.wave_nm


def _bulge(
    view: View, rng: np.random.Generator, shape: tuple[float, float, float], depth: float, *, barred: bool
) -> Image:
    """The old stars of the centre, round, with a bar through them where the galaxy is barred."""
    scale, ratio, angle = shape
    share, size, turn = rng.uniform(0.6, 1.6), scale * rng.uniform(0.12, 0.3), rng.uniform(0, np.pi)
    radius = view.radius(0, 0, max(ratio, 0.7), angle)
    light = share * depth * 0.8 * sersic(radius, size, 2.2, view.pixel)
    if barred:
        along, across = view.axes(0, 0, angle + turn)
        length = np.float32(1.1 * scale)
        bar = np.exp(-((along / length) ** 4)) * np.exp(-np.abs(across) / np.float32(0.16 * scale))
        light = light + 1.3 * depth * bar
    return np.asarray(light * view.tint(0.9), np.float32)


def _add_knots(
    view: View, rng: np.random.Generator, light: Image, shape: tuple[float, float, float, float, int], depth: float
) -> None:
    """Clusters and HII regions along the arms."""
    scale, ratio, angle, pitch, arms = shape
    count = int(rng.integers(250, 700))
    radius = scale * rng.gamma(2.2, 0.9, count)
    turn = np.log(radius + 0.02) / np.tan(pitch) + 2 * np.pi * rng.integers(arms, size=count) / arms
    turn += rng.normal(0, 0.22, count)
    u, v = radius * np.cos(turn), radius * np.sin(turn) * ratio
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = luminosities(rng, count, 0.5 * depth, 0.9, 25 * depth) * max(
        view.tint(-0.7), 0.9 * view.glow(HA=2.0, OIII=0.8)
    )
    view.add_points(light, x, y, flux)


def _edge_on(view: View, rng: np.random.Generator, scale: float, angle: float, depth: float) -> Image:
    along, across = view.axes(0, 0, angle)
    height, warp = scale * rng.uniform(0.06, 0.13), rng.normal(0, 0.06)
    across = across - np.float32(warp) * along * np.abs(along)
    grain, fine = view.texture(rng, 2.2, scale * 3), view.texture(rng, 1.7, scale * 1.5)
    layer = 1 / np.cosh(np.clip(across / np.float32(height), -12, 12)) ** 2
    light = depth * view.tint(0.3) * np.exp(-np.abs(along) / np.float32(scale)) * layer * np.exp(0.35 * fine)
    light += depth * view.tint(0.9) * 0.7 * sersic(view.radius(0, 0, 0.65, angle), scale * 0.25, 2.0, view.pixel)
    offset = np.float32(rng.normal(0, 0.25) * height)
    lane = np.exp(-(((across - offset + np.float32(0.25 * height) * grain) / np.float32(0.38 * height)) ** 2))
    tau = (
        np.float32(2.2 * _opacity(view)) * lane * np.exp(-np.abs(along) / np.float32(1.7 * scale)) * np.exp(0.5 * fine)
    )
    return np.asarray(light * np.exp(-tau), np.float32)


@draws("elliptical galaxy")
def elliptical_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Sersic light, smooth and red, with a system of globular clusters; shells, a dust lane or a disc by variant."""
    size, ratio, angle = rng.uniform(0.14, 0.38), rng.uniform(0.5, 0.95), rng.uniform(0, np.pi)
    index, depth = rng.uniform(3.0, 5.0), rng.uniform(14, 45) * view.tint(0.9)
    radius = view.radius(0, 0, ratio, angle)
    light = depth * sersic(radius, size, index, view.pixel)
    if variant == "lenticular":
        light += 2.2 * depth * np.exp(-view.radius(0, 0, 0.22, angle) / np.float32(size * 0.8))
    if variant == "shell":
        light += depth * _shells(view, rng, size, angle)
    if variant == "dusty":
        light *= _dust_ring(view, rng, size)
    count = int(rng.integers(60, 300))
    reach, turn = size * rng.gamma(1.6, 1.1, count), rng.uniform(0, 2 * np.pi, count)
    flux = luminosities(rng, count, 15, 0.9, 220) * tints(view, rng.normal(0.6, 0.2, count))
    view.add_points(light, reach * np.cos(turn), reach * np.sin(turn) * ratio, flux)
    return light


def _shells(view: View, rng: np.random.Generator, size: float, angle: float) -> Image:
    """Sharp-edged arcs on alternating sides: stars of a swallowed galaxy at their turning points (Quinn 1984)."""
    light, cone = view.blank(), rng.uniform(0.45, 0.8)
    for number, reach in enumerate(size * np.cumsum(rng.uniform(0.45, 0.8, 5)) + 0.3 * size):
        radius, azimuth = view.polar(0, 0, 0.95, angle + np.pi * (number % 2))
        inside = smooth_step(radius, reach * 1.015, reach * 0.985) * np.exp(
            -(reach - radius) / np.float32(0.16 * reach)
        )
        light += (
            0.9
            * (size / reach) ** 1.2
            * inside
            * np.exp(-((azimuth / np.float32(cone)) ** 4))
            * (radius < 1.05 * reach)
        )
    return light


def _dust_ring(view: View, rng: np.random.Generator, size: float) -> Image:
    turn, tilt = rng.uniform(0, np.pi), rng.uniform(0.08, 0.3)
    along, across = view.axes(0, 0, turn)
    grain = view.texture(rng, 2.2, size * 3)
    radius = np.hypot(along, across / np.float32(tilt)) * (1 + 0.18 * grain)
    near = 0.35 + 0.65 * smooth_step(across, -0.05 * size, 0.1 * size)
    lane = np.exp(-(((radius - 0.55 * size) / np.float32(0.3 * size)) ** 2)) * near
    return np.asarray(np.exp(-np.float32(2.0 * _opacity(view)) * lane), np.float32)


@draws("galaxy merger")
def galaxy_merger(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Two distorted discs, their nuclei, bridges of dust and long tidal tails with clumps of young stars."""
    apart = {
        "tidal tails": rng.uniform(0.18, 0.32),
        "late stage": rng.uniform(0.03, 0.08),
        "close pair": rng.uniform(0.3, 0.5),
    }[variant]
    turn, depth, scale = rng.uniform(0, 2 * np.pi), rng.uniform(40, 110), rng.uniform(0.11, 0.17)
    twist_x, twist_y = view.texture(rng, 3.2, 1.3), view.texture(rng, 3.2, 1.3)
    grain = view.texture(rng, 1.9, 0.5)
    warped = _warped(view, twist_x, twist_y, 0.055)
    light, tails = view.blank(), view.blank()
    spin = rng.choice([-1, 1])
    for side in (-1, 1):
        x, y = side * apart / 2 * np.cos(turn), side * apart / 2 * np.sin(turn)
        share, ratio, angle = rng.uniform(0.6, 1.1), rng.uniform(0.35, 0.85), rng.uniform(0, np.pi)
        radius, azimuth = warped.polar(x, y, ratio, angle)
        swirl = 1 + 0.8 * np.cos(2 * (azimuth - spin * np.log(radius + 0.02) / np.float32(0.45)))
        light += share * np.exp(-radius / np.float32(scale * share)) * swirl
        light += 2.5 * share * sersic(view.radius(x, y, 0.8, angle), 0.03, 2, view.pixel)
        tails += share * _tail(warped, rng, (x, y), turn + (np.pi if side < 0 else 0), spin)
    body = depth * view.tint(0.3) * light * np.exp(0.45 * grain)
    body *= np.exp(-np.float32(0.9 * _opacity(view)) * ridges(grain + twist_x, 0.3) * smooth_step(light, 0.1, 0.8))
    return np.asarray(body + depth * view.tint(-0.2) * 0.34 * tails * np.exp(0.55 * grain), np.float32)


def _warped(view: View, twist_x: Image, twist_y: Image, amount: float) -> View:
    return View(
        x_yx=view.x_yx + np.float32(amount) * twist_x, y_yx=view.y_yx + np.float32(amount) * twist_y, pixel=view.pixel,
        angle_deg=view.angle_deg, centre_xy=view.centre_xy, wave_nm=view.wave_nm, line=view.line, epoch=view.epoch,
    )  # fmt: skip


def _tail(view: View, rng: np.random.Generator, start: tuple[float, float], turn: float, spin: int) -> Image:
    """A tail that leaves one disc outwards and bends round with the radius."""
    reach, bend, width = rng.uniform(0.55, 1.0), rng.uniform(0.9, 2.2) * spin, rng.uniform(0.035, 0.06)
    radius, azimuth = view.polar(*start, 1.0, turn)
    off = np.mod(azimuth - np.float32(bend) * radius / np.float32(reach) + np.pi, 2 * np.pi) - np.pi
    across = off * radius / np.float32(width * 1.0) / (0.5 + radius / np.float32(reach))
    along = smooth_step(radius, 0.02, 0.15) * np.exp(-((radius / np.float32(reach)) ** 4)) * (1 - 0.4 * radius)
    return np.asarray(np.exp(-0.5 * across**2) * along, np.float32)


@draws("dwarf galaxy")
def dwarf_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A loose swarm of resolved stars over a faint exponential body; an irregular one has blue clumps and gas."""
    scale, ratio, angle = rng.uniform(0.26, 0.42), rng.uniform(0.4, 0.7), rng.uniform(0, np.pi)
    count, irregular = int(rng.integers(2500, 6000)), variant == "irregular"
    radius = scale * rng.gamma(2.0, 0.85, count)
    turn = rng.uniform(0, 2 * np.pi, count)
    u, v = radius * np.cos(turn), radius * np.sin(turn) * ratio
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = luminosities(rng, count, 7, 1.15, 250) * tints(view, rng.normal(0.5, 0.4, count))
    light = 3.2 * view.tint(0.4) * np.exp(-view.radius(0, 0, ratio, angle) / np.float32(scale * 0.8))
    if irregular:
        light += _clumps(view, rng, scale, ratio, angle)
        blue = rng.random(count) < 0.3
        knots = rng.normal(0, 0.5, (2, 7)) * scale
        pick = rng.integers(7, size=count)
        spread = rng.normal(0, 0.1, (2, count)) * scale
        x, y = np.where(blue, knots[0][pick] + spread[0], x), np.where(blue, knots[1][pick] + spread[1], y)
        flux = np.where(blue, flux * view.tint(-0.9) * 2.5, flux)
    view.add_points(light, x, y, flux)
    return np.asarray(light, np.float32)


def _clumps(view: View, rng: np.random.Generator, scale: float, ratio: float, angle: float) -> Image:
    """Ionised gas: bubbles and clouds inside the body."""
    cloud = smooth_step(view.texture(rng, 2.6, scale * 2.5), 0.5, 2.2) + 0.5 * ridges(
        view.texture(rng, 2.4, scale * 3), 0.12
    )
    body = np.exp(-view.radius(0, 0, ratio, angle) / np.float32(0.6 * scale))
    return np.asarray(26 * view.glow(HA=1.5, OIII=1.0) * cloud * body, np.float32)
