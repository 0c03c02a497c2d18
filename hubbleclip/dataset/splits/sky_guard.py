"""Sky guard: exclude tiles so that no train tile shows the same sky or moving target as a val or test tile.

The guard compares the tiles of all proposals with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from hubbleclip.dataset.splits.footprints import Bools, Footprints, Ints, footprints, is_near_any, observation_quads
from hubbleclip.dataset.splits.material import Material

EXCLUDED = "excluded"
PRIORITIES = (("test", (), ("train", "val")), ("val", ("test",), ("train",)), ("train", ("test", "val"), ()))
"""Priorities of the splits, in the order in which the splits are checked.

Each entry is a split A, a list B of splits, and a list C of splits. A new tile in A is excluded if it conflicts with
any tile in B, or with a frozen tile in C. A frozen tile is a tile that has an existing assignment.
"""

Labels = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyPositions:
    """Positions of n tiles on the sky.

    Attributes
    ----------
    footprints
        The m footprints of all tiles; a tile has none, one or several footprints.
    tile_of_row
        Index of the tile that each footprint belongs to, shape (m,).
    targets
        Designation of the moving target of each of the n tiles; None for a tile of a fixed target.

    """

    footprints: Footprints
    tile_of_row: Ints
    targets: Sequence[str | None]


def locate_tiles(material: Material) -> SkyPositions:
    """Determine the positions of tiles on the sky, in the order of the material's tiles."""
    targets = [material.body_of(tile) for tile in material.tiles]
    # The footprints are cached, because many tiles have the same observation.
    quads_of = cache(lambda obs_id: observation_quads(material.observations.get(obs_id)))
    quads = [[tile.corners_deg] if is_quad(tile.corners_deg) else quads_of(tile.obs_id) for tile in material.tiles]
    return sky_positions(quads, targets)


def sky_positions(quads: Sequence[Sequence[Sequence[float]]], targets: Sequence[str | None]) -> SkyPositions:
    """Collect the quadrangles or the moving target of each tile; the position of a moving target is not used."""
    of_tiles = [() if target else of_tile for of_tile, target in zip(quads, targets, strict=True)]
    return SkyPositions(
        footprints=footprints([quad for of_tile in of_tiles for quad in of_tile]),
        tile_of_row=np.repeat(np.arange(len(of_tiles)), [len(of_tile) for of_tile in of_tiles]),
        targets=targets,
    )


def is_quad(corners_deg: Sequence[float]) -> bool:
    """Return whether a tile has four finite corners. Previews have no corners, and an invalid WCS gives NaN."""
    return len(corners_deg) == 8 and all(map(math.isfinite, corners_deg))


def find_conflicts(positions: SkyPositions, mine: Ints, others: Ints, guard_arcsec: float) -> dict[int, str]:
    """Find the tiles in `mine` that conflict with tiles in `others`; returns `overlap` or `moving_target` by index."""
    bodies = {positions.targets[index] for index in others} - {None}
    conflicts = {int(index): "moving_target" for index in mine if positions.targets[index] in bodies}
    my_rows, other_rows = (np.flatnonzero(np.isin(positions.tile_of_row, index)) for index in (mine, others))
    if my_rows.size and other_rows.size:
        select = positions.footprints.take
        is_near = is_near_any(select(my_rows), select(other_rows), guard_arcsec)
        conflicts |= dict.fromkeys(positions.tile_of_row[my_rows[is_near]].tolist(), "overlap")
    return conflicts


def guard_sky(positions: SkyPositions, labels: Sequence[str], is_frozen: Bools, guard_arcsec: float) -> dict[int, str]:
    """Choose the tiles to exclude so that no two splits show the same sky or moving target.

    If two tiles in different splits conflict, the tile in the split of lower priority is excluded. Test has the highest
    priority and train the lowest. A frozen tile has an existing assignment and is never excluded, so a new tile that
    conflicts with it is excluded even if its split has the higher priority.
    """
    current: Labels = np.array(labels, dtype=object)
    reasons: dict[int, str] = {}
    for split, winners, frozen_winners in PRIORITIES:
        mine = np.flatnonzero((current == split) & ~is_frozen)
        excluded: dict[int, str] = {}
        for winner in frozen_winners:
            old = np.flatnonzero((current == winner) & is_frozen)
            excluded |= dict.fromkeys(find_conflicts(positions, mine, old, guard_arcsec), f"sky_guard:old_{winner}")
        for winner in winners:
            conflicts = find_conflicts(positions, mine, np.flatnonzero(current == winner), guard_arcsec)
            excluded |= {index: f"sky_guard:{cause}" for index, cause in conflicts.items()}
        # Mark the excluded tiles before the next split is checked: an excluded tile must not cause other tiles to be
        # excluded.
        current[list(excluded)] = EXCLUDED
        reasons |= excluded
    return reasons
