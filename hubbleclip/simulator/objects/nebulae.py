"""Gas: planetary nebulae, supernova remnants and star-forming clouds."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import luminosities, ridges, smooth_step
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View


def shell(radius_yx: Image, outer: float, thickness: float) -> Image:
    """Column through an empty shell seen from outside: bright at the limb. 1 at the inner edge."""
    inner = outer * (1 - thickness)
    far = np.sqrt(np.maximum(np.float32(outer**2) - radius_yx**2, 0))
    near = np.sqrt(np.maximum(np.float32(inner**2) - radius_yx**2, 0))
    return np.asarray((far - near) / np.float32(np.sqrt(outer**2 - inner**2)), np.float32)


@draws("planetary nebula")
def planetary_nebula(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Shells or lobes thrown off by a dying star, limb-brightened and knotty, about the hot star that lights them."""
    size, angle = rng.uniform(0.3, 0.62), rng.uniform(0, np.pi)
    depth = (
        rng.uniform(25, 80)
        * view.glow(HA=1.5, OIII=1.8, NII=1.2, SII=0.5, PAB=1.0, FEII=0.4)
        * (1 if view.line else 1.6)
    )
    grain, fine = view.texture(rng, 2.4, size), view.texture(rng, 1.8, 0.5 * size)
    knots = np.exp(0.35 * grain) * (1 + 0.6 * ridges(fine, 0.25))
    if variant in ("bipolar", "multipolar"):
        light = _lobes(view, rng, size * 1.25, angle, grain)
        if variant == "multipolar":
            light = light + 0.8 * _lobes(view, rng, size * 1.1, angle + rng.uniform(0.6, 1.2), grain)
        light = light + 1.6 * np.exp(-((view.radius(0, 0, 0.35, angle + np.pi / 2) / np.float32(0.16 * size)) ** 2))
    else:
        light = _ellipsoid(view, rng, size, angle, grain=grain, is_ring=variant == "ring")
    halo = 0.03 * np.exp(-view.radius(0, 0) / np.float32(size * 0.8))
    image = depth * (light * knots + halo)
    star = rng.uniform(400, 2500) * max(view.tint(-0.8), 0.2)
    view.add_points(image, np.zeros(1), np.zeros(1), np.array([star]))
    return np.asarray(image, np.float32)


def _ellipsoid(
    view: View, rng: np.random.Generator, size: float, angle: float, *, grain: Image, is_ring: bool
) -> Image:
    """An empty ellipsoidal shell, and outside it a fainter, older one."""
    ratio, thick = rng.uniform(0.62, 0.98), rng.uniform(0.3, 0.5) if is_ring else rng.uniform(0.16, 0.3)
    radius, azimuth = view.polar(0, 0, ratio, angle)
    radius = radius * (1 + 0.045 * grain)
    light = shell(radius, size, thick) ** (1.5 if is_ring else 1.0)
    poles = 1 + (0.15 if is_ring else 0.5) * np.cos(2 * azimuth + np.float32(rng.uniform(0, 6)))
    outer = shell(
        view.radius(0, 0, min(1, ratio * 1.15), angle) * (1 + 0.03 * grain), size * rng.uniform(1.3, 1.6), 0.25
    )
    inner = 0.0 if is_ring else 0.7 * shell(view.radius(0, 0, 0.6 * ratio, angle + 0.2), size * 0.5, 0.25)
    cavity = 0.12 * smooth_step(radius, size, 0.2 * size)
    return np.asarray(light * poles + 0.14 * outer + inner + cavity, np.float32)


def _lobes(view: View, rng: np.random.Generator, size: float, angle: float, grain: Image) -> Image:
    """Two opposite lobes pinched at a waist: a figure of eight whose walls are bright."""
    pinch, wide = rng.uniform(0.8, 1.6), rng.uniform(0.3, 0.5)
    along, across = view.axes(0, 0, angle)
    along, across = along / np.float32(size), across / np.float32(size)
    reach = np.clip(np.abs(along), 1e-3, None)
    wall = (
        np.float32(wide) * np.sqrt(np.maximum(reach, 0)) ** np.float32(pinch) * np.sqrt(np.maximum(1 - reach**3, 0))
        + 1e-3
    )
    depth_in = np.abs(across) * (1 + 0.07 * grain) / wall
    limb = 0.25 + 1.3 * np.exp(-(((depth_in - 0.93) / 0.16) ** 2)) + 0.25 * ridges(grain, 0.3)
    inside = smooth_step(depth_in, 1.12, 0.98) * (reach < 1)
    return np.asarray(limb * inside * (1.15 - 0.8 * reach), np.float32)


@draws("supernova remnant")
def supernova_remnant(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A blast wave's broken shell: rippled sheets seen edge-on as filaments, or knots of ejecta flying outwards."""
    size, depth = (
        rng.uniform(0.6, 0.95),
        rng.uniform(30, 80) * view.glow(HA=1.5, OIII=1.1, SII=1.2, NII=0.8, FEII=1.4, PAB=0.6),
    )
    x0, y0 = rng.uniform(-0.15, 0.15, 2)
    radius, azimuth = view.polar(x0, y0, rng.uniform(0.85, 1.0), rng.uniform(0, np.pi))
    coarse, fine = view.texture(rng, 3.0, 1.6), view.texture(rng, 2.3, 0.9)
    lit = np.clip(0.65 + 0.5 * np.cos(azimuth - np.float32(rng.uniform(0, 6))) + 0.4 * coarse, 0.05, 2)
    if variant == "oxygen-rich":
        light = _ejecta(view, rng, size, (radius, azimuth), fine)
    elif variant == "filamentary":
        sheets = (view.texture(rng, 3.6, 1.1), view.texture(rng, 3.4, 1.5), view.texture(rng, 3.6, 2.0))
        web = sum((ridges(sheet, 0.05) for sheet in sheets), start=view.blank()) * np.exp(0.5 * fine)
        torn = radius * (1 + 0.12 * coarse)
        light = web * smooth_step(torn, size, 0.85 * size) * (0.4 + torn / np.float32(size))
        light = light + 0.05 * smooth_step(radius, size, 0.3 * size)
    else:
        light = view.blank()
        for k in range(4):
            ripple = radius * (1 + np.float32(0.035 + 0.01 * k) * (coarse if k % 2 else fine) + np.float32(0.02 * k))
            light += shell(ripple, size * (1 - 0.03 * k), 0.025) ** 1.7 * (1 - 0.15 * k)
        light = light * (0.5 + 0.9 * ridges(fine, 0.3)) + 0.03 * (radius < size)
    return np.asarray(depth * light * lit, np.float32)


def _ejecta(view: View, rng: np.random.Generator, size: float, polar: tuple[Image, Image], fine: Image) -> Image:
    """Knots with radial tails in a thick, broken ring."""
    radius, azimuth = polar
    spread = 0.6 + 0.25 * radius
    fingers = view.texture(rng, 2.2, 1.1, at=(np.cos(azimuth) * spread, np.sin(azimuth) * spread))
    clumps = smooth_step(fingers + 0.9 * view.texture(rng, 2.8, 0.8), 0.5, 2.4)
    ring = np.exp(-(((radius - np.float32(0.7 * size)) / np.float32(0.24 * size)) ** 2))
    return np.asarray((1.6 * clumps + 0.25 * ridges(fine, 0.1)) * ring, np.float32)


@draws("star-forming nebula")
def star_forming_nebula(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Glowing gas that fills the frame, carved by hot stars: bright rims, dark pillars and dust in front."""
    depth = rng.uniform(14, 40) * view.glow(HA=1.6, OIII=0.8, NII=0.9, SII=0.8, PAB=0.9, FEII=0.5)
    turn = rng.uniform(0, 2 * np.pi)
    star = (0.75 * np.cos(turn), 0.75 * np.sin(turn))
    coarse, fine = view.texture(rng, 3.2, 2.8), view.texture(rng, 2.4, 1.1)
    gas = np.exp(0.55 * coarse + 0.3 * fine)
    lamp = np.asarray(1 / (0.35 + view.radius(*star) ** 2), np.float32)
    if variant == "bubble":
        light = _bubble(view, rng, gas, (coarse, fine))
        star = (0.0, 0.0)
    elif variant == "ridge":
        light = _ridge(view, rng, turn, gas * lamp, (coarse, fine))
    else:
        light = _pillars(view, rng, turn, gas * lamp, (coarse, fine))
    image = np.asarray(depth * light, np.float32)
    count = int(rng.integers(15, 50))
    x, y = star[0] + rng.normal(0, 0.3, count), star[1] + rng.normal(0, 0.3, count)
    view.add_points(image, x, y, luminosities(rng, count, 80, 0.5, 4e4) * view.tint(-0.7))
    return image


def _pillars(view: View, rng: np.random.Generator, turn: float, lit: Image, noise: tuple[Image, Image]) -> Image:
    """Columns of cold gas that point to the star, dark inside and bright at their tips and flanks."""
    coarse, fine = noise
    along, across = view.axes(0, 0, turn)
    cold = view.blank()
    for offset, tip in zip(
        np.linspace(-0.55, 0.55, 4) + rng.normal(0, 0.06, 4), rng.uniform(-0.25, 0.4, 4), strict=True
    ):
        width = np.float32(rng.uniform(0.06, 0.13))
        below = np.float32(tip) - along + 0.08 * fine
        side = np.abs(across - np.float32(offset) + 0.07 * coarse + 0.025 * fine) / (
            width * (0.8 + 0.5 * np.clip(below, 0, 1.5))
        )
        cold = np.maximum(cold, smooth_step(below, 0.0, 0.1) * smooth_step(side, 1.15, 0.75))
    cold = np.maximum(cold, smooth_step(-along + 0.15 * coarse, 0.6, 0.8))
    rim = 4 * cold * (1 - cold) * (0.5 + np.clip(along + 0.5, 0, 1))
    return np.asarray(lit * np.exp(-2.6 * cold) + 1.6 * rim * np.exp(0.3 * fine), np.float32)


def _ridge(view: View, rng: np.random.Generator, turn: float, lit: Image, noise: tuple[Image, Image]) -> Image:
    """An ionisation front seen edge-on: a bright wavy bar between glow and darkness."""
    coarse, fine = noise
    along, _ = view.axes(0, 0, turn)
    front = along + np.float32(rng.uniform(0.1, 0.3)) * 0.7 * coarse + 0.05 * fine
    bar = np.exp(-np.abs(front) / 0.06) * (front < 0.25)
    beyond = smooth_step(front, -0.1, 0.1)
    dust = np.exp(-1.1 * smooth_step(view.texture(rng, 2.7, 1.1), 0.4, 1.5))
    return np.asarray((lit * (0.12 + beyond) + 2.2 * bar * np.exp(0.4 * fine)) * dust, np.float32)


def _bubble(view: View, rng: np.random.Generator, gas: Image, noise: tuple[Image, Image]) -> Image:
    """A wind-blown cavity with a thick, torn wall in a cloudy surrounding."""
    coarse, fine = noise
    size = rng.uniform(0.5, 0.75)
    radius = view.radius(0, 0, rng.uniform(0.75, 1), rng.uniform(0, np.pi)) * (1 + 0.12 * coarse + 0.03 * fine)
    wall = np.exp(-np.abs(radius - np.float32(size)) / np.float32(0.1)) * (0.6 + ridges(fine, 0.5))
    outside = smooth_step(radius, 0.8 * size, 1.3 * size)
    dust = np.exp(-1.3 * smooth_step(view.texture(rng, 2.8, 1.3), 0.5, 1.6) * outside)
    return np.asarray((0.25 * gas + 1.6 * wall * gas**0.5 + 0.7 * outside * gas) * dust, np.float32)
