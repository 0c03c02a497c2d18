"""Renderers of young stars with protoplanetary discs or jets."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.components import filaments, smoothstep
from hubbleclip.simulator.objects.view import Image, View


def protoplanetary_disk(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a young star's dust disc, by variant: edge-on and flared, with rings, or dark in front of a nebula."""
    size, angle, brightness = rng.uniform(0.3, 0.55), rng.uniform(0, np.pi), rng.uniform(35, 110)
    if variant == "edge-on":
        return _flared(view, rng, size, angle, brightness)
    if variant == "ringed":
        return _ringed(view, rng, size * 1.3, angle, brightness)
    return _silhouette(view, rng, size * 0.8, angle, brightness)


def _flared(view: View, rng: np.random.Generator, size: float, angle: float, brightness: float) -> Image:
    """Draw starlight scattered by both surfaces of a flared disc, whose midplane hides the star (as in HH 30)."""
    along, across = view.rotated_coordinates(0, 0, angle)
    along, across = along / np.float32(size), across / np.float32(size)
    noise = view.fractal_noise(rng, 2.6, size * 1.5)
    # Height of the scattering surface above the midplane; it grows with the radius.
    surface = np.float32(rng.uniform(0.09, 0.16)) + np.float32(rng.uniform(0.3, 0.45)) * along**2
    light = view.blank_image()
    # The surface that is tilted away from the observer is fainter.
    for side, weight in ((1, 1.0), (-1, rng.uniform(0.45, 0.95))):
        above = side * across - surface
        bowl = smoothstep(above, -0.03, 0.03) * np.exp(-np.maximum(above, 0) / np.float32(0.17))
        light += np.float32(weight) * bowl * np.exp(-((np.abs(along) / 0.75) ** 3))
    light += 0.06 * np.exp(-np.hypot(along, across) / 0.5)  # Diffuse envelope of dust.
    jet = np.exp(-0.5 * (along / 0.02) ** 2) * np.exp(-np.abs(across) / 0.9)
    jet = 0.22 * view.line_flux(HA=1.2, SII=1.5, FEII=1.5) * (jet * (1 + np.sin(across * 25)) * (np.abs(across) > 0.12))
    colour = view.continuum_flux(0.4) if not view.line else 0.5  # Scattered starlight has a continuum spectrum.
    return np.asarray(brightness * (colour * light * np.exp(0.12 * noise) + jet), np.float32)


def _ringed(view: View, rng: np.random.Generator, size: float, angle: float, brightness: float) -> Image:
    """Draw an inclined disc with gaps; a coronagraph hides the star behind an occulting spot."""
    axis_ratio = rng.uniform(0.4, 0.9)
    radius, azimuth = view.polar_coordinates(0, 0, axis_ratio, angle)
    radius = radius / np.float32(size)
    light = 0.25 * np.exp(-radius / 0.4)
    for ring_radius in np.sort(rng.uniform(0.3, 1.0, int(rng.integers(2, 4)))):
        weight, width = rng.uniform(0.6, 1.2), np.float32(rng.uniform(0.03, 0.06))
        light += weight * np.exp(-(((radius - np.float32(ring_radius)) / width) ** 2)) * (0.4 / ring_radius)
    # Dust scatters light mainly forward, so the near side of the disc is brighter.
    near_side = 1 + np.float32(rng.uniform(0.3, 0.7)) * np.sin(azimuth)
    light = light * near_side * smoothstep(radius, 1.25, 0.95)
    occulter = view.elliptical_radius(0, 0) / np.float32(0.15 * size)
    image = brightness * view.continuum_flux(0.3) * light * smoothstep(occulter, 0.85, 1.1)
    star = view.blank_image()  # Residual starlight that the spot does not block.
    view.add_points(star, np.zeros(1), np.zeros(1), np.array([rng.uniform(1e4, 4e4) * view.continuum_flux(0.4)]))
    return np.asarray(image + star, np.float32)


def _silhouette(view: View, rng: np.random.Generator, size: float, angle: float, brightness: float) -> Image:
    """Draw a dark disc in front of a bright nebula, between a cusp and a tail of ionised gas (as in Orion)."""
    coarse_noise, fine_noise = view.fractal_noise(rng, 3.0, 2.5), view.fractal_noise(rng, 2.6, 1.8)
    nebula = np.exp(0.25 * coarse_noise) * (1 + 0.25 * filaments(fine_noise, 0.2))
    along, across = view.rotated_coordinates(0, 0, angle + rng.uniform(-0.7, 0.7))
    along, across = along / np.float32(size), across / np.float32(size)
    distance = np.hypot(along, across)
    # The cusp is the ionisation front, which faces the ionising star.
    cusp = np.exp(-(((distance - 0.75) / 0.09) ** 2)) * smoothstep(along, -0.5, 0.4)
    # Edges of the tail, which points away from the ionising star.
    flank = np.exp(-(((np.abs(across) - 0.75 * np.exp(along / 3.0)) / 0.1) ** 2)) * (along < 0)
    flank = flank * np.exp(np.minimum(along, 0) / 0.9)
    is_tail = (along < 0) * (np.abs(across) < 0.7 * np.exp(along / 3.0))
    cavity = smoothstep(distance, 0.75, 0.6) + is_tail * np.exp(np.minimum(along, 0))
    shadow = smoothstep(view.elliptical_radius(0, 0, rng.uniform(0.3, 0.7), angle) / np.float32(size * 0.5), 1.1, 0.8)
    gas_brightness = 0.35 * brightness * view.line_flux(HA=1.5, OIII=0.9, NII=0.9, SII=0.6)
    light = gas_brightness * (0.55 * nebula + 2.2 * (cusp + 0.6 * flank) + 0.3 * np.minimum(cavity, 1))
    image = light * (1 - 0.96 * shadow)  # The disc absorbs nearly all light from behind.
    view.add_points(image, np.zeros(1), np.zeros(1), np.array([rng.uniform(150, 600) * view.continuum_flux(0.9)]))
    return np.asarray(image, np.float32)


def stellar_jet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a Herbig-Haro flow: a knotty jet from a hidden star, with bow shocks."""
    angle, brightness = rng.uniform(0, 2 * np.pi), rng.uniform(35, 90)
    brightness *= view.line_flux(HA=1.4, SII=1.7, OIII=0.4, FEII=1.8, NII=1.0, PAB=0.8)
    brightness *= 1.0 if view.line else 1.5
    noise = view.fractal_noise(rng, 2.2, 0.35)
    origin = -0.65 if variant != "bipolar" else 0.0  # A one-sided jet starts near the edge of the field.
    along, across = view.rotated_coordinates(origin * np.cos(angle), origin * np.sin(angle), angle)
    # The jet wiggles because its axis precesses.
    across = across + np.float32(0.02) * np.sin(along * np.float32(rng.uniform(4, 8)) + np.float32(rng.uniform(0, 6)))
    light = view.blank_image()
    for side in (1, -1) if variant == "bipolar" else (1,):
        length = rng.uniform(0.6, 0.85) if variant == "bipolar" else rng.uniform(1.05, 1.4)
        light += _beam(rng, side * along, across, length, variant == "knotty")
        for position, weight in ((length, 1.0), (length * rng.uniform(0.5, 0.75), 0.5)):
            light += np.float32(weight) * _bow(rng, side * along - np.float32(position), across, variant == "bow shock")
    # This cone is the reflection nebula at the base of the jet.
    cone = np.exp(-np.hypot(along, across) / 0.12) * smoothstep(np.abs(across) - 0.6 * np.abs(along), 0.05, -0.02)
    image = brightness * light * np.exp(0.6 * noise) + 14 * view.continuum_flux(0.7) * cone
    lane = np.exp(-((along / 0.03) ** 2)) * np.exp(-((across / 0.16) ** 2))  # Disc of dust that hides the star.
    return np.asarray(image * (1 - 0.9 * lane), np.float32)


def _beam(rng: np.random.Generator, along: Image, across: Image, length: float, is_knotty: bool) -> Image:
    """Draw one side of a jet: a beam that widens with the distance from the star, and knots along its axis."""
    width = 0.012 + 0.014 * np.clip(along, 0, None)
    # Besides its knots, a jet has a continuous beam, which fades outwards.
    light = 0.5 * np.exp(-0.5 * (across / width) ** 2) * (along > 0.02) * (along < length)
    light = light * np.exp(-along / np.float32(0.7 * length))
    num_knots = 16 if is_knotty else 9
    for position in np.linspace(0.07, length * 0.95, num_knots) + rng.normal(0, 0.012, num_knots):
        size, weight = rng.uniform(0.014, 0.03), rng.uniform(0.4, 1.4)
        shape = ((along - np.float32(position)) / np.float32(size * 1.5)) ** 2 + (across / np.float32(size)) ** 2
        light = light + np.float32(weight) * np.exp(-0.5 * shape)
    return np.asarray(light, np.float32)


def _bow(rng: np.random.Generator, ahead: Image, across: Image, is_large: bool) -> Image:
    """Draw a parabolic shock front, brightest at its apex."""
    width = np.float32(rng.uniform(0.16, 0.26) if is_large else rng.uniform(0.07, 0.13))
    front = ahead + across**2 / width  # `front` is 0 on the shock front and negative behind.
    shock = np.exp(-np.maximum(-front, 0) / np.float32(0.03)) * smoothstep(front, 0.012, -0.012)
    taper = np.exp(-((across / (0.75 * width)) ** 2)) * np.exp(np.clip(ahead, -3, 0) / np.float32(0.22))
    return np.asarray(2.0 * shock * taper, np.float32)
