"""Renderers of spiral, elliptical, merging and dwarf galaxies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hubbleclip.simulator.objects.components import (
    continuum_fluxes,
    filaments,
    power_law_fluxes,
    sersic_profile,
    smoothstep,
)
from hubbleclip.simulator.objects.view import Image, View


def spiral_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw an exponential disc with spiral arms, dust lanes, knots and a bulge."""
    scale, angle, brightness = rng.uniform(0.17, 0.36), rng.uniform(0, np.pi), rng.uniform(45, 140)
    if variant == "edge-on":
        return _edge_on(view, rng, scale * 1.2, angle, brightness)
    axis_ratio, pitch = rng.uniform(0.42, 1.0), np.deg2rad(rng.uniform(13, 27)) * rng.choice([-1, 1])
    num_arms = int(rng.integers(4, 8)) if variant == "flocculent" else int(rng.choice([2, 2, 2, 3]))
    radius, azimuth = view.polar_coordinates(0, 0, axis_ratio, angle)
    large_noise = view.fractal_noise(rng, 2.6, scale * 5)
    noise = view.fractal_noise(rng, 2.0, scale * 3)
    phase_noise = (1.1 if variant == "flocculent" else 0.45) * large_noise
    # In a logarithmic spiral, the azimuth grows with log(radius) at a constant pitch angle.
    phase = num_arms * (azimuth - np.log(radius + 0.02) / np.float32(np.tan(pitch))) + phase_noise
    sharpness = np.float32(1.2 if variant == "flocculent" else 2.4)
    arm = np.exp(-sharpness * (1 - np.cos(phase)))
    outside_centre = smoothstep(radius, 0.15 * scale, 0.9 * scale)  # The arms start outside the bulge.
    disc = np.exp(-radius / np.float32(scale))
    young = disc * arm * outside_centre * np.exp(0.7 * noise)
    # The disc is red and the arms are blue.
    light = brightness * (view.continuum_flux(0.6) * 0.55 * disc + view.continuum_flux(-0.5) * 1.5 * young)
    # Dust lies at the inner edge of an arm: the dust's phase is shifted, in a direction given by the sense of rotation.
    dust_lane = np.exp(-sharpness * 2 * (1 - np.cos(phase - np.float32(0.9 * np.sign(pitch))))) * outside_centre
    dust = 0.8 * dust_lane + 0.3 * filaments(noise, 0.35)
    light *= np.exp(-np.float32(_opacity(view)) * dust * smoothstep(radius, 3.2 * scale, scale))
    light += _bulge(view, rng, (scale, axis_ratio, angle), brightness, is_barred=variant == "barred")
    _add_knots(view, rng, light, (scale, axis_ratio, angle, pitch, num_arms), brightness)
    return np.asarray(light, np.float32)


def _opacity(view: View) -> float:
    """Compute the optical depth of dust at the filter's wavelength; it is proportional to 1/wavelength."""
    return 1.5 * 600.0 / view.wave_nm  # The depth is 1.5 at 600 nm.


def _bulge(
    view: View, rng: np.random.Generator, shape: tuple[float, float, float], brightness: float, *, is_barred: bool
) -> Image:
    """Draw a round bulge of old stars and, in a barred galaxy, a bar through the bulge."""
    scale, axis_ratio, angle = shape
    strength, size, bar_angle = rng.uniform(0.6, 1.6), scale * rng.uniform(0.12, 0.3), rng.uniform(0, np.pi)
    radius = view.elliptical_radius(0, 0, max(axis_ratio, 0.7), angle)
    light = strength * brightness * 0.8 * sersic_profile(radius, size, 2.2, view.pixel_size)
    if is_barred:
        along, across = view.rotated_coordinates(0, 0, angle + bar_angle)
        length = np.float32(1.1 * scale)
        bar = np.exp(-((along / length) ** 4)) * np.exp(-np.abs(across) / np.float32(0.16 * scale))
        light = light + 1.3 * brightness * bar
    return np.asarray(light * view.continuum_flux(0.9), np.float32)


def _add_knots(
    view: View, rng: np.random.Generator, light: Image, shape: tuple[float, float, float, float, int], brightness: float
) -> None:
    """Add star clusters and H II regions along the arms."""
    scale, axis_ratio, angle, pitch, num_arms = shape
    count = int(rng.integers(250, 700))
    radius = scale * rng.gamma(2.2, 0.9, count)
    azimuth = np.log(radius + 0.02) / np.tan(pitch) + 2 * np.pi * rng.integers(num_arms, size=count) / num_arms
    # Scatter the knots around the arms. The standard deviation is in radians.
    azimuth += rng.normal(0, 0.22, count)
    u, v = radius * np.cos(azimuth), radius * np.sin(azimuth) * axis_ratio
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = power_law_fluxes(rng, count, 0.5 * brightness, 0.9, 25 * brightness)
    # A knot shows the blue continuum of a cluster or the lines of an H II region, whichever is brighter in this filter.
    view.add_points(light, x, y, flux * max(view.continuum_flux(-0.7), 0.9 * view.line_flux(HA=2.0, OIII=0.8)))


def _edge_on(view: View, rng: np.random.Generator, scale: float, angle: float, brightness: float) -> Image:
    """Draw a disc seen edge-on, with a vertical sech^2 profile, a bulge, and a dust lane in the midplane."""
    along, across = view.rotated_coordinates(0, 0, angle)
    height, warp = scale * rng.uniform(0.06, 0.13), rng.normal(0, 0.06)
    across = across - np.float32(warp) * along * np.abs(along)  # The disc is warped at its ends.
    noise, fine_noise = view.fractal_noise(rng, 2.2, scale * 3), view.fractal_noise(rng, 1.7, scale * 1.5)
    # The argument is clipped because cosh would overflow float32.
    vertical_profile = 1 / np.cosh(np.clip(across / np.float32(height), -12, 12)) ** 2
    disc = brightness * view.continuum_flux(0.3) * np.exp(-np.abs(along) / np.float32(scale))
    bulge = sersic_profile(view.elliptical_radius(0, 0, 0.65, angle), scale * 0.25, 2.0, view.pixel_size)
    light = disc * vertical_profile * np.exp(0.35 * fine_noise)
    light += brightness * view.continuum_flux(0.9) * 0.7 * bulge
    offset = np.float32(rng.normal(0, 0.25) * height)
    dust_lane = np.exp(-(((across - offset + np.float32(0.25 * height) * noise) / np.float32(0.38 * height)) ** 2))
    tau = np.float32(2.2 * _opacity(view)) * dust_lane * np.exp(-np.abs(along) / np.float32(1.7 * scale))
    return np.asarray(light * np.exp(-tau * np.exp(0.5 * fine_noise)), np.float32)


def elliptical_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a red Sersic profile with globular clusters; a variant may add shells, a ring of dust or a disc."""
    size, axis_ratio, angle = rng.uniform(0.14, 0.38), rng.uniform(0.5, 0.95), rng.uniform(0, np.pi)
    index, brightness = rng.uniform(3.0, 5.0), rng.uniform(14, 45) * view.continuum_flux(0.9)
    radius = view.elliptical_radius(0, 0, axis_ratio, angle)
    light = brightness * sersic_profile(radius, size, index, view.pixel_size)
    if variant == "lenticular":
        light += 2.2 * brightness * np.exp(-view.elliptical_radius(0, 0, 0.22, angle) / np.float32(size * 0.8))
    if variant == "shell":
        light += brightness * _shells(view, rng, size, angle)
    if variant == "dusty":
        light *= _dust_ring(view, rng, size)
    count = int(rng.integers(60, 300))
    # The globular clusters are more extended than the light of the galaxy.
    distance, azimuth = size * rng.gamma(1.6, 1.1, count), rng.uniform(0, 2 * np.pi, count)
    flux = power_law_fluxes(rng, count, 15, 0.9, 220) * continuum_fluxes(view, rng.normal(0.6, 0.2, count))
    view.add_points(light, distance * np.cos(azimuth), distance * np.sin(azimuth) * axis_ratio, flux)
    return light


def _shells(view: View, rng: np.random.Generator, size: float, angle: float) -> Image:
    """Draw sharp arcs on alternating sides, at the turning points of stars from an accreted galaxy (Quinn 1984)."""
    light, opening_angle = view.blank_image(), rng.uniform(0.45, 0.8)
    # Shells with odd numbers lie on the opposite side of the galaxy.
    for number, shell_radius in enumerate(size * np.cumsum(rng.uniform(0.45, 0.8, 5)) + 0.3 * size):
        radius, azimuth = view.polar_coordinates(0, 0, 0.95, angle + np.pi * (number % 2))
        inside = smoothstep(radius, shell_radius * 1.015, shell_radius * 0.985)
        inside = inside * np.exp(-(shell_radius - radius) / np.float32(0.16 * shell_radius))
        fading = np.exp(-((azimuth / np.float32(opening_angle)) ** 4))
        light += 0.9 * (size / shell_radius) ** 1.2 * inside * fading * (radius < 1.05 * shell_radius)
    return light


def _dust_ring(view: View, rng: np.random.Generator, size: float) -> Image:
    """Compute the fraction of light, from 0 to 1, that an inclined ring of dust transmits."""
    direction, ring_axis_ratio = rng.uniform(0, np.pi), rng.uniform(0.08, 0.3)
    along, across = view.rotated_coordinates(0, 0, direction)
    noise = view.fractal_noise(rng, 2.2, size * 3)
    radius = np.hypot(along, across / np.float32(ring_axis_ratio)) * (1 + 0.18 * noise)
    # Only the near half of the ring covers the galaxy.
    near_side = 0.35 + 0.65 * smoothstep(across, -0.05 * size, 0.1 * size)
    lane = np.exp(-(((radius - 0.55 * size) / np.float32(0.3 * size)) ** 2)) * near_side
    return np.asarray(np.exp(-np.float32(2.0 * _opacity(view)) * lane), np.float32)


def galaxy_merger(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw two distorted discs with nuclei, dust and long tidal tails."""
    separation = {
        "tidal tails": rng.uniform(0.18, 0.32),
        "late stage": rng.uniform(0.03, 0.08),
        "close pair": rng.uniform(0.3, 0.5),
    }[variant]
    pair_angle, brightness, scale = rng.uniform(0, 2 * np.pi), rng.uniform(40, 110), rng.uniform(0.11, 0.17)
    warp_x, warp_y = view.fractal_noise(rng, 3.2, 1.3), view.fractal_noise(rng, 3.2, 1.3)
    noise = view.fractal_noise(rng, 1.9, 0.5)
    # Both discs are distorted in the same way, because they lie in one tidal field.
    warped = _warped(view, warp_x, warp_y, 0.055)
    light, tails = view.blank_image(), view.blank_image()
    spin = rng.choice([-1, 1])
    for side in (-1, 1):
        x, y = side * separation / 2 * np.cos(pair_angle), side * separation / 2 * np.sin(pair_angle)
        weight, axis_ratio, angle = rng.uniform(0.6, 1.1), rng.uniform(0.35, 0.85), rng.uniform(0, np.pi)
        radius, azimuth = warped.polar_coordinates(x, y, axis_ratio, angle)
        # Tidal forces give each disc a spiral with two arms.
        swirl = 1 + 0.8 * np.cos(2 * (azimuth - spin * np.log(radius + 0.02) / np.float32(0.45)))
        light += weight * np.exp(-radius / np.float32(scale * weight)) * swirl
        light += 2.5 * weight * sersic_profile(view.elliptical_radius(x, y, 0.8, angle), 0.03, 2, view.pixel_size)
        tails += weight * _tail(warped, rng, (x, y), pair_angle + (np.pi if side < 0 else 0), spin)
    body = brightness * view.continuum_flux(0.3) * light * np.exp(0.45 * noise)
    body *= np.exp(-np.float32(0.9 * _opacity(view)) * filaments(noise + warp_x, 0.3) * smoothstep(light, 0.1, 0.8))
    return np.asarray(body + brightness * view.continuum_flux(-0.2) * 0.34 * tails * np.exp(0.55 * noise), np.float32)


def _warped(view: View, warp_x: Image, warp_y: Image, amount: float) -> View:
    """Make a view with coordinates distorted by noise, so that objects are irregular; `amount` is in scene units."""
    return replace(view, x_yx=view.x_yx + np.float32(amount) * warp_x, y_yx=view.y_yx + np.float32(amount) * warp_y)


def _tail(view: View, rng: np.random.Generator, start: tuple[float, float], start_angle: float, spin: int) -> Image:
    """Draw a tidal tail that starts at one disc, points outwards and bends with increasing radius."""
    length, curvature, width = rng.uniform(0.55, 1.0), rng.uniform(0.9, 2.2) * spin, rng.uniform(0.035, 0.06)
    radius, azimuth = view.polar_coordinates(*start, 1.0, start_angle)
    # Difference of two angles, wrapped to the range -pi to pi.
    azimuth_offset = np.mod(azimuth - np.float32(curvature) * radius / np.float32(length) + np.pi, 2 * np.pi) - np.pi
    across = azimuth_offset * radius / np.float32(width * 1.0) / (0.5 + radius / np.float32(length))
    along = smoothstep(radius, 0.02, 0.15) * np.exp(-((radius / np.float32(length)) ** 4)) * (1 - 0.4 * radius)
    return np.asarray(np.exp(-0.5 * across**2) * along, np.float32)


def dwarf_galaxy(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw resolved stars on a faint exponential body; an irregular galaxy also has clumps of blue stars and gas."""
    scale, axis_ratio, angle = rng.uniform(0.26, 0.42), rng.uniform(0.4, 0.7), rng.uniform(0, np.pi)
    count, is_irregular = int(rng.integers(2500, 6000)), variant == "irregular"
    radius = scale * rng.gamma(2.0, 0.85, count)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    u, v = radius * np.cos(azimuth), radius * np.sin(azimuth) * axis_ratio
    x, y = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    flux = power_law_fluxes(rng, count, 7, 1.15, 250) * continuum_fluxes(view, rng.normal(0.5, 0.4, count))
    radius_yx = view.elliptical_radius(0, 0, axis_ratio, angle)
    light = 3.2 * view.continuum_flux(0.4) * np.exp(-radius_yx / np.float32(scale * 0.8))
    if is_irregular:
        light += _clumps(view, rng, scale, axis_ratio, angle)
        is_blue = rng.random(count) < 0.3  # Young stars are moved into the clumps.
        knots = rng.normal(0, 0.5, (2, 7)) * scale
        knot_index = rng.integers(7, size=count)
        scatter = rng.normal(0, 0.1, (2, count)) * scale
        x = np.where(is_blue, knots[0][knot_index] + scatter[0], x)
        y = np.where(is_blue, knots[1][knot_index] + scatter[1], y)
        flux = np.where(is_blue, flux * view.continuum_flux(-0.9) * 2.5, flux)
    view.add_points(light, x, y, flux)
    return np.asarray(light, np.float32)


def _clumps(view: View, rng: np.random.Generator, scale: float, axis_ratio: float, angle: float) -> Image:
    """Draw bubbles and clouds of ionised gas inside the body of the galaxy."""
    cloud = smoothstep(view.fractal_noise(rng, 2.6, scale * 2.5), 0.5, 2.2)
    cloud += 0.5 * filaments(view.fractal_noise(rng, 2.4, scale * 3), 0.12)
    body = np.exp(-view.elliptical_radius(0, 0, axis_ratio, angle) / np.float32(0.6 * scale))
    return np.asarray(26 * view.line_flux(HA=1.5, OIII=1.0) * cloud * body, np.float32)
