"""Our pipeline from FITS files to a shard of tiles, in one process; `bench_tiles` also measures it as a command."""

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

TILES_PER_WRITE = 256
"""Tiles per system call, as in shards: `writev` takes at most 1,024 buffers, and a tile has three."""


def write_shard(paths: Sequence[Path], shard: Path, size_px: int, rejects_rays: bool = True) -> int:
    """Write tiles of every file into one tar, masked, repaired, checked, each with its WCS; return their number.

    Without `rejects_rays` cosmic rays stay, as in a pipeline that does not detect them.
    """
    settings = TileSettings(size_px=size_px, views=("native",))
    return pack((cut(path, settings, rejects_rays) for path in paths), shard)


def cut(path: Path, settings: TileSettings, rejects_rays: bool = True) -> list[CutTile]:
    """Cut the tiles of a file."""
    images = read_images(path, settings)
    return cut_tiles(images if rejects_rays else map(_without_rejection, images), "0" * 64, settings).tiles


def _without_rejection(image: ScienceImage) -> ScienceImage:
    return replace(image, may_hold_rays=False)


def pack(tiles_of_files: Iterable[Sequence[CutTile]], shard: Path) -> int:
    """Write tiles into a tar in the format of shards; return their number."""
    num_tiles = num_bytes = 0
    with shard.open("wb", buffering=0) as file:
        for tiles in tiles_of_files:
            for first in range(0, len(tiles), TILES_PER_WRITE):
                num_bytes += write_members(file.fileno(), tiles[first : first + TILES_PER_WRITE])
            num_tiles += len(tiles)
        file.write(ustar.end(num_bytes))
    return num_tiles


def write_members(handle: int, tiles: Sequence[CutTile]) -> int:
    """Append tiles to a tar without copying them; return the number of bytes. Raises OSError when the disk is full."""
    members = [ustar.member((tile.tile_id + tile.suffix).encode(), tile.png) for tile in tiles]
    parts = [part for member in members for part in member]
    num_bytes = sum(map(len, parts))
    if os.writev(handle, parts) != num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return num_bytes


if __name__ == "__main__":
    keep()  # memory settings, as in every command
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
