"""Brightness profiles, flux distributions, stars and small galaxies that several renderers use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hubbleclip.simulator.objects.view import Image, Vector, View


def sersic_profile(radius_yx: Image, effective: float, index: float, softening: float) -> Image:
    """Evaluate a Sersic profile, which is normalised to 1 at the effective radius.

    The profile is that of Sersic (1968), with b_n = 2 n - 1/3, the first terms of the series of Ciotti & Bertin (1999).
    """
    b = np.float32(2 * index - 1 / 3)  # The constant b_n.
    scaled = np.hypot(radius_yx, np.float32(softening)) / np.float32(effective)
    return np.asarray(np.exp(-b * (scaled ** np.float32(1 / index) - 1)), np.float32)


def filaments(noise_yx: Image, width: float) -> Image:
    """Convert fractal noise to filaments of brightness 0 to 1, which are bright where the noise crosses zero."""
    return np.asarray(np.exp(-np.abs(noise_yx) / np.float32(width)), np.float32)


def smoothstep(value_yx: Image, low: float, high: float) -> Image:
    """Evaluate a smooth step (cubic Hermite) that rises from 0 at `low` to 1 at `high`."""
    fraction = np.clip((value_yx - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(fraction * fraction * (3 - 2 * fraction), np.float32)


def power_law_fluxes(rng: np.random.Generator, count: int, faintest: float, slope: float, brightest: float) -> Vector:
    """Draw fluxes from the power law dN/dF ~ F^-(slope + 1) between `faintest` and `brightest`."""
    quantile = rng.random(count)
    # The truncated power law is sampled by inverting its cumulative distribution.
    low_power, high_power = faintest**-slope, brightest**-slope
    return np.asarray((low_power - quantile * (low_power - high_power)) ** (-1 / slope))


def add_field_stars(
    view: View, image_yx: Image, rng: np.random.Generator, count: int, *, brightest: float = 2e4
) -> None:
    """Add `count` foreground stars to an image in place, at random x and y from -1.9 to 1.9 scene units."""
    # This range is wider than a frame, so that stars also fill a frame with an offset or a rotation.
    x, y = rng.uniform(-1.9, 1.9, (2, count))
    colour = rng.normal(0.5, 0.5, count)
    flux = power_law_fluxes(rng, count, 25.0, 0.55, brightest)
    view.add_points(image_yx, x, y, flux * continuum_fluxes(view, colour))


def continuum_fluxes(view: View, colour: Vector) -> Vector:
    """Evaluate `View.continuum_flux` for an array of colours."""
    # This is a vectorised copy of `View.continuum_flux`; change both functions together.
    continuum = np.clip((view.wave_nm / 600.0) ** (1.5 * colour), 0.08, 8.0)
    return np.asarray(continuum * (0.3 if view.line else 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallGalaxy:
    """Galaxy without spiral arms; the module `view` defines scene units and brightness units.

    `x` and `y` are the position and `size` is the effective radius, all in scene units. `brightness` is the surface
    brightness at the effective radius, in brightness units. `axis_ratio` is the ratio of the minor axis to the major
    axis, `angle` is the direction of the major axis in radians, and `index` is the Sersic index.
    """

    x: float
    y: float
    size: float
    brightness: float
    axis_ratio: float
    angle: float
    index: float


def add_small_galaxies(
    view: View, image_yx: Image, rng: np.random.Generator, count: int, *, largest: float = 0.05, peak: float = 9.0
) -> None:
    """Add `count` small galaxies at x and y from -1.7 to 1.7 scene units; `largest` is the maximum effective radius."""
    x, y = rng.uniform(-1.7, 1.7, (2, count))
    size = power_law_fluxes(rng, count, largest / 9, 1.6, largest)
    brightness = peak * 10 ** rng.normal(-0.35, 0.33, count) * continuum_fluxes(view, rng.normal(0.4, 0.6, count))
    axis_ratio, angle = rng.uniform(0.25, 1.0, count), rng.uniform(0, np.pi, count)
    # Half of the galaxies are exponential discs (n = 1); the others are of earlier types.
    index = rng.choice([1.0, 1.0, 2.5, 4.0], count)
    for row in zip(x, y, size, brightness, axis_ratio, angle, index, strict=True):
        add_galaxy(view, image_yx, SmallGalaxy(**dict(zip(SmallGalaxy.__slots__, map(float, row), strict=True))))


def add_galaxy(view: View, image_yx: Image, galaxy: SmallGalaxy) -> None:
    """Add one small galaxy, drawn only in a cutout of the frame; its light falls to zero at the edge of the cutout."""
    half_size = galaxy.size * (5.0 if galaxy.index < 2 else 9.0)  # Spheroids (high index) have wider wings.
    stamp = view.cutout(galaxy.x, galaxy.y, half_size)
    if stamp is None:
        return
    slices, stamp_view = stamp
    radius = stamp_view.elliptical_radius(galaxy.x, galaxy.y, galaxy.axis_ratio, galaxy.angle)
    light = sersic_profile(radius, galaxy.size, galaxy.index, view.pixel_size * 0.5)
    # The value at the edge of the cutout is subtracted; otherwise the cutout would be visible as a faint square.
    edge_light = float(sersic_profile(np.full(1, half_size, np.float32), galaxy.size, galaxy.index, 0.0)[0])
    image_yx[slices] += np.float32(galaxy.brightness) * np.maximum(light - edge_light, 0)
