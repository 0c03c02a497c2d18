"""Renderers of nebulae: planetary nebulae, supernova remnants and star-forming clouds."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.components import filaments, power_law_fluxes, smoothstep
from hubbleclip.simulator.objects.view import Image, View


def shell_column(radius_yx: Image, outer: float, thickness: float) -> Image:
    """Compute the column density through a hollow spherical shell, divided by its maximum (at the inner radius)."""
    inner = outer * (1 - thickness)
    # `far` is half the chord through the outer sphere, and `near` is half the chord through the inner sphere.
    far = np.sqrt(np.maximum(np.float32(outer**2) - radius_yx**2, 0))
    near = np.sqrt(np.maximum(np.float32(inner**2) - radius_yx**2, 0))
    return np.asarray((far - near) / np.float32(np.sqrt(outer**2 - inner**2)), np.float32)


def planetary_nebula(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw shells or lobes of gas with knots, and a hot star at the centre."""
    size, angle = rng.uniform(0.3, 0.62), rng.uniform(0, np.pi)
    brightness = rng.uniform(25, 80) * view.line_flux(HA=1.5, OIII=1.8, NII=1.2, SII=0.5, PAB=1.0, FEII=0.4)
    brightness *= 1 if view.line else 1.6  # A broad-band filter collects several lines and the continuum.
    noise, fine_noise = view.fractal_noise(rng, 2.4, size), view.fractal_noise(rng, 1.8, 0.5 * size)
    knots = np.exp(0.35 * noise) * (1 + 0.6 * filaments(fine_noise, 0.25))
    if variant in ("bipolar", "multipolar"):
        light = _lobes(view, rng, size * 1.25, angle, noise)
        if variant == "multipolar":
            light = light + 0.8 * _lobes(view, rng, size * 1.1, angle + rng.uniform(0.6, 1.2), noise)
        waist = view.elliptical_radius(0, 0, 0.35, angle + np.pi / 2) / np.float32(0.16 * size)
        light = light + 1.6 * np.exp(-(waist**2))
    else:
        light = _ellipsoid(view, rng, size, angle, noise=noise, is_ring=variant == "ring")
    # The halo is gas that the star lost earlier.
    halo = 0.03 * np.exp(-view.elliptical_radius(0, 0) / np.float32(size * 0.8))
    image = brightness * (light * knots + halo)
    star = rng.uniform(400, 2500) * max(view.continuum_flux(-0.8), 0.2)  # The star is hot and therefore blue.
    view.add_points(image, np.zeros(1), np.zeros(1), np.array([star]))
    return np.asarray(image, np.float32)


def _ellipsoid(
    view: View, rng: np.random.Generator, size: float, angle: float, *, noise: Image, is_ring: bool
) -> Image:
    """Draw a hollow ellipsoidal shell, surrounded by a fainter, older shell."""
    ratio, thickness = rng.uniform(0.62, 0.98), rng.uniform(0.3, 0.5) if is_ring else rng.uniform(0.16, 0.3)
    radius, azimuth = view.polar_coordinates(0, 0, ratio, angle)
    radius = radius * (1 + 0.045 * noise)
    light = shell_column(radius, size, thickness) ** (1.5 if is_ring else 1.0)
    # As in most ellipsoidal nebulae, two opposite sides are brighter.
    poles = 1 + (0.15 if is_ring else 0.5) * np.cos(2 * azimuth + np.float32(rng.uniform(0, 6)))
    outer_radius = view.elliptical_radius(0, 0, min(1, ratio * 1.15), angle) * (1 + 0.03 * noise)
    light = light * poles + 0.14 * shell_column(outer_radius, size * rng.uniform(1.3, 1.6), 0.25)
    if not is_ring:  # a younger shell inside the main shell
        light = light + 0.7 * shell_column(view.elliptical_radius(0, 0, 0.6 * ratio, angle + 0.2), size * 0.5, 0.25)
    return np.asarray(light + 0.12 * smoothstep(radius, size, 0.2 * size), np.float32)


def _lobes(view: View, rng: np.random.Generator, size: float, angle: float, noise: Image) -> Image:
    """Draw two opposite lobes, joined at a narrow waist, with bright walls."""
    pinch, wide = rng.uniform(0.8, 1.6), rng.uniform(0.3, 0.5)
    along, across = view.rotated_coordinates(0, 0, angle)
    along, across = along / np.float32(size), across / np.float32(size)
    reach = np.clip(np.abs(along), 1e-3, None)  # Distance from the waist, in units of the length of a lobe.
    wall = np.float32(wide) * np.sqrt(np.maximum(reach, 0)) ** np.float32(pinch)
    wall = wall * np.sqrt(np.maximum(1 - reach**3, 0)) + 1e-3
    wall_distance = np.abs(across) * (1 + 0.07 * noise) / wall
    # The lobe is brightest just inside its outline, where its wall is seen edge-on.
    limb = 0.25 + 1.3 * np.exp(-(((wall_distance - 0.93) / 0.16) ** 2)) + 0.25 * filaments(noise, 0.3)
    inside = smoothstep(wall_distance, 1.12, 0.98) * (reach < 1)
    return np.asarray(limb * inside * (1.15 - 0.8 * reach), np.float32)


def supernova_remnant(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw the broken shell of a blast wave, as filaments or as knots of ejecta."""
    size, brightness = rng.uniform(0.6, 0.95), rng.uniform(30, 80)
    brightness *= view.line_flux(HA=1.5, OIII=1.1, SII=1.2, NII=0.8, FEII=1.4, PAB=0.6)
    x0, y0 = rng.uniform(-0.15, 0.15, 2)
    radius, azimuth = view.polar_coordinates(x0, y0, rng.uniform(0.85, 1.0), rng.uniform(0, np.pi))
    coarse_noise, fine_noise = view.fractal_noise(rng, 3.0, 1.6), view.fractal_noise(rng, 2.3, 0.9)
    # The surrounding gas is denser on one side.
    asymmetry = np.clip(0.65 + 0.5 * np.cos(azimuth - np.float32(rng.uniform(0, 6))) + 0.4 * coarse_noise, 0.05, 2)
    if variant == "oxygen-rich":
        light = _ejecta(view, rng, size, (radius, azimuth), fine_noise)
    elif variant == "filamentary":
        sheets = [view.fractal_noise(rng, slope, period) for slope, period in ((3.6, 1.1), (3.4, 1.5), (3.6, 2.0))]
        # A rippled sheet of gas is visible where it is tangent to the line of sight.
        web = sum((filaments(sheet, 0.05) for sheet in sheets), start=view.blank_image()) * np.exp(0.5 * fine_noise)
        ragged_radius = radius * (1 + 0.12 * coarse_noise)
        light = web * smoothstep(ragged_radius, size, 0.85 * size) * (0.4 + ragged_radius / np.float32(size))
        light = light + 0.05 * smoothstep(radius, size, 0.3 * size)
    else:
        light = view.blank_image()
        # The shock consists of four nested sheets, which are rippled differently.
        for k in range(4):
            noise = coarse_noise if k % 2 else fine_noise
            ripple = radius * (1 + np.float32(0.035 + 0.01 * k) * noise + np.float32(0.02 * k))
            light += shell_column(ripple, size * (1 - 0.03 * k), 0.025) ** 1.7 * (1 - 0.15 * k)
        light = light * (0.5 + 0.9 * filaments(fine_noise, 0.3)) + 0.03 * (radius < size)
    return np.asarray(brightness * light * asymmetry, np.float32)


def _ejecta(view: View, rng: np.random.Generator, size: float, polar: tuple[Image, Image], fine_noise: Image) -> Image:
    """Draw knots of ejecta with radial tails, in a thick, broken ring."""
    radius, azimuth = polar
    spread = 0.6 + 0.25 * radius
    # This noise varies slowly with radius and fast with azimuth, which gives radial features.
    fingers = view.fractal_noise(rng, 2.2, 1.1, coordinates=(np.cos(azimuth) * spread, np.sin(azimuth) * spread))
    clumps = smoothstep(fingers + 0.9 * view.fractal_noise(rng, 2.8, 0.8), 0.5, 2.4)
    ring = np.exp(-(((radius - np.float32(0.7 * size)) / np.float32(0.24 * size)) ** 2))
    return np.asarray((1.6 * clumps + 0.25 * filaments(fine_noise, 0.1)) * ring, np.float32)


def star_forming_nebula(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw gas that fills the frame and is ionised by hot stars, with bright rims, dark pillars and foreground dust."""
    brightness = rng.uniform(14, 40) * view.line_flux(HA=1.6, OIII=0.8, NII=0.9, SII=0.8, PAB=0.9, FEII=0.5)
    direction = rng.uniform(0, 2 * np.pi)
    star = (0.75 * np.cos(direction), 0.75 * np.sin(direction))
    coarse_noise, fine_noise = view.fractal_noise(rng, 3.2, 2.8), view.fractal_noise(rng, 2.4, 1.1)
    gas = np.exp(0.55 * coarse_noise + 0.3 * fine_noise)
    # The illumination follows the inverse-square law, softened near the star.
    illumination = np.asarray(1 / (0.35 + view.elliptical_radius(*star) ** 2), np.float32)
    if variant == "bubble":
        light = _bubble(view, rng, gas, (coarse_noise, fine_noise))
        star = (0.0, 0.0)  # The stars are at the centre of the bubble.
    elif variant == "ridge":
        light = _ridge(view, rng, direction, gas * illumination, (coarse_noise, fine_noise))
    else:
        light = _pillars(view, rng, direction, gas * illumination, (coarse_noise, fine_noise))
    image = np.asarray(brightness * light, np.float32)
    count = int(rng.integers(15, 50))
    x, y = star[0] + rng.normal(0, 0.3, count), star[1] + rng.normal(0, 0.3, count)
    view.add_points(image, x, y, power_law_fluxes(rng, count, 80, 0.5, 4e4) * view.continuum_flux(-0.7))
    return image


def _pillars(
    view: View, rng: np.random.Generator, direction: float, lit: Image, noise_fields: tuple[Image, Image]
) -> Image:
    """Draw columns of cold gas that point to the star; each is dark inside and bright at its tip and flanks."""
    coarse_noise, fine_noise = noise_fields
    along, across = view.rotated_coordinates(0, 0, direction)
    cold = view.blank_image()
    offsets, tips = np.linspace(-0.55, 0.55, 4) + rng.normal(0, 0.06, 4), rng.uniform(-0.25, 0.4, 4)
    for offset, tip in zip(offsets, tips, strict=True):
        width = np.float32(rng.uniform(0.06, 0.13))
        below = np.float32(tip) - along + 0.08 * fine_noise  # Distance from the tip, positive away from the star.
        side = np.abs(across - np.float32(offset) + 0.07 * coarse_noise + 0.025 * fine_noise)
        side = side / (width * (0.8 + 0.5 * np.clip(below, 0, 1.5)))
        cold = np.maximum(cold, smoothstep(below, 0.0, 0.1) * smoothstep(side, 1.15, 0.75))
    # This is the molecular cloud from which the pillars rise.
    cold = np.maximum(cold, smoothstep(-along + 0.15 * coarse_noise, 0.6, 0.8))
    # The rim is brightest where cold and ionised gas meet (cold = 0.5).
    rim = 4 * cold * (1 - cold) * (0.5 + np.clip(along + 0.5, 0, 1))
    return np.asarray(lit * np.exp(-2.6 * cold) + 1.6 * rim * np.exp(0.3 * fine_noise), np.float32)


def _ridge(
    view: View, rng: np.random.Generator, direction: float, lit: Image, noise_fields: tuple[Image, Image]
) -> Image:
    """Draw an ionisation front seen edge-on: a bright, wavy bar between illuminated gas and dark gas."""
    coarse_noise, fine_noise = noise_fields
    along, _ = view.rotated_coordinates(0, 0, direction)
    front = along + np.float32(rng.uniform(0.1, 0.3)) * 0.7 * coarse_noise + 0.05 * fine_noise
    bar = np.exp(-np.abs(front) / 0.06) * (front < 0.25)
    beyond = smoothstep(front, -0.1, 0.1)
    dust = np.exp(-1.1 * smoothstep(view.fractal_noise(rng, 2.7, 1.1), 0.4, 1.5))  # Dust in the foreground.
    return np.asarray((lit * (0.12 + beyond) + 2.2 * bar * np.exp(0.4 * fine_noise)) * dust, np.float32)


def _bubble(view: View, rng: np.random.Generator, gas: Image, noise_fields: tuple[Image, Image]) -> Image:
    """Draw a cavity that stellar winds have blown into a cloud; the cavity has a thick, irregular wall."""
    coarse_noise, fine_noise = noise_fields
    size = rng.uniform(0.5, 0.75)
    radius = view.elliptical_radius(0, 0, rng.uniform(0.75, 1), rng.uniform(0, np.pi))
    radius = radius * (1 + 0.12 * coarse_noise + 0.03 * fine_noise)
    wall = np.exp(-np.abs(radius - np.float32(size)) / np.float32(0.1)) * (0.6 + filaments(fine_noise, 0.5))
    outside = smoothstep(radius, 0.8 * size, 1.3 * size)
    dust = np.exp(-1.3 * smoothstep(view.fractal_noise(rng, 2.8, 1.3), 0.5, 1.6) * outside)
    return np.asarray((0.25 * gas + 1.6 * wall * gas**0.5 + 0.7 * outside * gas) * dust, np.float32)
