"""Sky guard: nothing that a val or test tile shows is in a train tile, whichever proposal observed it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hubbleclip.core.records import Observation, Tile
from hubbleclip.dataset.splits.footprints import Quad, circle_quads, region_quads
from hubbleclip.dataset.splits.sky_overlap import Bools, Footprints, Ints, footprints, is_near_any

EXCLUDED = "excluded"
CAMERA_RADIUS_DEG = 143 / 3600
"""Half the diagonal of ACS/WFC, the widest of the cameras."""
PRIORITIES = (("test", (), ("train", "val")), ("val", ("test",), ("train",)), ("train", ("test", "val"), ()))
"""For each split, in order: splits that win over it, and splits that win only with their frozen tiles."""
# A target such as `JUPITER-NORTH-POLE` or `IO-TORUS` shows the body that its name contains.
MAJOR_BODIES = frozenset(
    re.findall(
        r"\w+",
        "MERCURY VENUS EARTH MOON MARS CERES VESTA PALLAS JUPITER IO EUROPA GANYMEDE CALLISTO SATURN TITAN ENCELADUS "
        "RHEA DIONE TETHYS MIMAS IAPETUS URANUS ARIEL UMBRIEL TITANIA OBERON MIRANDA NEPTUNE TRITON PLUTO CHARON ERIS",
    )
)

Labels = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyPositions:
    """Positions of n tiles.

    Attributes
    ----------
    footprints
        m footprints; a tile has none, one or several.
    tile_of_row
        Index (m,) of the tile of each footprint.
    targets
        Normalised name (n,) of each tile's moving target; None for fixed ones.

    """

    footprints: Footprints
    tile_of_row: Ints
    targets: Sequence[str | None]


def normalise_target_name(name: str) -> str:
    """Normalise the name of a moving target.

    Parameters
    ----------
    name
        As in the archive, for instance `Jupiter-North_Pole`.

    Returns
    -------
    str
        The first major body in the name (`JUPITER`), or else all letters and digits in upper case.

    """
    words = re.findall(r"[A-Z0-9]+", name.upper())
    return next((word for word in words if word in MAJOR_BODIES), "".join(words))


def moving_target(observation: Observation | None) -> str | None:
    """Name of an observation's moving target.

    Parameters
    ----------
    observation
        May be missing.

    Returns
    -------
    str or None
        Normalised; None for fixed targets and for targets without a name.

    """
    if observation is None or not observation.is_moving or not observation.target_name:
        return None
    return normalise_target_name(observation.target_name) or None


def locate_tiles(tiles: Sequence[Tile], observations: Mapping[str, Observation]) -> SkyPositions:
    """Locate tiles on the sky.

    Parameters
    ----------
    tiles
        A tile without WCS has the position of its observation.
    observations
        By observation id; a tile of a moving target has a target name and no position.

    Returns
    -------
    SkyPositions
        Aligned with `tiles`.

    """
    targets = [moving_target(observations.get(tile.obs_id)) for tile in tiles]
    cache: dict[str, list[Quad]] = {}  # footprints of observations, which many tiles share
    quads: list[Quad] = []
    tile_of_row: list[int] = []
    for index, (tile, target) in enumerate(zip(tiles, targets, strict=True)):
        if target is None:
            has_wcs = _is_quad(tile.corners_deg)
            of_tile = [tile.corners_deg] if has_wcs else _observation_quads(tile.obs_id, observations, cache)
            quads += of_tile
            tile_of_row += [index] * len(of_tile)
    return SkyPositions(
        footprints=footprints(quads), tile_of_row=np.array(tile_of_row, dtype=np.int64), targets=targets
    )


def _is_quad(corners_deg: Sequence[float]) -> bool:
    """Whether a tile has four finite corners; previews have none, and a broken WCS gives NaN."""
    return len(corners_deg) == 8 and all(map(math.isfinite, corners_deg))


def _observation_quads(
    obs_id: str, observations: Mapping[str, Observation], cache: dict[str, list[Quad]]
) -> list[Quad]:
    """Footprint of an observation, or else the widest camera's field around its pointing; stored in `cache`."""
    observation = observations.get(obs_id)
    if obs_id not in cache and observation is not None:
        quads = region_quads(observation.footprint or "")
        if not quads and observation.ra_deg is not None and observation.dec_deg is not None:
            quads = circle_quads(observation.ra_deg, observation.dec_deg, CAMERA_RADIUS_DEG)
        cache[obs_id] = quads
    return cache.get(obs_id, [])


def find_conflicts(positions: SkyPositions, mine: Ints, others: Ints, guard_arcsec: float) -> dict[int, str]:
    """Find the tiles that show what a tile of another set shows.

    Parameters
    ----------
    positions
        Positions of all tiles.
    mine
        Indices of the tiles to check.
    others
        Indices of the tiles to check against.
    guard_arcsec
        Distance below which footprints count as overlapping.

    Returns
    -------
    dict[int, str]
        `overlap` or `moving_target` for each conflicting tile of `mine`.

    """
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

    Test wins over val, and both win over train. A frozen tile never changes, so a new tile gives way to it.

    Parameters
    ----------
    positions
        Positions of n tiles.
    labels
        Planned split of each tile.
    is_frozen
        Whether each tile (n,) has an existing assignment.
    guard_arcsec
        Distance below which footprints count as overlapping.

    Returns
    -------
    dict[int, str]
        Reason by index of the tile: `sky_guard:overlap` and `sky_guard:moving_target`, or `sky_guard:old_train` and
        `sky_guard:old_val` for a conflict with a frozen tile of a split of lower priority.

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
        current[list(excluded)] = EXCLUDED  # before the next split: an excluded tile excludes no other
        reasons |= excluded
    return reasons
