"""Renderers of objects in the solar system: planets, comets and Kuiper belt objects."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.components import continuum_fluxes, power_law_fluxes, smoothstep
from hubbleclip.simulator.objects.view import Image, View
from hubbleclip.simulator.random_draws import numpy_rng

PLANETS = {
    "Jupiter": (0.78, 0.935),
    "Saturn": (0.42, 0.9),
    "Uranus": (0.36, 0.977),
    "Neptune": (0.42, 0.983),
    "Mars": (0.55, 0.995),
}
"""Radius of each planet in scene units, and the ratio of its polar radius to its equatorial radius."""


def planet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a limb-darkened oblate disc with surface features, rings and moons."""
    size, axis_ratio = PLANETS[variant]
    size *= rng.uniform(0.8, 1.15)
    angle, brightness = rng.uniform(0, np.pi), rng.uniform(60, 260)
    radius = view.elliptical_radius(0, 0, axis_ratio, angle) / np.float32(size)
    along, across = view.rotated_coordinates(0, 0, angle)
    mu = np.sqrt(np.clip(1 - radius**2, 0, 1))  # Cosine of the emission angle: 1 at the centre, 0 at the limb.
    edge = smoothstep(radius, 1 + view.pixel_size / size, 1 - view.pixel_size / size)  # Smooth outline.
    surface = _surface(view, rng, variant, (along / np.float32(size), across / np.float32(size * axis_ratio)), mu)
    # The limb darkening follows Minnaert's law; Mars has nearly none.
    darkening = np.float32(rng.uniform(0.8, 1.2) if variant != "Mars" else 0.3)
    light = edge * np.maximum(surface, 0.08) * (mu + 0.02) ** darkening
    if variant == "Mars":  # Mars has phases: a part of its night side is visible.
        light = light * smoothstep(along / np.float32(size) * 0.8 + mu, -0.25, 0.35)
    if variant in ("Saturn", "Uranus"):
        light = _with_rings(view, rng, (light, edge), (angle, size), is_broad=variant == "Saturn")
    image = np.asarray(brightness * light, np.float32)
    count = int(rng.integers(1, 5))
    # The moons lie near the equatorial plane, on both sides of the planet.
    moon_distance = rng.choice([-1, 1], count) * rng.uniform(1.2, 2.0, count) * size
    moon_offset = rng.normal(0, 0.08, count) * size
    x = moon_distance * np.cos(angle) - moon_offset * np.sin(angle)
    y = moon_distance * np.sin(angle) + moon_offset * np.cos(angle)
    view.add_points(image, x, y, rng.uniform(300, 4000, count))
    return image


def _surface(view: View, rng: np.random.Generator, variant: str, position: tuple[Image, Image], mu: Image) -> Image:
    """Compute the albedo of each pixel of the disc; each observation shows a different longitude."""
    along, across = position
    longitude = numpy_rng(view.epoch, "longitude").uniform(0, 10)  # The planet rotates between observations.
    x, y = along / (0.35 + 0.65 * mu), across  # The surface is foreshortened near the limb.
    stretched = x * np.float32(0.6) + np.float32(longitude), y * np.float32(2.0)
    noise = view.fractal_noise(rng, 2.2, 1.6, coordinates=stretched)
    if variant == "Mars":
        marks = smoothstep(view.fractal_noise(rng, 3.2, 2.4, coordinates=(x + np.float32(longitude), y)), -0.3, 1.0)
        cap = smoothstep(y + 0.03 * noise, 0.78, 0.84)  # Polar ice cap.
        marks_albedo = np.float32(0.5 * min(1.2, view.wave_nm / 600)) * marks
        return 0.95 - marks_albedo + np.float32(0.9 * 600 / view.wave_nm) * cap
    belts = {"Jupiter": 0.34, "Saturn": 0.2, "Uranus": 0.13, "Neptune": 0.2}[variant]
    wavy = y + np.float32(0.02 if variant == "Jupiter" else 0.006) * noise
    pattern = view.blank_image()
    # The belts are sums of sines of the latitude. Jupiter has more and narrower belts.
    for number in (5, 9, 14, 23) if variant == "Jupiter" else (3, 6, 11):
        pattern += np.float32(rng.uniform(0.5, 1.0)) * np.sin(wavy * number + np.float32(rng.uniform(0, 6.28)))
    albedo = 1 + np.float32(belts) * pattern + np.float32(0.35 * belts) * noise
    if variant == "Uranus":  # Uranus has a bright polar hood.
        albedo = albedo + np.float32(0.5 * min(1.5, view.wave_nm / 700)) * smoothstep(y, 0.35, 0.75)
    return albedo + _storms(view, rng, variant, x, y)


def _storms(view: View, rng: np.random.Generator, variant: str, x: Image, y: Image) -> Image:
    """Draw the red spot of Jupiter, which is dark in blue light, or bright clouds on the other giant planets."""
    marks = view.blank_image()
    # The storms drift between observations.
    shift = numpy_rng(view.epoch, "storms").uniform(-0.5, 0.5)
    if variant == "Jupiter":
        spot = ((x - np.float32(shift)) / 0.2) ** 2 + ((y + 0.35) / 0.1) ** 2
        rim = 0.35 * np.exp(-(((spot - 1.3) / 0.5) ** 2))
        return np.asarray(rim - 0.45 * 550 / view.wave_nm * np.exp(-(spot**2)), np.float32)
    bright = 0.15 if variant == "Saturn" else 0.8 * min(2.0, view.wave_nm / 650)
    places_x, places_y, sizes = rng.uniform(-0.7, 0.7, 5), rng.uniform(-0.7, 0.7, 5), rng.uniform(0.04, 0.1, 5)
    for place_x, place_y, size in zip(places_x, places_y, sizes, strict=True):
        along = (x - np.float32(place_x + 0.5 * shift)) / np.float32(2.2 * size)
        across = (y - np.float32(place_y)) / np.float32(0.6 * size)
        marks += np.float32(bright) * np.exp(-(along**2 + across**2))
    return marks


def _with_rings(
    view: View,
    rng: np.random.Generator,
    disc: tuple[Image, Image],
    geometry: tuple[float, float],
    *,
    is_broad: bool,
) -> Image:
    """Add rings to a planet; the disc of the planet hides the far side of the rings."""
    (light, edge), (angle, size) = disc, geometry
    axis_ratio = rng.uniform(0.12, 0.42)
    along, across = view.rotated_coordinates(0, 0, angle)
    radius = np.hypot(along, across / np.float32(axis_ratio)) / np.float32(size)
    if is_broad:
        # These terms are Saturn's B ring, C ring and A ring. Radii are in units of the planet's radius.
        ring = 0.75 * smoothstep(radius, 1.52, 1.58) * smoothstep(radius, 1.96, 1.93)
        ring = ring + 0.15 * smoothstep(radius, 1.24, 1.3) * (radius < 1.52)
        ring = ring + 0.5 * smoothstep(radius, 2.02, 2.05) * smoothstep(radius, 2.28, 2.25)
        ring = ring * (1 + 0.12 * np.sin(radius * 60))
    else:
        ring = 0.035 * np.exp(-(((radius - 2.0) / 0.02) ** 2))  # Uranus has one narrow, dark ring.
    is_behind = (across > 0).astype(np.float32) * edge
    opacity = np.clip(ring, 0, 0.9) * (1 - is_behind)
    return np.asarray(light * (1 - opacity) + ring * (1 - is_behind), np.float32)


def comet(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a coma with a 1/r profile and a curved dust tail; a long-period comet also has a narrow ion tail."""
    direction, brightness = rng.uniform(0, 2 * np.pi), rng.uniform(25, 70) * view.continuum_flux(0.1)
    # The nucleus is shifted away from the tail, so that the tail fits into the field.
    centre = (-0.35 * np.cos(direction), -0.35 * np.sin(direction))
    noise = view.fractal_noise(rng, 2.6, 1.2)
    pieces = int(rng.integers(4, 9)) if variant == "disintegrating" else 1
    light = view.blank_image()
    strength = 1.0 if variant != "short-period" else 0.6
    along, across = view.rotated_coordinates(*centre, direction)
    along_offsets, across_offsets = rng.exponential(0.16, pieces).cumsum(), rng.normal(0, 0.045, pieces)
    # The first fragment is the main nucleus; the other fragments follow it along the tail.
    for k in range(pieces):
        along_offset, across_offset = (0.0, 0.0) if k == 0 else (along_offsets[k], across_offsets[k])
        weight = np.float32(strength if k == 0 else rng.uniform(0.2, 0.6))
        along_k, across_k = along - np.float32(along_offset), across - np.float32(across_offset)
        light += weight * _coma_and_tail(rng, along_k, across_k, noise, scale=1.0 if k == 0 else 0.45)
    if variant == "long-period":
        light += 0.25 * _ion_tail(rng, along, across, noise)
    image = np.asarray(brightness * light, np.float32)
    view.add_points(image, np.array([centre[0]]), np.array([centre[1]]), np.array([brightness * rng.uniform(25, 90)]))
    return image


def _coma_and_tail(rng: np.random.Generator, along: Image, across: Image, noise: Image, *, scale: float) -> Image:
    """Draw the coma and the dust tail of one fragment."""
    radius = np.hypot(along, across)
    size, opening = np.float32(0.07 * scale), np.float32(rng.uniform(0.12, 0.3))
    curvature = np.float32(rng.normal(0, 0.18))
    # The coma falls as 1/r, because its dust leaves the nucleus at a constant speed.
    coma = size / (radius + np.float32(0.01)) * np.exp(-radius / np.float32(0.38 * scale))
    width = size * 0.5 + opening * np.clip(along, 0, None)
    # The tail is curved because of radiation pressure and orbital motion.
    fan = np.exp(-0.5 * ((across - curvature * along * np.abs(along)) / width) ** 2) * size / width
    tail_length = np.float32(rng.uniform(0.5, 1.0) * scale)
    tail = fan * smoothstep(along, -0.02, 0.05) * np.exp(-np.clip(along, 0, None) / tail_length) * np.exp(0.12 * noise)
    return np.asarray(coma + 1.0 * tail, np.float32)


def _ion_tail(rng: np.random.Generator, along: Image, across: Image, noise: Image) -> Image:
    """Draw an ion tail as several straight, narrow rays that diverge slightly."""
    light = np.zeros_like(along)
    for tilt in rng.normal(0, 0.07, 6):
        width = 0.008 + 0.02 * np.clip(along, 0, None)
        light += np.exp(-0.5 * ((across - np.float32(tilt) * along + 0.006 * noise) / width) ** 2)
    return np.asarray(light * (along > 0) * np.exp(-np.clip(along, 0, None) / 1.5), np.float32)


def kuiper_belt_field(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a faint object among a few stars; the stars are trails, because the telescope follows the object."""
    light = view.blank_image()
    # The epoch is the seed of the star field, because each observation of an object shows different stars.
    field_rng = numpy_rng(view.epoch, "trails")
    count, direction = int(field_rng.integers(9, 22)), field_rng.uniform(0, np.pi)
    length = field_rng.uniform(0.05, 0.16)
    x, y = field_rng.uniform(-1.5, 1.5, (2, count))
    flux = power_law_fluxes(field_rng, count, 60, 0.5, 9000)
    flux = flux * continuum_fluxes(view, field_rng.normal(0.5, 0.5, count)) / 24
    diffuse_size = np.where(flux < 40, field_rng.uniform(0.0, 0.01, count), 0.0)
    # A trail is drawn as 90 short exposures.
    for step in np.linspace(-0.5, 0.5, 90) * length:
        jitter = field_rng.normal(0, 1, (2, count)) * diffuse_size
        view.add_points(light, x + step * np.cos(direction) + jitter[0], y + step * np.sin(direction) + jitter[1], flux)
    brightness = rng.uniform(150, 900)
    body_x, body_y, body_flux = np.zeros(1), np.zeros(1), np.array([brightness])
    if variant == "binary":
        gap = rng.uniform(0.015, 0.04)  # Separation of the two bodies, in scene units.
        body_x, body_y = np.array([0, gap]), np.array([0, 0.4 * gap])
        body_flux = np.array([brightness, 0.6 * brightness])
    view.add_points(light, body_x, body_y, body_flux * view.continuum_flux(0.4))
    return light
