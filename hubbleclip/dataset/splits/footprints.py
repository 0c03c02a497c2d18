"""Compute which footprints overlap on the sky.

The method works at every position, including the poles, and is fast enough for millions of tiles. The footprints that
archives publish (`s_region`) are converted to convex quadrangles first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError, cKDTree

from hubbleclip.core.records import Observation
from hubbleclip.core.vectors import unit, unit_vectors

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ARCSEC = np.pi / 180 / 3600
CHUNK = 8192
"""Number of footprints per query of the k-d tree. A larger number would need more memory."""
MIN_DEPTH = 0.1
"""Cosine of the largest angular distance (84 degrees) of a point from the centre of a gnomonic projection."""
EPSILON_RAD = 1e-12
"""Lower bound of lengths, which avoids the logarithm of 0 and divisions by 0."""

CAMERA_RADIUS_DEG = 143 / 3600
"""Half the diagonal of the field of view of ACS/WFC, which is the camera with the widest field."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """Quadrangles on the sphere, given by unit vectors.

    Attributes
    ----------
    corners
        Corners of each quadrangle in order along its outline, shape (n, 4, 3).
    centre
        Centre of each quadrangle, shape (n, 3).
    radius_rad
        Angular distance of the farthest corner from the centre, in radians, shape (n,).

    """

    corners: Floats
    centre: Floats
    radius_rad: Floats

    def __len__(self) -> int:
        return len(self.centre)

    def take(self, index: Ints) -> Footprints:
        """Select footprints by index."""
        return Footprints(corners=self.corners[index], centre=self.centre[index], radius_rad=self.radius_rad[index])


def footprints(corners_deg: Sequence[Sequence[float]]) -> Footprints:
    """Make footprints from the right ascensions and declinations of their four corners in order, in degrees."""
    corners = unit_vectors(*np.moveaxis(np.asarray(corners_deg, dtype=np.float64).reshape(-1, 4, 2), -1, 0))
    centre = unit(corners.sum(axis=1))
    # The radius is computed from the chord, because the arccosine of a dot product is inaccurate for small angles.
    chord = np.linalg.norm(corners - centre[:, None], axis=-1).max(axis=1, initial=0.0)
    return Footprints(corners=corners, centre=centre, radius_rad=2 * np.arcsin(np.minimum(chord / 2, 1)))


def region_quads(region: str) -> list[Quad]:
    """Convert an s_region to convex quadrangles that together cover the whole region.

    A polygon is replaced by its convex hull, and a circle by the square around it. Shapes that are invalid, too large
    or of another kind are skipped.
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
    """Cover a circle with the square around it; [] unless the radius is above 0 and below `MAX_RADIUS_RAD`."""
    radius_rad = np.radians(radius_deg)
    if not 0 < radius_rad < MAX_RADIUS_RAD:
        return []
    step = np.tan(radius_rad)  # half the side of the square in the gnomonic plane
    return [_to_sky(step * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), unit_vectors(ra_deg, dec_deg))]


def observation_quads(observation: Observation | None) -> list[Quad]:
    """Return the footprint of an observation as quadrangles; [] if its position is not known.

    If the archive gives no footprint, the field of the widest camera around the observation's position is used.
    """
    quads = region_quads(observation.footprint or "") if observation else []
    if quads or observation is None or observation.ra_deg is None or observation.dec_deg is None:
        return quads
    return circle_quads(observation.ra_deg, observation.dec_deg, CAMERA_RADIUS_DEG)


def _polygon_quads(corners_deg: Floats) -> list[Quad]:
    """Divide the convex hull of a polygon into quadrangles.

    If the hull has an odd number of corners, the middle of one of its edges is added as a corner.
    """
    vectors = unit_vectors(*corners_deg.T)
    middle = unit(vectors.mean(axis=0))
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
    """Return two orthogonal directions on the sky at points `middle` (..., 3), as the columns of arrays (..., 3, 2)."""
    # Use the coordinate axis that is closest to perpendicular to `middle`. It is never parallel to `middle`, so the
    # cross product of the two is not 0.
    east = unit(np.cross(np.eye(3)[np.abs(middle).argmin(axis=-1)], middle))
    return np.stack((east, np.cross(middle, east)), axis=-1)


def _to_sky(plane: Floats, middle: Floats) -> Quad:
    """Convert gnomonic plane coordinates (4, 2) around the point `middle` (3,) to sky coordinates in degrees."""
    x, y, z = (middle + plane @ _axes(middle).T).T
    ra_dec = np.stack((np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))), axis=-1)
    return [float(value) for value in np.degrees(ra_dec).ravel()]


def is_near_any(mine: Footprints, others: Footprints, guard_arcsec: float) -> Bools:
    """Return for each footprint (n,) whether any footprint in `others` overlaps it or is within the guard distance.

    Candidates are found with a k-d tree of the centres and are then compared exactly.
    """
    is_near = np.zeros(len(mine), dtype=np.bool_)
    guard_rad = guard_arcsec * ARCSEC
    # Each k-d tree contains footprints whose radii differ by less than a factor of 2. The search radius depends on the
    # largest footprint in the tree, so one huge footprint in a single tree would make all searches slow.
    octaves = np.floor(np.log2(np.maximum(others.radius_rad, EPSILON_RAD)))
    for octave in np.unique(octaves):
        peers = others.take(np.flatnonzero(octaves == octave))
        tree = cKDTree(peers.centre)
        reach_rad = np.minimum(mine.radius_rad + peers.radius_rad.max() + guard_rad, np.pi) + EPSILON_RAD
        for start in range(0, len(mine), CHUNK):
            rows = start + np.flatnonzero(~is_near[start : start + CHUNK])
            # The tree contains unit vectors, so an angular distance is converted to the chord 2 sin(angle / 2).
            candidates = tree.query_ball_point(mine.centre[rows], 2 * np.sin(reach_rad[rows] / 2))
            is_near[rows] = _is_near_a_candidate(mine.corners[rows], peers.corners, candidates, guard_rad)
    return is_near


def _is_near_a_candidate(corners: Floats, others: Floats, candidates: Sequence[list[int]], guard_rad: float) -> Bools:
    """Determine which footprints `corners` (n, 4, 3) overlap or are near one of their candidates; shape (n,).

    `candidates[i]` contains the indices in `others` of the candidates of footprint i.
    """
    is_near = np.zeros(len(corners), dtype=np.bool_)
    counts = np.array([len(indices) for indices in candidates], dtype=np.int64)
    # The first round compares every footprint with its first candidate. Each further round compares the footprints that
    # are not near an earlier candidate with their next candidate. Most footprints are near one of the first candidates.
    for rank in range(counts.max(initial=0)):
        rows = np.flatnonzero((counts > rank) & ~is_near)
        if not rows.size:
            break
        is_near[rows] = pairs_within(corners[rows], others[[candidates[int(row)][rank] for row in rows]], guard_rad)
    return is_near


def pairs_within(a: Floats, b: Floats, guard_rad: float) -> Bools:
    """Determine which pairs (n,) of convex quadrangles (n, 4, 3) overlap or are nearer than a given distance.

    Both quadrangles are projected to a plane by the gnomonic projection around the centre of the pair. This projection
    maps great circles to straight lines and needs no special treatment at the poles or at RA 0.
    """
    middle = unit(a.sum(axis=1) + b.sum(axis=1))
    (a_xy, a_fits), (b_xy, b_fits) = _project(a, middle), _project(b, middle)
    # Two convex shapes are disjoint if and only if a line parallel to an edge of one shape separates the shapes.
    overlap = ~(_is_separated_along_edges(a_xy, a_xy, b_xy) | _is_separated_along_edges(b_xy, a_xy, b_xy))
    gap = np.minimum(_corner_to_edge_distance(a_xy, b_xy), _corner_to_edge_distance(b_xy, a_xy))
    return np.asarray(overlap | (gap < guard_rad) | ~(a_fits & b_fits))  # true also for pairs too large to project


def _project(corners: Floats, middle: Floats) -> tuple[Floats, Bools]:
    """Project corners (n, 4, 3) to the gnomonic plane around `middle` (n, 3).

    The plane coordinates (n, 4, 2) and their validity (n,) are returned. The coordinates are valid if all corners are
    near enough to `middle`.
    """
    depth: Floats = corners @ middle[..., None]  # cosine of each corner's angular distance from the middle
    return corners @ _axes(middle) / np.maximum(depth, MIN_DEPTH), depth.min(axis=(1, 2)) > MIN_DEPTH


def _is_separated_along_edges(shape: Floats, a: Floats, b: Floats) -> Bools:
    """Determine whether a line parallel to an edge of `shape` separates `a` from `b`; the result has shape (n,).

    This is the separating axis theorem.
    """
    edges = np.roll(shape, -1, axis=1) - shape
    normals = np.stack((-edges[..., 1], edges[..., 0]), axis=-1)
    # The corners are projected to the normal of each edge; both results have the shape (n, edges, corners).
    on_a, on_b = normals @ a.swapaxes(1, 2), normals @ b.swapaxes(1, 2)
    apart = (on_a.max(axis=2) <= on_b.min(axis=2)) | (on_b.max(axis=2) <= on_a.min(axis=2))
    return np.asarray(apart.any(axis=1))


def _corner_to_edge_distance(a: Floats, b: Floats) -> Floats:
    """Compute the smallest distance between a corner of `a` and an edge of `b`; the result has shape (n,)."""
    edges = (np.roll(b, -1, axis=1) - b)[:, None]
    offsets = a[:, :, None] - b[:, None]
    length2 = np.maximum((edges**2).sum(axis=-1), EPSILON_RAD**2)
    # Fraction (0 to 1) of the edge's length at which the edge is nearest to the corner.
    along = np.clip((offsets * edges).sum(axis=-1) / length2, 0, 1)
    return np.asarray(np.linalg.norm(offsets - along[..., None] * edges, axis=-1).min(axis=(1, 2)))
