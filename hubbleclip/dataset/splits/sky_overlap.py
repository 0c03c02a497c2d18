"""Which footprints overlap, or nearly touch, anywhere on the sphere and for millions of tiles."""

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
"""Footprints looked at together: bounds the memory."""
MIN_DEPTH = 0.1
"""Cosine below which a gnomonic projection is not to be trusted (84 degrees off)."""
EPSILON_RAD = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """Quadrangles on the sphere: `corners` (n, 4, 3), `centre` (n, 3) are unit vectors, `radius_rad` (n,) encloses."""

    corners: Floats
    centre: Floats
    radius_rad: Floats

    def __len__(self) -> int:
        return len(self.centre)

    def at(self, index: Ints) -> Footprints:
        """Those at the given places."""
        return Footprints(corners=self.corners[index], centre=self.centre[index], radius_rad=self.radius_rad[index])


def unit_vectors(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Floats:
    """Directions on the sky as unit vectors, in a last axis of 3."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)


def footprints(corners_deg: Sequence[Sequence[float]]) -> Footprints:
    """Footprints from eight numbers each: ra, dec of four corners in order, in degrees."""
    corners = unit_vectors(*np.moveaxis(np.asarray(corners_deg, dtype=np.float64).reshape(-1, 4, 2), -1, 0))
    centre = unit(corners.sum(axis=1))
    chord = np.linalg.norm(corners - centre[:, None], axis=-1).max(axis=1, initial=0.0)
    return Footprints(corners=corners, centre=centre, radius_rad=2 * np.arcsin(np.minimum(chord / 2, 1)))


def is_near_any(mine: Footprints, others: Footprints, guard_arcsec: float) -> Bools:
    """For each of `mine`, whether any of `others` overlaps it or comes nearer than the guard; shape (len(mine),).

    Neighbours are found by their centres; the others are taken by octaves of size, so that one huge footprint does not
    make every small one look far.
    """
    hit = np.zeros(len(mine), dtype=np.bool_)
    guard_rad = guard_arcsec * ARCSEC
    octaves = np.floor(np.log2(np.maximum(others.radius_rad, EPSILON_RAD)))
    for octave in np.unique(octaves):
        peers = others.at(np.flatnonzero(octaves == octave))
        tree = cKDTree(peers.centre)
        reach_rad = np.minimum(mine.radius_rad + peers.radius_rad.max() + guard_rad, np.pi) + EPSILON_RAD
        for start in range(0, len(mine), CHUNK):
            rows = start + np.flatnonzero(~hit[start : start + CHUNK])
            near = tree.query_ball_point(mine.centre[rows], 2 * np.sin(reach_rad[rows] / 2))
            hit[rows] = _is_near_a_candidate(mine.corners[rows], peers.corners, near, guard_rad)
    return hit


def _is_near_a_candidate(corners: Floats, others: Floats, near: Sequence[list[int]], guard_rad: float) -> Bools:
    """Test each row against its first candidate, then the rows left against their second, and so on."""
    hit = np.zeros(len(corners), dtype=np.bool_)
    counts = np.array([len(candidates) for candidates in near], dtype=np.int64)
    for rank in range(counts.max(initial=0)):
        rows = np.flatnonzero((counts > rank) & ~hit)
        if not rows.size:
            break
        hit[rows] = pairs_within(corners[rows], others[[near[int(row)][rank] for row in rows]], guard_rad)
    return hit


def pairs_within(a: Floats, b: Floats, guard_rad: float) -> Bools:
    """Whether the n pairs of convex quadrangles (n, 4, 3) overlap or come nearer than `guard_rad`; shape (n,).

    Both are projected gnomonically around the middle of the pair, where great circles are straight lines and the poles
    and the meridian of RA 0 are nothing special. A pair too wide for that counts as is_near_any.
    """
    middle = unit(a.sum(axis=1) + b.sum(axis=1))
    (a_xy, a_fits), (b_xy, b_fits) = _project(a, middle), _project(b, middle)
    overlap = ~(_is_separated_along_edges(a_xy, a_xy, b_xy) | _is_separated_along_edges(b_xy, a_xy, b_xy))
    gap = np.minimum(_corner_to_edge_distance(a_xy, b_xy), _corner_to_edge_distance(b_xy, a_xy))
    near: Bools = overlap | (gap < guard_rad) | ~(a_fits & b_fits)
    return near


def _project(corners: Floats, middle: Floats) -> tuple[Floats, Bools]:
    """Gnomonic plane coordinates (n, 4, 2) around `middle` (n, 3), and whether they can be trusted (n,)."""
    axis = np.where(np.abs(middle[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    east = unit(np.cross(axis, middle))
    basis = np.stack((east, np.cross(middle, east), middle), axis=-1)
    x, y, depth = np.moveaxis(corners @ basis, -1, 0)
    return np.stack((x, y), axis=-1) / np.maximum(depth, MIN_DEPTH)[..., None], (depth > MIN_DEPTH).all(axis=1)


def _is_separated_along_edges(shape: Floats, a: Floats, b: Floats) -> Bools:
    """Whether a line parallel to an edge of `shape` parts `a` from `b` (the separating axis theorem)."""
    edges = np.roll(shape, -1, axis=1) - shape
    normals = np.stack((-edges[..., 1], edges[..., 0]), axis=-1)
    on_a, on_b = normals @ a.swapaxes(1, 2), normals @ b.swapaxes(1, 2)
    apart = (on_a.max(axis=2) <= on_b.min(axis=2)) | (on_b.max(axis=2) <= on_a.min(axis=2))
    parted: Bools = apart.any(axis=1)
    return parted


def _corner_to_edge_distance(a: Floats, b: Floats) -> Floats:
    """Least distance between a corner of `a` and an edge of `b`; shape (n,)."""
    edges = (np.roll(b, -1, axis=1) - b)[:, None]
    offsets = a[:, :, None] - b[:, None]
    length2 = np.maximum((edges**2).sum(axis=-1), EPSILON_RAD**2)
    along = np.clip((offsets * edges).sum(axis=-1) / length2, 0, 1)
    distance: Floats = np.linalg.norm(offsets - along[..., None] * edges, axis=-1)
    least: Floats = distance.min(axis=(1, 2))
    return least
