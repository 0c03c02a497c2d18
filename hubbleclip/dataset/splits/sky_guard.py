"""The sky guard: what is in a val or test tile is not in a train tile, whoever asked for it."""

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
RULES = (("test", (), ("train", "val")), ("val", ("test",), ("train",)), ("train", ("test", "val"), ()))
"""Split, the splits it gives way to, and those it gives way to only where their tiles are frozen; in this order."""
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
    """Where tiles are: `tile_of_row` (m,) is the tile of each footprint; `targets` (n,) are the moving bodies."""

    footprints: Footprints
    tile_of_row: Ints
    targets: Sequence[str | None]


def normalise_target_name(name: str) -> str:
    """One name of a moving target: `Jupiter-North_Pole` is `JUPITER`; other names lose only their marks."""
    words = re.findall(r"[A-Z0-9]+", name.upper())
    return next((word for word in words if word in MAJOR_BODIES), "".join(words))


def moving_target(observation: Observation | None) -> str | None:
    """Normalised name of an observation's moving target; None for what stands still, and for the nameless."""
    if observation is None or not observation.is_moving or not observation.target_name:
        return None
    return normalise_target_name(observation.target_name) or None


def locate_tiles(tiles: Sequence[Tile], observations: Mapping[str, Observation]) -> SkyPositions:
    """Where each tile is. A moving target has a name and no place; a tile without WCS is where its observation is."""
    targets = [moving_target(observations.get(tile.obs_id)) for tile in tiles]
    seen: dict[str, list[Quad]] = {}
    quads: list[Quad] = []
    tile_of_row: list[int] = []
    for index, (tile, target) in enumerate(zip(tiles, targets, strict=True)):
        if target is None:
            mine = [tile.corners_deg] if _is_quad(tile.corners_deg) else _observed(tile.obs_id, observations, seen)
            quads += mine
            tile_of_row += [index] * len(mine)
    return SkyPositions(
        footprints=footprints(quads), tile_of_row=np.array(tile_of_row, dtype=np.int64), targets=targets
    )


def _is_quad(corners_deg: Sequence[float]) -> bool:
    return len(corners_deg) == 8 and all(map(math.isfinite, corners_deg))


def _observed(obs_id: str, observations: Mapping[str, Observation], seen: dict[str, list[Quad]]) -> list[Quad]:
    """The footprint of an observation, else what a camera sees around its aim point; kept in `seen`."""
    observation = observations.get(obs_id)
    if obs_id not in seen and observation is not None:
        quads = region_quads(observation.footprint or "")
        if not quads and observation.ra_deg is not None and observation.dec_deg is not None:
            quads = circle_quads(observation.ra_deg, observation.dec_deg, CAMERA_RADIUS_DEG)
        seen[obs_id] = quads
    return seen.get(obs_id, [])


def find_conflicts(places: SkyPositions, mine: Ints, others: Ints, guard_arcsec: float) -> dict[int, str]:
    """Tiles of `mine` that show what a tile of `others` shows, with the cause: `overlap` or `moving_target`."""
    bodies = {positions.targets[index] for index in others} - {None}
    found = {int(index): "moving_target" for index in mine if positions.targets[index] in bodies}
    my_rows, other_rows = (np.flatnonzero(np.isin(places.tile_of_row, index)) for index in (mine, others))
    if my_rows.size and other_rows.size:
        hit = is_near_any(places.footprints.at(my_rows), places.footprints.at(other_rows), guard_arcsec)
        found |= dict.fromkeys(places.tile_of_row[my_rows[hit]].tolist(), "overlap")
    return found


def guard_sky(places: SkyPositions, labels: Sequence[str], is_frozen: Bools, guard_arcsec: float) -> dict[int, str]:
    """Tiles to exclude, by index, each with its reason.

    Test wins over val, and both over train; a frozen tile is never touched, so that a new tile gives way to it:
    `sky_guard:overlap`, `sky_guard:moving_target`, or `sky_guard:old_train` and `sky_guard:old_val` for the latter.
    """
    current: Labels = np.array(labels, dtype=object)
    reasons: dict[int, str] = {}
    for split, winners, elders in RULES:
        mine = np.flatnonzero((current == split) & ~is_frozen)
        out: dict[int, str] = {}
        for elder in elders:
            old = np.flatnonzero((current == elder) & is_frozen)
            out |= dict.fromkeys(find_conflicts(places, mine, old, guard_arcsec), f"sky_guard:old_{elder}")
        for winner in winners:
            found = find_conflicts(places, mine, np.flatnonzero(current == winner), guard_arcsec)
            out |= {index: f"sky_guard:{cause}" for index, cause in found.items()}
        current[list(out)] = EXCLUDED
        reasons |= out
    return reasons
