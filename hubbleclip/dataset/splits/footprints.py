"""Footprints as archives write them (`s_region`), cut into the quadrangles that the sky guard compares."""

from __future__ import annotations

import re

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from hubbleclip.dataset.splits.sky_overlap import Floats, unit_vectors

SHAPE = re.compile(r"(POLYGON|CIRCLE)\s+(?:[A-Z]\w*\s+)*((?:[-+]?[\d.]+(?:E[-+]?\d+)?\s*)+)", re.IGNORECASE)
MAX_RADIUS_RAD = 0.5
"""Half of a region beyond which it is no telescope's field, and the plane no picture of it."""
MIN_EXTENT_RAD = 1e-9

Quad = list[float]


def region_quads(region: str) -> list[Quad]:
    """Convex quadrangles, eight numbers each (ra, dec of four corners, degrees), that cover an s_region.

    Every polygon counts as its convex hull and a circle as the square around it: a guard may see too much, never too
    little. Shapes that are no polygon or circle, or too wide or broken, give nothing.
    """
    quads = []
    for shape, numbers in SHAPE.findall(region):
        values = np.array([float(number) for number in numbers.split()])
        if shape.upper() == "CIRCLE":
            quads += circle_quads(*values) if len(values) == 3 else []
        elif len(values) >= 6 and len(values) % 2 == 0:
            quads += _polygon_quads(values.reshape(-1, 2))
    return quads


def circle_quads(ra_deg: float, dec_deg: float, radius_deg: float) -> list[Quad]:
    """The square around a circle."""
    radius_rad = np.radians(radius_deg)
    if not 0 < radius_rad < MAX_RADIUS_RAD:
        return []
    step = np.tan(radius_rad)
    return [_to_sky(step * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), unit_vectors(ra_deg, dec_deg))]


def _polygon_quads(corners_deg: Floats) -> list[Quad]:
    """The convex hull of a polygon, cut into quadrangles; a last triangle has a fourth corner on its edge."""
    vectors = unit_vectors(*corners_deg.T)
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    depth = vectors @ middle
    if depth.min() < np.cos(MAX_RADIUS_RAD):
        return []
    plane = vectors @ _axes(middle) / depth[:, None]
    try:
        hull = plane[ConvexHull(plane / MIN_EXTENT_RAD).vertices]
    except QhullError:
        return []
    if len(hull) % 2:
        hull = np.vstack((hull, (hull[-1] + hull[0]) / 2))
    return [_to_sky(hull[[0, i, i + 1, i + 2]], middle) for i in range(1, len(hull) - 2, 2)]


def _axes(middle: Floats) -> Floats:
    """Two directions on the sky at `middle`, as columns (3, 2)."""
    axis = np.eye(3)[np.argmin(np.abs(middle))]
    east = np.cross(axis, middle)
    east /= np.linalg.norm(east)
    return np.stack((east, np.cross(middle, east)), axis=-1)


def _to_sky(plane: Floats, middle: Floats) -> Quad:
    x, y, z = (middle + plane @ _axes(middle).T).T
    ra_dec = np.stack((np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))), axis=-1)
    return [float(value) for value in np.degrees(ra_dec).ravel()]
