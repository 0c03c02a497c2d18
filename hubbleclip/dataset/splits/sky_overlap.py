"""Overlap of footprints anywhere on the sphere, for millions of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hubbleclip.core.vectors import unit

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ARCSEC = np.pi / 180 / 3600
CHUNK = 8192
"""Footprints per neighbour query: limits the memory."""
MIN_DEPTH = 0.1
"""Smallest cosine of the distance from the centre (84 degrees) at which a gnomonic projection is used."""
EPSILON_RAD = 1e-12
"""Lower bound of lengths, so that a point has a logarithm and an edge of length 0 a direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """Quadrangles on the sphere, as unit vectors.

    Attributes
    ----------
    corners
        Shape (n, 4, 3), in order.
    centre
        Shape (n, 3).
    radius_rad
        Radius (n,) of the circle around the centre that encloses the corners.

    """

    corners: Floats
    centre: Floats
    radius_rad: Floats

    def __len__(self) -> int:
        return len(self.centre)

    def take(self, index: Ints) -> Footprints:
        """Select footprints.

        Parameters
        ----------
        index
            Positions (m,).

        Returns
        -------
        Footprints
            m footprints.

        """
        return Footprints(corners=self.corners[index], centre=self.centre[index], radius_rad=self.radius_rad[index])


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Floats:
    """Convert positions on the sky to unit vectors.

    Parameters
    ----------
    ra_deg, dec_deg
        Scalars or arrays of equal shape.

    Returns
    -------
    Floats
        Shape (..., 3).

    """
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)


def footprints(corners_deg: Sequence[Sequence[float]]) -> Footprints:
    """Build footprints from corners.

    Parameters
    ----------
    corners_deg
        Eight numbers per footprint: right ascension and declination of four corners in order, in degrees.

    Returns
    -------
    Footprints
        In the same order; may be empty.

    """
    corners = unit_vectors(*np.moveaxis(np.asarray(corners_deg, dtype=np.float64).reshape(-1, 4, 2), -1, 0))
    centre = unit(corners.sum(axis=1))
    # From the chord: for small angles this is accurate, where the arccosine of a dot product is not.
    chord = np.linalg.norm(corners - centre[:, None], axis=-1).max(axis=1, initial=0.0)
    return Footprints(corners=corners, centre=centre, radius_rad=2 * np.arcsin(np.minimum(chord / 2, 1)))


def is_near_any(mine: Footprints, others: Footprints, guard_arcsec: float) -> Bools:
    """Whether each footprint overlaps any of the others, or is nearer to one than the guard distance.

    Parameters
    ----------
    mine
        n footprints.
    others
        Footprints to compare with.
    guard_arcsec
        Guard distance.

    Returns
    -------
    Bools
        Shape (n,).

    Notes
    -----
    Candidates are found with a k-d tree of the centres, then compared exactly.

    """
    is_near = np.zeros(len(mine), dtype=np.bool_)
    guard_rad = guard_arcsec * ARCSEC
    # Per octave of radius: with one huge footprint among the others, every search radius would be huge.
    octaves = np.floor(np.log2(np.maximum(others.radius_rad, EPSILON_RAD)))
    for octave in np.unique(octaves):
        peers = others.take(np.flatnonzero(octaves == octave))
        tree = cKDTree(peers.centre)
        reach_rad = np.minimum(mine.radius_rad + peers.radius_rad.max() + guard_rad, np.pi) + EPSILON_RAD
        for start in range(0, len(mine), CHUNK):
            rows = start + np.flatnonzero(~is_near[start : start + CHUNK])
            # The tree holds unit vectors: an angle corresponds to the chord 2 sin(angle / 2).
            candidates = tree.query_ball_point(mine.centre[rows], 2 * np.sin(reach_rad[rows] / 2))
            is_near[rows] = _is_near_a_candidate(mine.corners[rows], peers.corners, candidates, guard_rad)
    return is_near


def _is_near_a_candidate(corners: Floats, others: Floats, candidates: Sequence[list[int]], guard_rad: float) -> Bools:
    """Whether each row (n, 4, 3) is near any of its candidates, which are indices of `others`; shape (n,)."""
    is_near = np.zeros(len(corners), dtype=np.bool_)
    counts = np.array([len(indices) for indices in candidates], dtype=np.int64)
    # All rows against their first candidate, then the undecided ones against their second: most are decided early.
    for rank in range(counts.max(initial=0)):
        rows = np.flatnonzero((counts > rank) & ~is_near)
        if not rows.size:
            break
        is_near[rows] = pairs_within(corners[rows], others[[candidates[int(row)][rank] for row in rows]], guard_rad)
    return is_near


def pairs_within(a: Floats, b: Floats, guard_rad: float) -> Bools:
    """Whether pairs of convex quadrangles overlap, or are nearer than a distance.

    Parameters
    ----------
    a, b
        Corners (n, 4, 3) as unit vectors.
    guard_rad
        Distance.

    Returns
    -------
    Bools
        Shape (n,); a pair that is too wide to be projected counts as near.

    Notes
    -----
    Both are projected gnomonically around the middle of the pair: great circles become straight lines, and neither the
    poles nor RA 0 is a special case.

    """
    middle = unit(a.sum(axis=1) + b.sum(axis=1))
    (a_xy, a_fits), (b_xy, b_fits) = _project(a, middle), _project(b, middle)
    # Convex shapes are disjoint exactly if an edge of one of them separates them.
    overlap = ~(_is_separated_along_edges(a_xy, a_xy, b_xy) | _is_separated_along_edges(b_xy, a_xy, b_xy))
    gap = np.minimum(_corner_to_edge_distance(a_xy, b_xy), _corner_to_edge_distance(b_xy, a_xy))
    near: Bools = overlap | (gap < guard_rad) | ~(a_fits & b_fits)
    return near


def _project(corners: Floats, middle: Floats) -> tuple[Floats, Bools]:
    """Gnomonic plane coordinates (n, 4, 2) around `middle` (n, 3), and whether they are usable (n,)."""
    axis = np.where(np.abs(middle[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])  # not parallel to `middle`
    east = unit(np.cross(axis, middle))
    basis = np.stack((east, np.cross(middle, east), middle), axis=-1)
    x, y, depth = np.moveaxis(corners @ basis, -1, 0)
    return np.stack((x, y), axis=-1) / np.maximum(depth, MIN_DEPTH)[..., None], (depth > MIN_DEPTH).all(axis=1)


def _is_separated_along_edges(shape: Floats, a: Floats, b: Floats) -> Bools:
    """Whether a line parallel to an edge of `shape` separates `a` from `b` (separating axis theorem); shape (n,)."""
    edges = np.roll(shape, -1, axis=1) - shape
    normals = np.stack((-edges[..., 1], edges[..., 0]), axis=-1)
    on_a, on_b = normals @ a.swapaxes(1, 2), normals @ b.swapaxes(1, 2)  # (n, edges, corners): projected corners
    apart = (on_a.max(axis=2) <= on_b.min(axis=2)) | (on_b.max(axis=2) <= on_a.min(axis=2))
    parted: Bools = apart.any(axis=1)
    return parted


def _corner_to_edge_distance(a: Floats, b: Floats) -> Floats:
    """Smallest distance between a corner of `a` and an edge of `b`; shape (n,)."""
    edges = (np.roll(b, -1, axis=1) - b)[:, None]
    offsets = a[:, :, None] - b[:, None]
    length2 = np.maximum((edges**2).sum(axis=-1), EPSILON_RAD**2)
    # Foot of the perpendicular as a fraction of the edge, limited to its ends.
    along = np.clip((offsets * edges).sum(axis=-1) / length2, 0, 1)
    distance: Floats = np.linalg.norm(offsets - along[..., None] * edges, axis=-1)
    least: Floats = distance.min(axis=(1, 2))
    return least
