"""Our pipeline from FITS files to a shard of tiles, in one process; `bench_tiles` also measures it as a command."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hubbleclip.config.tiles import TileSettings
from hubbleclip.dataset.shard_writer import member_bytes, trailer_size_bytes
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import CutTile, cut_tiles, read_images


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
    return replace(image, may_have_cosmic_rays=False)


def pack(tiles_of_files: Iterable[Sequence[CutTile]], shard: Path) -> int:
    """Write tiles into a tar in the format of shards; return their number."""
    num_tiles = 0
    with shard.open("wb") as tar:
        for tiles in tiles_of_files:
            for tile in tiles:
                tar.write(member_bytes(tile.tile_id + tile.suffix, tile.encoded))
            num_tiles += len(tiles)
        tar.write(bytes(trailer_size_bytes(tar.tell())))
    return num_tiles


if __name__ == "__main__":
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
