"""What lies far away: clusters of galaxies, lenses, quasars in their hosts, and blank fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hubbleclip.simulator.objects.brushes import (
    Galaxy,
    add_field_stars,
    add_galaxy,
    add_small_galaxies,
    luminosities,
    sersic,
)
from hubbleclip.simulator.objects.registry import draws
from hubbleclip.simulator.objects.view import Image, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A softened isothermal lens with elliptical potential (Kormann et al. 1994, simplified), in scene units."""

    einstein: float
    axis_ratio: float
    angle: float
    core: float
    x: float = 0.0
    y: float = 0.0

    def deflection(self, view: View) -> tuple[Image, Image]:
        """By how much light that arrives at each pixel was deflected."""
        along, across = view.axes(self.x, self.y, self.angle)
        squeezed, strength = np.float32(self.axis_ratio), np.float32(self.einstein)
        distance = np.sqrt(np.float32(self.core**2) + along**2 * squeezed + across**2 / squeezed)
        u, v = along * (strength * squeezed) / distance, across * (strength / squeezed) / distance
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return np.asarray(cosine * u - sine * v, np.float32), np.asarray(sine * u + cosine * v, np.float32)


def source_plane(view: View, lenses: list[Lens]) -> tuple[Image, Image]:
    """Where the light of each pixel comes from behind the lenses."""
    x, y = view.x_yx, view.y_yx
    for lens in lenses:
        dx, dy = lens.deflection(view)
        x, y = x - dx, y - dy
    return x, y


def add_lensed(image: Image, plane: tuple[Image, Image], source: Galaxy) -> None:
    """Add all images of a source: surface brightness is conserved, so each is its law at a deflected place."""
    du, dv = plane[0] - np.float32(source.x), plane[1] - np.float32(source.y)
    cosine, sine = np.float32(np.cos(source.angle)), np.float32(np.sin(source.angle))
    r2 = (cosine * du + sine * dv) ** 2 + ((cosine * dv - sine * du) / np.float32(source.axis_ratio)) ** 2
    near = r2 < np.float32((6 * source.size) ** 2)
    image[near] += np.float32(source.brightness) * sersic(
        np.sqrt(r2[near]), source.size, source.index, source.size * 0.08
    )


@draws("galaxy cluster")
def galaxy_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A cD galaxy, a crowd of red ellipticals, light between them, and blue arcs about the centre of mass."""
    light = view.blank()
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.85)
    apart = rng.uniform(0.25, 0.45) if variant == "merging" else 0.0
    centres = [(-apart * np.cos(angle), -apart * np.sin(angle)), (apart * np.cos(angle), apart * np.sin(angle))][
        : 2 if apart else 1
    ]
    for x, y in centres:
        size = rng.uniform(0.09, 0.15)
        light += rng.uniform(9, 15) * view.tint(0.9) * sersic(view.radius(x, y, ratio, angle), size, 4.0, view.pixel)
        light += 2.0 * view.tint(0.9) * np.exp(-view.radius(x, y, ratio, angle) / np.float32(0.3))
    _add_members(view, rng, light, centres)
    plane = source_plane(view, _cluster_mass(rng, centres, angle))
    arcs = 9 if variant == "arc-rich" else 4
    for number in range(arcs + 8):
        reach, turn = (rng.uniform(0.04, 0.24) if number < arcs else rng.uniform(0.2, 0.6)), rng.uniform(0, 2 * np.pi)
        source = Galaxy(
            x=reach * np.cos(turn), y=reach * np.sin(turn), size=rng.uniform(0.007, 0.014),
            axis_ratio=rng.uniform(0.4, 1), brightness=rng.uniform(9, 26) * view.tint(rng.normal(-0.4, 0.2)),
            angle=rng.uniform(0, np.pi), index=1.0,
        )  # fmt: skip
        add_lensed(light, plane, source)
    add_small_galaxies(view, light, rng, 50, largest=0.03)
    add_field_stars(view, light, rng, int(rng.integers(3, 9)))
    return light


def _add_members(view: View, rng: np.random.Generator, light: Image, centres: list[tuple[float, float]]) -> None:
    """Member galaxies by a Schechter-like size function, crowded towards the centres."""
    count = int(rng.integers(90, 190))
    reach, turn, home = (
        rng.gamma(1.7, 0.27, count),
        rng.uniform(0, 2 * np.pi, count),
        rng.integers(len(centres), size=count),
    )
    size = luminosities(rng, count, 0.011, 1.5, 0.075)
    bright, ratio, tilt = rng.uniform(7, 22, count), rng.uniform(0.45, 1, count), rng.uniform(0, np.pi, count)
    for k in range(count):
        x, y = centres[home[k]][0] + reach[k] * np.cos(turn[k]), centres[home[k]][1] + reach[k] * np.sin(turn[k])
        member = Galaxy(
            x=x,
            y=y,
            size=size[k],
            brightness=bright[k] * view.tint(0.85),
            axis_ratio=ratio[k],
            angle=tilt[k],
            index=3.0,
        )
        add_galaxy(view, light, member)


def _cluster_mass(rng: np.random.Generator, centres: list[tuple[float, float]], angle: float) -> list[Lens]:
    """A halo about each centre and a few galaxies that break the arcs' symmetry."""
    total = rng.uniform(0.3, 0.45)
    halos = [
        Lens(einstein=total / len(centres), axis_ratio=rng.uniform(0.72, 0.88), angle=angle, core=0.04, x=x, y=y)
        for x, y in centres
    ]
    clumps = [
        Lens(einstein=rng.uniform(0.015, 0.05), axis_ratio=0.95, angle=0.0, core=0.01, x=float(x), y=float(y))
        for x, y in rng.normal(0, 0.25, (5, 2))
    ]
    return halos + clumps


@draws("gravitational lens")
def gravitational_lens(view: View, rng: np.random.Generator, variant: str) -> Image:
    """One massive elliptical with a ring, an arc with its counter-image, or four images of a source behind it."""
    einstein, angle = rng.uniform(0.19, 0.38), rng.uniform(0, np.pi)
    lens = Lens(einstein=einstein, axis_ratio=rng.uniform(0.84, 0.95), angle=angle, core=0.004)
    body = view.radius(0, 0, rng.uniform(0.7, 1), angle)
    light = rng.uniform(5, 11) * view.tint(0.7) * sersic(body, einstein * rng.uniform(0.22, 0.34), 4.0, view.pixel)
    plane = source_plane(view, [lens])
    offset, size = {
        "Einstein ring": (rng.uniform(0, 0.05), rng.uniform(0.1, 0.16)),
        "quad": (rng.uniform(0.02, 0.07), rng.uniform(0.02, 0.03)),
        "arc": (rng.uniform(0.25, 0.4), rng.uniform(0.08, 0.13)),
    }[variant]  # fmt: skip
    turn, bright = rng.uniform(0, 2 * np.pi), rng.uniform(30, 75) * view.tint(rng.normal(-0.2, 0.2))
    source = Galaxy(
        x=einstein * offset * np.cos(turn), y=einstein * offset * np.sin(turn), size=einstein * size, axis_ratio=0.8,
        brightness=bright * (5 if variant == "quad" else 1), angle=turn + 1, index=1.0,
    )  # fmt: skip
    add_lensed(light, plane, source)
    knot = replace(source, x=source.x + 0.5 * source.size, size=0.2 * source.size, brightness=1.5 * bright)
    faint = replace(source, size=0.09 * einstein, brightness=0.07 * bright)
    add_lensed(light, plane, faint if variant == "quad" else knot)
    return np.asarray(light, np.float32)


@draws("quasar host")
def quasar_host(view: View, rng: np.random.Generator, variant: str) -> Image:
    """A blinding point source, spiked and saturated, on a host galaxy that it outshines; companions, tails or a jet."""
    size, ratio, angle = rng.uniform(0.06, 0.14), rng.uniform(0.5, 0.95), rng.uniform(0, np.pi)
    depth = rng.uniform(8, 18) * view.tint(0.5)
    light = depth * sersic(view.radius(0, 0, ratio, angle), size, rng.choice([1.0, 2.0, 4.0]), view.pixel)
    if variant == "disturbed host":
        grain = view.texture(rng, 2.6, 0.8)
        radius, azimuth = view.polar(0, 0, 0.8, angle)
        bend = np.cos(azimuth - np.log(radius + 0.03) / np.float32(0.6))
        light += 0.8 * depth * np.exp(-radius / np.float32(1.3 * size)) * np.clip(bend + 0.5 * grain, 0, 3)
    if variant == "jetted":
        along, across = view.axes(0, 0, angle + 1.0)
        knots = 1 + 0.9 * np.sin(along * np.float32(rng.uniform(40, 70)))
        jet = (
            np.exp(-0.5 * (across / np.float32(0.012)) ** 2)
            * (along > 0.03)
            * np.exp(-((along / np.float32(0.5)) ** 4))
            * knots
        )
        light += 22 * view.tint(-0.3) * jet
    flux = 10 ** rng.uniform(5.6, 6.4) * max(view.tint(-0.2), 0.4)
    view.add_points(light, np.zeros(1), np.zeros(1), np.array([flux]))
    for _ in range(int(rng.integers(1, 4))):
        reach, turn = rng.uniform(0.12, 0.4), rng.uniform(0, 2 * np.pi)
        companion = Galaxy(
            x=reach * np.cos(turn), y=reach * np.sin(turn), size=rng.uniform(0.015, 0.035), brightness=depth,
            axis_ratio=0.7, angle=turn, index=2.0,
        )  # fmt: skip
        add_galaxy(view, light, companion)
    return light


@draws("deep field")
def deep_field(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Hundreds of small faint galaxies of all shapes and colours, and hardly a star."""
    light = view.blank()
    add_small_galaxies(view, light, rng, int(rng.integers(500, 800)), largest=0.04, peak=10.0)
    add_small_galaxies(view, light, rng, int(rng.integers(6, 14)), largest=0.09, peak=18.0)
    if variant == "protocluster":
        x0, y0 = rng.uniform(-0.3, 0.3, 2)
        for _ in range(int(rng.integers(25, 50))):
            x, y = rng.normal(0, 0.22, 2)
            member = Galaxy(
                x=x0 + x, y=y0 + y, size=rng.uniform(0.008, 0.02), brightness=rng.uniform(8, 25) * view.tint(0.9),
                axis_ratio=rng.uniform(0.4, 1), angle=rng.uniform(0, np.pi), index=1.5,
            )  # fmt: skip
            add_galaxy(view, light, member)
    add_field_stars(view, light, rng, int(rng.integers(2, 7)), brightest=4000)
    return light
