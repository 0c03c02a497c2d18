"""Our road from FITS files to a shard of tiles, in one process: what `bench_tiles` measures, also from its start."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flows.loading import keep
from hubbleclip.dataset import ustar
from hubbleclip.images.fits import ScienceImage
from hubbleclip.images.tiles import CutTile, cut_tiles, read_images
from hubbleclip.tile_settings import TileSettings

BUFFER_BYTES = 1 << 20
"""Written at once: a file system takes large writes in half the time of many small ones."""


def write_shard(paths: Sequence[Path], shard: Path, size_px: int, rays: bool = True) -> int:
    """Tiles of every file into one tar, masked, repaired, checked, each with its WCS; returns how many.

    Without `rays` cosmic rays stay where they are, as in a pipeline that does not look for them.
    """
    settings = TileSettings(size_px=size_px, views=("native",))
    return pack((tile for path in paths for tile in cut(path, settings, rays)), shard)


def cut(path: Path, settings: TileSettings, rays: bool = True) -> list[CutTile]:
    """Tiles of a file."""
    images = read_images(path, settings)
    return cut_tiles(images if rays else map(_with_rays_left, images), "0" * 64, settings).tiles


def _with_rays_left(image: ScienceImage) -> ScienceImage:
    return replace(image, may_hold_rays=False)


def pack(tiles: Iterable[CutTile], shard: Path) -> int:
    """The pictures into a tar as shards are; returns how many."""
    num_tiles = num_bytes = 0
    with shard.open("wb", buffering=BUFFER_BYTES) as file:
        for tile in tiles:
            member = ustar.member((tile.tile_id + tile.suffix).encode(), tile.png)
            num_bytes += sum(map(file.write, member))
            num_tiles += 1
        file.write(ustar.end(num_bytes))
    return num_tiles


if __name__ == "__main__":
    keep()  # as the commands do
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
