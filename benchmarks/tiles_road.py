"""Our road from FITS files to a shard of tiles, in one process: what `bench_tiles` measures, also from its start."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flows.loading import keep
from hubbleclip.config.tiles import TileSettings
from hubbleclip.dataset import ustar
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import CutTile, cut_tiles, read_images

AT_ONCE = 256
"""Tiles written at once, as shards are: the system takes at most 1,024 parts, three a tile."""


def write_shard(paths: Sequence[Path], shard: Path, size_px: int, rays: bool = True) -> int:
    """Tiles of every file into one tar, masked, repaired, checked, each with its WCS; returns how many.

    Without `rays` cosmic rays stay where they are, as in a pipeline that does not look for them.
    """
    settings = TileSettings(size_px=size_px, views=("native",))
    return pack((cut(path, settings, rays) for path in paths), shard)


def cut(path: Path, settings: TileSettings, rays: bool = True) -> list[CutTile]:
    """Tiles of a file."""
    images = read_images(path, settings)
    return cut_tiles(images if rays else map(_with_rays_left, images), "0" * 64, settings).tiles


def _with_rays_left(image: ScienceImage) -> ScienceImage:
    return replace(image, may_hold_rays=False)


def pack(tiles_of_files: Iterable[Sequence[CutTile]], shard: Path) -> int:
    """The pictures into a tar as shards are; returns how many."""
    num_tiles = num_bytes = 0
    with shard.open("wb", buffering=0) as file:
        for tiles in tiles_of_files:
            for first in range(0, len(tiles), AT_ONCE):
                num_bytes += write_members(file.fileno(), tiles[first : first + AT_ONCE])
            num_tiles += len(tiles)
        file.write(ustar.end(num_bytes))
    return num_tiles


def write_members(handle: int, tiles: Sequence[CutTile]) -> int:
    """Append tiles to a tar, joining none; the number of bytes. Raises OSError when the disk does not take all."""
    members = [ustar.member((tile.tile_id + tile.suffix).encode(), tile.png) for tile in tiles]
    parts = [part for member in members for part in member]
    num_bytes = sum(map(len, parts))
    if os.writev(handle, parts) != num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return num_bytes


if __name__ == "__main__":
    keep()  # as the commands do
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
