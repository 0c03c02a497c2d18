"""Convert footprints as archives write them (`s_region`) to the convex quadrangles that the sky guard compares."""

from __future__ import annotations

import re

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from hubbleclip.dataset.splits.sky_overlap import Floats, unit_vectors

SHAPE = re.compile(r"(POLYGON|CIRCLE)\s+(?:[A-Z]\w*\s+)*((?:[-+]?[\d.]+(?:E[-+]?\d+)?\s*)+)", re.IGNORECASE)
MAX_RADIUS_RAD = 0.5
"""Largest radius of a region: wider ones are no field of view, and a gnomonic projection distorts them too much."""
HULL_UNIT_RAD = 1e-9
"""Unit of length in which hulls are computed (0.2 milliarcseconds): Qhull takes numerically tiny shapes as flat."""

Quad = list[float]
"""Right ascension and declination of four corners, in order: eight numbers in degrees."""


def region_quads(region: str) -> list[Quad]:
    """Cover an s_region with convex quadrangles.

    A polygon counts as its convex hull and a circle as the square around it: the guard may see too much, never too
    little.

    Parameters
    ----------
    region
        STC-S text with any number of `POLYGON` and `CIRCLE` shapes, in degrees.

    Returns
    -------
    list[Quad]
        Empty for other shapes, and for shapes that are broken or wider than `MAX_RADIUS_RAD`.

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
    """Cover a circle with the square around it.

    Parameters
    ----------
    ra_deg, dec_deg
        Centre.
    radius_deg
        Radius.

    Returns
    -------
    list[Quad]
        One square, or none if the radius is not in (0, `MAX_RADIUS_RAD`).

    """
    radius_rad = np.radians(radius_deg)
    if not 0 < radius_rad < MAX_RADIUS_RAD:
        return []
    step = np.tan(radius_rad)  # half the side in the gnomonic plane
    return [_to_sky(step * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), unit_vectors(ra_deg, dec_deg))]


def _polygon_quads(corners_deg: Floats) -> list[Quad]:
    """Cut the convex hull of a polygon into quadrangles; the last triangle gets a fourth corner on its edge."""
    vectors = unit_vectors(*corners_deg.T)
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    depth = vectors @ middle  # cosine of the distance from the middle
    if depth.min() < np.cos(MAX_RADIUS_RAD):
        return []
    plane = vectors @ _axes(middle) / depth[:, None]
    try:
        hull = plane[ConvexHull(plane / HULL_UNIT_RAD).vertices]
    except QhullError:  # the corners are on one line or coincide
        return []
    if len(hull) % 2:  # an even number of corners is cut into quadrangles only
        hull = np.vstack((hull, (hull[-1] + hull[0]) / 2))
    return [_to_sky(hull[[0, i, i + 1, i + 2]], middle) for i in range(1, len(hull) - 2, 2)]


def _axes(middle: Floats) -> Floats:
    """Two orthogonal directions on the sky at `middle`, as columns (3, 2)."""
    axis = np.eye(3)[np.argmin(np.abs(middle))]  # the coordinate axis farthest from `middle`: no special case at poles
    east = np.cross(axis, middle)
    east /= np.linalg.norm(east)
    return np.stack((east, np.cross(middle, east)), axis=-1)


def _to_sky(plane: Floats, middle: Floats) -> Quad:
    """Inverse gnomonic projection of plane coordinates (4, 2) around `middle` (3,)."""
    x, y, z = (middle + plane @ _axes(middle).T).T
    ra_dec = np.stack((np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))), axis=-1)
    return [float(value) for value in np.degrees(ra_dec).ravel()]
