"""Convert the footprints that archives publish (`s_region`) to convex quadrangles, which the sky guard compares."""

from __future__ import annotations

import re

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.splits.sky_overlap import Floats

SHAPE = re.compile(r"(POLYGON|CIRCLE)\s+(?:[A-Z]\w*\s+)*((?:[-+]?[\d.]+(?:E[-+]?\d+)?\s*)+)", re.IGNORECASE)
MAX_RADIUS_RAD = 0.5
"""Upper limit of the radius of a region, in radians.

A larger region cannot be a camera's field of view, and the gnomonic projection would distort it too much.
"""
HULL_UNIT_RAD = 1e-9
"""Unit of length in which convex hulls are computed, in radians (0.2 milliarcseconds).

In radians the coordinates would be so small that Qhull treats the shapes as flat and fails.
"""

Quad = list[float]
"""A quadrangle: right ascension and declination of its four corners in order, eight numbers in degrees."""


def region_quads(region: str) -> list[Quad]:
    """Convert an s_region to convex quadrangles that together cover the whole region.

    A polygon is replaced by its convex hull, and a circle by the square around it; other, invalid and too large shapes
    are skipped.
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
    """Cover a circle with the square around it; [] for a radius that is not above 0 or reaches `MAX_RADIUS_RAD`."""
    radius_rad = np.radians(radius_deg)
    if not 0 < radius_rad < MAX_RADIUS_RAD:
        return []
    step = np.tan(radius_rad)  # half the side of the square in the gnomonic plane
    return [_to_sky(step * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), unit_vectors(ra_deg, dec_deg))]


def _polygon_quads(corners_deg: Floats) -> list[Quad]:
    """Divide the convex hull of a polygon into quadrangles.

    If the hull has an odd number of corners, the middle of one of its edges is added as a corner.
    """
    vectors = unit_vectors(*corners_deg.T)
    middle = vectors.mean(axis=0)
    middle /= np.linalg.norm(middle)
    depth = vectors @ middle  # cosine of each corner's angular distance from the middle
    if depth.min() < np.cos(MAX_RADIUS_RAD):
        return []
    plane = vectors @ _axes(middle) / depth[:, None]
    try:
        hull = plane[ConvexHull(plane / HULL_UNIT_RAD).vertices]
    except QhullError:  # all corners are on one line or at one point
        return []
    if len(hull) % 2:  # only an even number of corners can be divided into quadrangles
        hull = np.vstack((hull, (hull[-1] + hull[0]) / 2))
    return [_to_sky(hull[[0, i, i + 1, i + 2]], middle) for i in range(1, len(hull) - 2, 2)]


def _axes(middle: Floats) -> Floats:
    """Return two orthogonal directions on the sky at the point `middle`, as the columns of an array (3, 2)."""
    # Use the coordinate axis that is closest to perpendicular to `middle`. It is never parallel to `middle`, so the
    # cross product of the two is not 0.
    axis = np.eye(3)[np.argmin(np.abs(middle))]
    east = np.cross(axis, middle)
    east /= np.linalg.norm(east)
    return np.stack((east, np.cross(middle, east)), axis=-1)


def _to_sky(plane: Floats, middle: Floats) -> Quad:
    """Convert gnomonic plane coordinates (4, 2) around the point `middle` (3,) to sky coordinates in degrees."""
    x, y, z = (middle + plane @ _axes(middle).T).T
    ra_dec = np.stack((np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))), axis=-1)
    return [float(value) for value in np.degrees(ra_dec).ravel()]
