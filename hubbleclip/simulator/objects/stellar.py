"""Renderers of star clusters."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.components import continuum_fluxes, filaments, power_law_fluxes, smoothstep
from hubbleclip.simulator.objects.view import Image, Vector, View


def globular_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw thousands of old stars in a round cluster with a King (1962) profile, over the light of unresolved stars."""
    # Core radius by variant, in scene units; the tidal radius of every cluster is 1.7.
    core_radius = {
        "core-collapsed": rng.uniform(0.03, 0.06),
        "massive": rng.uniform(0.12, 0.2),
        "loose": rng.uniform(0.17, 0.24),
    }[variant]
    count = int({"core-collapsed": 9000, "massive": 16000, "loose": 5000}[variant] * rng.uniform(0.7, 1.3))
    distance = _king_radii(rng, count, core_radius, 1.7)
    azimuth, axis_ratio, angle = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.85, 1.0), rng.uniform(0, np.pi)
    u, v = distance * np.cos(azimuth), distance * np.sin(azimuth) * axis_ratio
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = power_law_fluxes(rng, count, 14, 0.7, 20000) * continuum_fluxes(view, rng.normal(0.5, 0.35, count))
    radius = view.elliptical_radius(0, 0, axis_ratio, angle)
    # This is the light of stars that are too faint to be resolved.
    light = view.continuum_flux(0.5) * rng.uniform(10, 30) / (1 + (radius / np.float32(core_radius)) ** 2) ** 1.2
    view.add_points(light, x, y, flux)
    return np.asarray(light, np.float32)


def _king_radii(rng: np.random.Generator, count: int, core_radius: float, tidal_radius: float) -> Vector:
    """Draw projected radii from King's empirical density law, by inverting its cumulative distribution on a grid."""
    r = np.linspace(0, tidal_radius, 2000)
    edge_term = 1 / np.sqrt(1 + (tidal_radius / core_radius) ** 2)  # This term makes the density 0 at the tidal radius.
    # The factor r converts stars per area to stars per annulus.
    density = np.maximum(1 / np.sqrt(1 + (r / core_radius) ** 2) - edge_term, 0) ** 2 * r
    cumulative = np.cumsum(density)
    return np.asarray(np.interp(rng.random(count) * cumulative[-1], cumulative, r))


def open_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a few hundred stars in loose clumps; clusters that are not old also have clouds of gas and dust."""
    count, size = int(rng.integers(180, 420)), rng.uniform(0.28, 0.5)
    clumps = rng.normal(0, 0.5 * size, (2, 4))
    clump_index = rng.integers(4, size=count)
    x, y = clumps[0][clump_index] + rng.normal(0, size, count), clumps[1][clump_index] + rng.normal(0, size, count)
    # An old cluster has neither blue stars nor gas.
    colour = rng.normal(0.6 if variant == "old" else -0.3, 0.4, count)
    flux = power_law_fluxes(rng, count, 60, 0.42, 1.5e5 if variant == "old" else 6e5) * continuum_fluxes(view, colour)
    light = view.blank_image()
    if variant != "old":
        cloud = np.exp(0.9 * view.fractal_noise(rng, 3.0, 2.2))
        cloud *= 1 + 0.5 * filaments(view.fractal_noise(rng, 2.5, 1.5), 0.15)
        weight = rng.uniform(1.5, 4) if variant == "young" else rng.uniform(5, 10)
        # The cloud shows the emission lines of its gas or the starlight reflected by its dust, whichever is brighter.
        light += weight * max(view.line_flux(HA=1.6, OIII=0.5), 0.4 * view.continuum_flux(-0.4)) * cloud
    if variant == "embedded":
        # The extinction of dust is about proportional to 1/wavelength.
        light *= np.exp(-1.6 * 600 / view.wave_nm * smoothstep(view.fractal_noise(rng, 2.8, 1.6), 0.2, 1.4))
    view.add_points(light, x, y, flux)
    return light
