"""What lies far away: clusters of galaxies, lenses, quasars in their hosts, and blank fields."""

from __future__ import annotations

import numpy as np

from hubbleclip.simulator.objects.brushes import add_field_stars, add_galaxy, add_small_galaxies, luminosities, sersic
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View


def deflected(view: View, x0: float, y0: float, einstein: float, ratio: float, angle: float, core: float) -> tuple[Image, Image]:
    """Source-plane coordinates behind a softened isothermal lens with elliptical potential (Kormann et al. 1994, simplified)."""
    along, across = view.axes(x0, y0, angle)
    squeezed = np.float32(ratio)
    distance = np.sqrt(np.float32(core**2) + along**2 * squeezed + across**2 / squeezed)
    return along * (1 - np.float32(einstein) * squeezed / distance), across * (1 - np.float32(einstein) / squeezed / distance)


def add_lensed(
    image: Image, plane: tuple[Image, Image], source: tuple[float, float], size: float, brightness: float, index: float = 1.0
) -> None:
    """Add the images of one source: surface brightness is conserved, so it is the source's law at the deflected place."""
    du, dv = plane[0] - np.float32(source[0]), plane[1] - np.float32(source[1])
    r2 = du * du + dv * dv
    near = r2 < np.float32((6 * size) ** 2)
    image[near] += np.float32(brightness) * sersic(np.sqrt(r2[near]), size, index, size * 0.08)


@draws("galaxy cluster")
def galaxy_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A cD galaxy, a crowd of red ellipticals, light between them, and blue arcs about the centre of mass."""
    light = view.blank()
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.85)
    apart = rng.uniform(0.25, 0.45) if variant == "merging" else 0.0
    centres = [(-apart * np.cos(angle), -apart * np.sin(angle)), (apart * np.cos(angle), apart * np.sin(angle))][: 2 if apart else 1]
    for x, y in centres:
        size = rng.uniform(0.09, 0.15)
        light += rng.uniform(9, 15) * view.tint(0.9) * sersic(view.radius(x, y, ratio, angle), size, 4.0, view.pixel)
        light += 2.0 * view.tint(0.9) * np.exp(-view.radius(x, y, ratio, angle) / np.float32(0.3))
    _add_members(view, rng, light, centres)
    einstein = rng.uniform(0.32, 0.5)
    plane = deflected(view, 0, 0, einstein, rng.uniform(0.82, 0.93), angle, 0.05)
    for _ in range(int(rng.integers(10, 16) if variant == "arc-rich" else rng.integers(5, 9))):
        reach, turn = rng.rayleigh(0.10), rng.uniform(0, 2 * np.pi)
        size, brightness = rng.uniform(0.01, 0.022), rng.uniform(9, 30) * view.tint(rng.normal(-0.5, 0.2))
        add_lensed(light, plane, (reach * np.cos(turn), reach * np.sin(turn)), size, brightness)
    add_small_galaxies(view, light, rng, 50, 0.03)
    add_field_stars(view, light, rng, int(rng.integers(3, 9)))
    return light


def _add_members(view: View, rng: np.random.Generator, light: Image, centres: list[tuple[float, float]]) -> None:
    """Member galaxies by a Schechter-like size function, crowded towards the centres."""
    count = int(rng.integers(90, 190))
    reach, turn, home = rng.gamma(1.7, 0.27, count), rng.uniform(0, 2 * np.pi, count), rng.integers(len(centres), size=count)
    size = luminosities(rng, count, 0.011, 1.5, 0.075)
    bright, ratio, tilt = rng.uniform(7, 22, count), rng.uniform(0.45, 1, count), rng.uniform(0, np.pi, count)
    for k in range(count):
        x, y = centres[home[k]][0] + reach[k] * np.cos(turn[k]), centres[home[k]][1] + reach[k] * np.sin(turn[k])
        add_galaxy(view, light, x, y, size[k], bright[k] * view.tint(0.85), ratio[k], tilt[k], 3.0)


@draws("gravitational lens")
def gravitational_lens(view: View, rng: np.random.Generator, variant: str) -> Image:
    """One massive elliptical with a ring, an arc with its counter-image, or four images of a source behind it."""
    einstein, ratio, angle = rng.uniform(0.16, 0.34), rng.uniform(0.8, 0.95), rng.uniform(0, np.pi)
    lens_size = einstein * rng.uniform(0.3, 0.5)
    light = rng.uniform(10, 25) * view.tint(1.0) * sersic(view.radius(0, 0, rng.uniform(0.7, 1), angle), lens_size, 4.0, view.pixel)
    plane = deflected(view, 0, 0, einstein, ratio, angle, 0.004)
    turn, colour = rng.uniform(0, 2 * np.pi), rng.normal(-0.4, 0.2)
    reach = einstein * {"Einstein ring": rng.uniform(0, 0.05), "quad": rng.uniform(0.02, 0.08), "arc": rng.uniform(0.28, 0.42)}[variant]
    size = einstein * {"Einstein ring": rng.uniform(0.1, 0.16), "quad": rng.uniform(0.016, 0.026), "arc": rng.uniform(0.1, 0.15)}[variant]
    bright = rng.uniform(22, 60) * (5 if variant == "quad" else 1) * view.tint(colour)
    source = (reach * np.cos(turn), reach * np.sin(turn))
    add_lensed(light, plane, source, size, bright)
    if variant == "quad":
        add_lensed(light, plane, source, einstein * 0.09, bright * 0.06)
    else:
        knot = (source[0] + 0.5 * size, source[1] - 0.3 * size)
        add_lensed(light, plane, knot, size * 0.2, bright * 1.5)
    return np.asarray(light, np.float32)


@draws("quasar host")
def quasar_host(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A blinding point source, spiked and saturated, on a host galaxy that it outshines; companions, tails or a jet."""
    size, ratio, angle = rng.uniform(0.07, 0.16), rng.uniform(0.5, 0.95), rng.uniform(0, np.pi)
    depth = rng.uniform(12, 30) * view.tint(0.5)
    light = depth * sersic(view.radius(0, 0, ratio, angle), size, rng.choice([1.0, 2.0, 4.0]), view.pixel)
    if variant == "disturbed host":
        grain = view.texture(rng, 2.6, 0.8)
        radius, azimuth = view.polar(0, 0, 0.8, angle)
        bend = np.cos(azimuth - np.log(radius + 0.03) / np.float32(0.6))
        light += 0.8 * depth * np.exp(-radius / np.float32(1.3 * size)) * np.clip(bend + 0.5 * grain, 0, 3)
    if variant == "jetted":
        along, across = view.axes(0, 0, angle + 1.0)
        knots = 1 + 0.9 * np.sin(along * np.float32(rng.uniform(40, 70)))
        jet = np.exp(-0.5 * (across / np.float32(0.012)) ** 2) * (along > 0.03) * np.exp(-((along / np.float32(0.5)) ** 4)) * knots
        light += 22 * view.tint(-0.3) * jet
    flux = rng.uniform(0.6, 5.0) * 1e5 * max(view.tint(-0.2), 0.3)
    view.add_points(light, np.zeros(1), np.zeros(1), np.array([flux]))
    for _ in range(int(rng.integers(1, 4))):
        reach, turn = rng.uniform(0.12, 0.4), rng.uniform(0, 2 * np.pi)
        add_galaxy(view, light, reach * np.cos(turn), reach * np.sin(turn), rng.uniform(0.015, 0.04), depth, 0.7, turn, 2.0)
    return light


@draws("deep field")
def deep_field(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Hundreds of small faint galaxies of all shapes and colours, and hardly a star."""
    light = view.blank()
    add_small_galaxies(view, light, rng, int(rng.integers(500, 800)), 0.04, 10.0)
    add_small_galaxies(view, light, rng, int(rng.integers(6, 14)), 0.11, 22.0)
    if variant == "protocluster":
        x0, y0 = rng.uniform(-0.3, 0.3, 2)
        for _ in range(int(rng.integers(25, 50))):
            x, y = rng.normal(0, 0.22, 2)
            shape = rng.uniform(0.008, 0.02), rng.uniform(8, 25) * view.tint(0.9), rng.uniform(0.4, 1), rng.uniform(0, np.pi)
            add_galaxy(view, light, x0 + x, y0 + y, *shape, 1.5)
    add_field_stars(view, light, rng, int(rng.integers(2, 7)), 4000)
    return light
