"""Brightness laws and populations that several kinds of object share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hubbleclip.simulator.objects.view import Image, Vector, View


def sersic(radius_yx: Image, effective: float, index: float, softening: float) -> Image:
    """Sersic (1968) law, 1 at the effective radius; `softening` keeps the cusp finite within a pixel."""
    b = np.float32(2 * index - 1 / 3)
    scaled = np.hypot(radius_yx, np.float32(softening)) / np.float32(effective)
    return np.asarray(np.exp(-b * (scaled ** np.float32(1 / index) - 1)), np.float32)


def ridges(noise_yx: Image, width: float) -> Image:
    """Filaments: bright where fractal noise crosses zero."""
    return np.asarray(np.exp(-np.abs(noise_yx) / np.float32(width)), np.float32)


def smooth_step(value_yx: Image, low: float, high: float) -> Image:
    """0 below `low`, 1 above `high`, smooth between; `low` above `high` turns it round."""
    t = np.clip((value_yx - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def luminosities(rng: np.random.Generator, count: int, faintest: float, slope: float, brightest: float) -> Vector:
    """Fluxes from a power law dN/dF ~ F^-(slope + 1) between two limits."""
    u = rng.random(count)
    low, high = faintest**-slope, brightest**-slope
    return np.asarray((low - u * (low - high)) ** (-1 / slope))


def add_field_stars(
    view: View, image_yx: Image, rng: np.random.Generator, count: int, *, brightest: float = 2e4
) -> None:
    """Foreground stars over a field wider than any frame."""
    x, y = rng.uniform(-1.9, 1.9, (2, count))
    colour = rng.normal(0.5, 0.5, count)
    flux = luminosities(rng, count, 25.0, 0.55, brightest)
    view.add_points(image_yx, x, y, flux * tints(view, colour))


def tints(view: View, colour: Vector) -> Vector:
    """`View.tint` of many colours."""
    continuum = np.clip((view.wave_nm / 600.0) ** (1.5 * colour), 0.08, 8.0)
    return np.asarray(continuum * (0.3 if view.line else 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Galaxy:
    """A galaxy too small to need arms: place and effective radius in scene units, brightness at that radius."""

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
    """Background galaxies: small discs and spheroids of all inclinations, many faint and a few bright."""
    x, y = rng.uniform(-1.7, 1.7, (2, count))
    size = luminosities(rng, count, largest / 9, 1.6, largest)
    brightness = peak * 10 ** rng.normal(-0.35, 0.33, count) * tints(view, rng.normal(0.4, 0.6, count))
    ratio, angle = rng.uniform(0.25, 1.0, count), rng.uniform(0, np.pi, count)
    index = rng.choice([1.0, 1.0, 2.5, 4.0], count)
    for row in zip(x, y, size, brightness, ratio, angle, index, strict=True):
        add_galaxy(view, image_yx, Galaxy(**dict(zip(Galaxy.__slots__, map(float, row), strict=True))))


def add_galaxy(view: View, image_yx: Image, galaxy: Galaxy) -> None:
    """One small galaxy, in its own stamp of the frame, down to zero at the stamp's edge."""
    reach = galaxy.size * (5.0 if galaxy.index < 2 else 9.0)
    found = view.stamp(galaxy.x, galaxy.y, reach)
    if found is None:
        return
    part, small = found
    radius = small.radius(galaxy.x, galaxy.y, galaxy.axis_ratio, galaxy.angle)
    light = sersic(radius, galaxy.size, galaxy.index, view.pixel * 0.5)
    edge = float(sersic(np.full(1, reach, np.float32), galaxy.size, galaxy.index, 0.0)[0])
    image_yx[part] += np.float32(galaxy.brightness) * np.maximum(light - edge, 0)
