"""Renderers of distant objects: galaxy clusters, gravitational lenses, quasars with host galaxies, and deep fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hubbleclip.simulator.objects.components import (
    SmallGalaxy,
    add_field_stars,
    add_galaxy,
    add_small_galaxies,
    power_law_fluxes,
    sersic_profile,
)
from hubbleclip.simulator.objects.view import Image, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """Softened isothermal gravitational lens with an elliptical potential, simplified from Kormann et al. (1994).

    `einstein_radius`, `core_radius` and the centre (`x`, `y`) are in scene units. `axis_ratio` is the ratio of the
    minor axis to the major axis, and `angle` is the direction of the major axis in radians.
    """

    einstein_radius: float
    axis_ratio: float
    angle: float
    core_radius: float
    x: float = 0.0
    y: float = 0.0

    def deflection(self, view: View) -> tuple[Image, Image]:
        """Compute the deflection of the light that arrives at each pixel: its x and y components in scene units."""
        along, across = view.rotated_coordinates(self.x, self.y, self.angle)
        ratio, radius = np.float32(self.axis_ratio), np.float32(self.einstein_radius)
        # Outside the core of an isothermal lens, the length of the deflection is constant.
        distance = np.sqrt(np.float32(self.core_radius**2) + along**2 * ratio + across**2 / ratio)
        u, v = along * (radius * ratio) / distance, across * (radius / ratio) / distance
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return np.asarray(cosine * u - sine * v, np.float32), np.asarray(sine * u + cosine * v, np.float32)


def source_plane(view: View, lenses: list[Lens]) -> tuple[Image, Image]:
    """Trace each pixel back to its position (x, y) in the source plane, in scene units."""
    x, y = view.x_yx, view.y_yx
    for lens in lenses:
        dx, dy = lens.deflection(view)  # All lenses lie in one plane, so their deflections add up.
        x, y = x - dx, y - dy
    return x, y


def add_lensed_images(image: Image, source_xy: tuple[Image, Image], source: SmallGalaxy) -> None:
    """Add all lensed images of a source galaxy in place.

    Lensing conserves surface brightness. Therefore each pixel has the brightness of the source at the pixel's position
    in the source plane.
    """
    du, dv = source_xy[0] - np.float32(source.x), source_xy[1] - np.float32(source.y)
    cosine, sine = np.float32(np.cos(source.angle)), np.float32(np.sin(source.angle))
    radius_squared = (cosine * du + sine * dv) ** 2 + ((cosine * dv - sine * du) / np.float32(source.axis_ratio)) ** 2
    # The profile is computed only within 6 effective radii, beyond which it is negligible.
    is_near = radius_squared < np.float32((6 * source.size) ** 2)
    image[is_near] += np.float32(source.brightness) * sersic_profile(
        np.sqrt(radius_squared[is_near]), source.size, source.index, source.size * 0.08
    )


def galaxy_cluster(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a cD galaxy, red ellipticals, diffuse light and blue lensed arcs."""
    light = view.blank_image()
    angle, axis_ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.85)
    separation = rng.uniform(0.25, 0.45) if variant == "merging" else 0.0  # Half the distance between two subclusters.
    dx, dy = separation * np.cos(angle), separation * np.sin(angle)
    centres = [(-dx, -dy), (dx, dy)] if separation else [(-dx, -dy)]
    for x, y in centres:
        radius = view.elliptical_radius(x, y, axis_ratio, angle)
        size, brightness = rng.uniform(0.09, 0.15), rng.uniform(9, 15) * view.continuum_flux(0.9)
        light += brightness * sersic_profile(radius, size, 4.0, view.pixel_size)
        light += 2.0 * view.continuum_flux(0.9) * np.exp(-radius / np.float32(0.3))  # the intracluster light
    _add_members(view, rng, light, centres)
    source_xy = source_plane(view, _cluster_mass(rng, centres, angle))
    num_arcs = 9 if variant == "arc-rich" else 4
    for number in range(num_arcs + 8):
        # A source near the centre becomes an arc. A source farther out is only sheared.
        distance = rng.uniform(0.04, 0.24) if number < num_arcs else rng.uniform(0.2, 0.6)
        azimuth = rng.uniform(0, 2 * np.pi)
        source = SmallGalaxy(
            x=distance * np.cos(azimuth),
            y=distance * np.sin(azimuth),
            size=rng.uniform(0.007, 0.014),
            axis_ratio=rng.uniform(0.4, 1),
            brightness=rng.uniform(9, 26) * view.continuum_flux(rng.normal(-0.4, 0.2)),
            angle=rng.uniform(0, np.pi),
            index=1.0,
        )
        add_lensed_images(light, source_xy, source)
    add_small_galaxies(view, light, rng, 50, largest=0.03)
    add_field_stars(view, light, rng, int(rng.integers(3, 9)))
    return light


def _add_members(view: View, rng: np.random.Generator, light: Image, centres: list[tuple[float, float]]) -> None:
    """Add member galaxies around the centres, with sizes drawn from a power law."""
    count = int(rng.integers(90, 190))
    distance, azimuth = rng.gamma(1.7, 0.27, count), rng.uniform(0, 2 * np.pi, count)
    subcluster = rng.integers(len(centres), size=count)
    size = power_law_fluxes(rng, count, 0.011, 1.5, 0.075)
    brightness, axis_ratio = rng.uniform(7, 22, count), rng.uniform(0.45, 1, count)
    orientation = rng.uniform(0, np.pi, count)
    for k in range(count):
        x, y = centres[subcluster[k]]
        member = SmallGalaxy(
            x=x + distance[k] * np.cos(azimuth[k]),
            y=y + distance[k] * np.sin(azimuth[k]),
            size=size[k],
            brightness=brightness[k] * view.continuum_flux(0.85),
            axis_ratio=axis_ratio[k],
            angle=orientation[k],
            index=3.0,
        )
        add_galaxy(view, light, member)


def _cluster_mass(rng: np.random.Generator, centres: list[tuple[float, float]], angle: float) -> list[Lens]:
    """Make the lenses of a cluster: a halo at each centre, and a few galaxies that make the arcs asymmetric."""
    einstein_radius = rng.uniform(0.3, 0.45) / len(centres)  # the radii of all halos add up to the cluster's radius
    halo = Lens(einstein_radius=einstein_radius, axis_ratio=1.0, angle=angle, core_radius=0.04)
    halos = [replace(halo, axis_ratio=rng.uniform(0.72, 0.88), x=x, y=y) for x, y in centres]
    clump = Lens(einstein_radius=0.0, axis_ratio=0.95, angle=0.0, core_radius=0.01)
    places = rng.normal(0, 0.25, (5, 2)).tolist()
    return halos + [replace(clump, einstein_radius=rng.uniform(0.015, 0.05), x=x, y=y) for x, y in places]


def gravitational_lens(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a massive elliptical galaxy and the lensed images of a source behind it: a ring, an arc or four points."""
    einstein_radius, angle = rng.uniform(0.19, 0.38), rng.uniform(0, np.pi)
    lens = Lens(einstein_radius=einstein_radius, axis_ratio=rng.uniform(0.84, 0.95), angle=angle, core_radius=0.004)
    radius = view.elliptical_radius(0, 0, rng.uniform(0.7, 1), angle)
    lens_brightness = rng.uniform(5, 11) * view.continuum_flux(0.7)
    profile = sersic_profile(radius, einstein_radius * rng.uniform(0.22, 0.34), 4.0, view.pixel_size)
    light = lens_brightness * profile
    source_xy = source_plane(view, [lens])
    # Offset and size of the source, in units of the Einstein radius. They determine the form of the lensed images.
    offset, size = {
        "Einstein ring": (rng.uniform(0, 0.05), rng.uniform(0.1, 0.16)),
        "quad": (rng.uniform(0.02, 0.07), rng.uniform(0.02, 0.03)),
        "arc": (rng.uniform(0.25, 0.4), rng.uniform(0.08, 0.13)),
    }[variant]
    azimuth, brightness = rng.uniform(0, 2 * np.pi), rng.uniform(30, 75) * view.continuum_flux(rng.normal(-0.2, 0.2))
    source = SmallGalaxy(
        x=einstein_radius * offset * np.cos(azimuth),
        y=einstein_radius * offset * np.sin(azimuth),
        size=einstein_radius * size,
        axis_ratio=0.8,
        brightness=brightness * (5 if variant == "quad" else 1),
        angle=azimuth + 1,
        index=1.0,
    )
    add_lensed_images(light, source_xy, source)
    # `knot` is a star-forming region within the source.
    knot = replace(source, x=source.x + 0.5 * source.size, size=0.2 * source.size, brightness=1.5 * brightness)
    # `faint` is the host galaxy of a quadruply imaged quasar.
    faint = replace(source, size=0.09 * einstein_radius, brightness=0.07 * brightness)
    add_lensed_images(light, source_xy, faint if variant == "quad" else knot)
    return np.asarray(light, np.float32)


def quasar_host(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw a saturated point source in a fainter host galaxy with companions; a variant may add a spiral or a jet."""
    size, axis_ratio, angle = rng.uniform(0.06, 0.14), rng.uniform(0.5, 0.95), rng.uniform(0, np.pi)
    brightness = rng.uniform(8, 18) * view.continuum_flux(0.5)
    light = brightness * sersic_profile(
        view.elliptical_radius(0, 0, axis_ratio, angle), size, rng.choice([1.0, 2.0, 4.0]), view.pixel_size
    )
    if variant == "disturbed host":
        noise = view.fractal_noise(rng, 2.6, 0.8)
        radius, azimuth = view.polar_coordinates(0, 0, 0.8, angle)
        spiral = np.cos(azimuth - np.log(radius + 0.03) / np.float32(0.6))
        light += 0.8 * brightness * np.exp(-radius / np.float32(1.3 * size)) * np.clip(spiral + 0.5 * noise, 0, 3)
    if variant == "jetted":
        along, across = view.rotated_coordinates(0, 0, angle + 1.0)
        knots = 1 + 0.9 * np.sin(along * np.float32(rng.uniform(40, 70)))  # Knots along the jet.
        jet = np.exp(-0.5 * (across / np.float32(0.012)) ** 2) * (along > 0.03)
        light += 22 * view.continuum_flux(-0.3) * (jet * np.exp(-((along / np.float32(0.5)) ** 4)) * knots)
    # The quasar is bright enough to saturate the detector and to show diffraction spikes.
    flux = 10 ** rng.uniform(5.6, 6.4) * max(view.continuum_flux(-0.2), 0.4)
    view.add_points(light, np.zeros(1), np.zeros(1), np.array([flux]))
    for _ in range(int(rng.integers(1, 4))):
        distance, direction = rng.uniform(0.12, 0.4), rng.uniform(0, 2 * np.pi)
        companion = SmallGalaxy(
            x=distance * np.cos(direction),
            y=distance * np.sin(direction),
            size=rng.uniform(0.015, 0.035),
            brightness=brightness,
            axis_ratio=0.7,
            angle=direction,
            index=2.0,
        )
        add_galaxy(view, light, companion)
    return light


def deep_field(view: View, rng: np.random.Generator, variant: str) -> Image:
    """Draw hundreds of small faint galaxies of all shapes, and very few stars."""
    light = view.blank_image()
    add_small_galaxies(view, light, rng, int(rng.integers(500, 800)), largest=0.04, peak=10.0)
    add_small_galaxies(view, light, rng, int(rng.integers(6, 14)), largest=0.09, peak=18.0)
    if variant == "protocluster":
        x0, y0 = rng.uniform(-0.3, 0.3, 2)  # Centre of the protocluster.
        for _ in range(int(rng.integers(25, 50))):
            x, y = rng.normal(0, 0.22, 2)
            member = SmallGalaxy(
                x=x0 + x,
                y=y0 + y,
                size=rng.uniform(0.008, 0.02),
                brightness=rng.uniform(8, 25) * view.continuum_flux(0.9),
                axis_ratio=rng.uniform(0.4, 1),
                angle=rng.uniform(0, np.pi),
                index=1.5,
            )
            add_galaxy(view, light, member)
    add_field_stars(view, light, rng, int(rng.integers(2, 7)), brightest=4000)
    return light
