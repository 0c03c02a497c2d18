"""Caps: at most a set number of tiles of each proposal and of each patch of the sky."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Tile
from hubbleclip.dataset.shard_writer import unit_hash

PROPOSAL_CAP, PATCH_CAP = "proposal_cap", "patch_cap"
CAPS = frozenset({PROPOSAL_CAP, PATCH_CAP})
"""Exclusion reasons that end when the cap is raised."""
PATCH_ORDER = 10
"""HEALPix order of a sky patch, which has a side of 3.4 arcminutes, about the field of ACS/WFC."""


def exceeding(
    tiles: Sequence[Tile], new: Iterable[int], counted: Iterable[int], settings: SplitSettings
) -> dict[int, str]:
    """Find the new tiles that exceed a cap, with the exclusion reason of each, by index."""
    limits = {PROPOSAL_CAP: settings.max_tiles_per_proposal, PATCH_CAP: settings.max_tiles_per_patch}
    if not any(limits.values()):
        return {}
    keys: dict[str, Sequence[str | int | None]] = {
        PROPOSAL_CAP: [tile.proposal_id for tile in tiles],
        PATCH_CAP: sky_patches(tiles),
    }
    num_used = {name: Counter(keys[name][index] for index in counted) for name in limits}
    excluded: dict[int, str] = {}
    for index in _in_turn(tiles, new):
        places = {name: keys[name][index] for name, limit in limits.items() if limit and keys[name][index] is not None}
        full = next((name for name, key in places.items() if num_used[name][key] >= limits[name]), None)
        if full:
            excluded[index] = full
            continue
        for name, key in places.items():
            num_used[name][key] += 1
    return excluded


def sky_patches(tiles: Sequence[Tile]) -> list[int | None]:
    """Find the HEALPix pixel of each tile's centre; None without a position."""
    import astropy.units as u  # noqa: PLC0415 - imports astropy, and few profiles have caps
    from astropy_healpix import HEALPix  # noqa: PLC0415

    positions = np.array([(tile.ra_deg or 0.0, tile.dec_deg or 0.0) for tile in tiles]).reshape(-1, 2) * u.deg
    pixels = HEALPix(nside=2**PATCH_ORDER, order="nested").lonlat_to_healpix(positions[:, 0], positions[:, 1])
    return [None if tile.ra_deg is None else int(pixel) for tile, pixel in zip(tiles, pixels, strict=True)]


def _in_turn(tiles: Sequence[Tile], new: Iterable[int]) -> list[int]:
    """Sort tiles so that each file gives one tile, then each file a second tile, and so on."""
    files: Mapping[str, list[tuple[float, int]]] = defaultdict(list)
    for index in new:
        files[tiles[index].product_uri].append((unit_hash(tiles[index].tile_id), index))
    turns = (
        (turn, draw, tiles[index].tile_id, index)
        for members in files.values()
        for turn, (draw, index) in enumerate(sorted(members))
    )
    return [index for *_, index in sorted(turns)]
