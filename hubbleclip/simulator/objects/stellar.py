"""Star clusters."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import luminosities, ridges, smooth_step, tints
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, Vector, View


@draws("globular cluster")
def globular_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Thousands of old stars crowded to a round centre (King 1962), over the light of those too faint to see alone."""
    core = {
        "core-collapsed": rng.uniform(0.03, 0.06),
        "massive": rng.uniform(0.12, 0.2),
        "loose": rng.uniform(0.17, 0.24),
    }[variant]
    count = int({"core-collapsed": 9000, "massive": 16000, "loose": 5000}[variant] * rng.uniform(0.7, 1.3))
    reach = _king_radii(rng, count, core, 1.7)
    turn, flat, angle = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.85, 1.0), rng.uniform(0, np.pi)
    u, v = reach * np.cos(turn), reach * np.sin(turn) * flat
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = luminosities(rng, count, 14, 0.7, 20000) * tints(view, rng.normal(0.5, 0.35, count))
    radius = view.radius(0, 0, flat, angle)
    light = view.tint(0.5) * rng.uniform(10, 30) / (1 + (radius / np.float32(core)) ** 2) ** 1.2
    view.add_points(light, x, y, flux)
    return np.asarray(light, np.float32)


def _king_radii(rng: np.random.Generator, count: int, core: float, tidal: float) -> Vector:
    """Projected radii drawn from King's empirical law by inverting its cumulative count on a grid."""
    r = np.linspace(0, tidal, 2000)
    edge = 1 / np.sqrt(1 + (tidal / core) ** 2)
    density = np.maximum(1 / np.sqrt(1 + (r / core) ** 2) - edge, 0) ** 2 * r
    cumulative = np.cumsum(density)
    return np.asarray(np.interp(rng.random(count) * cumulative[-1], cumulative, r))


@draws("open cluster")
def open_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Some hundred stars, a few of them brilliant, loosely gathered; gas and dust around a young one."""
    count, size = int(rng.integers(180, 420)), rng.uniform(0.28, 0.5)
    clumps = rng.normal(0, 0.5 * size, (2, 4))
    pick = rng.integers(4, size=count)
    x, y = clumps[0][pick] + rng.normal(0, size, count), clumps[1][pick] + rng.normal(0, size, count)
    colour = rng.normal(0.6 if variant == "old" else -0.3, 0.4, count)
    flux = luminosities(rng, count, 60, 0.42, 1.5e5 if variant == "old" else 6e5) * tints(view, colour)
    light = view.blank()
    if variant != "old":
        cloud = np.exp(0.9 * view.texture(rng, 3.0, 2.2)) * (1 + 0.5 * ridges(view.texture(rng, 2.5, 1.5), 0.15))
        share = rng.uniform(1.5, 4) if variant == "young" else rng.uniform(5, 10)
        light += share * max(view.glow(HA=1.6, OIII=0.5), 0.4 * view.tint(-0.4)) * cloud
    if variant == "embedded":
        light *= np.exp(-1.6 * 600 / view.wave_nm * smooth_step(view.texture(rng, 2.8, 1.6), 0.2, 1.4))
    view.add_points(light, x, y, flux)
    return light
