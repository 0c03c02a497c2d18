"""Our road from FITS files to a shard of tiles, in one process: what `bench_tiles` measures, also from its start."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hubbleclip.images.tiles import CutTile, tile_file
from hubbleclip.settings import TileSettings


def write_shard(paths: Sequence[Path], shard: Path, size_px: int) -> int:
    """Tiles of every file into one tar, masked, repaired, checked, each with its WCS and hash; returns how many."""
    settings = TileSettings(size_px=size_px, views=("native",))
    return pack((tile for path in paths for tile in tile_file(path, "0" * 64, settings).tiles), shard)


def pack(tiles: Iterable[CutTile], shard: Path) -> int:
    """The PNGs into a tar; returns how many."""
    num_tiles = 0
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for tile in tiles:
            member = tarfile.TarInfo(f"{tile.tile_id}.png")
            member.size = len(tile.png)
            tar.addfile(member, io.BytesIO(tile.png))
            num_tiles += 1
    return num_tiles


if __name__ == "__main__":
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
