"""Tiles by a plain script with astropy and Pillow: zscale, asinh, whole squares from the corner on, into a tar.

No masks, no sky estimate, no WCS, no rejection of tiles: the least that gives pictures. `clean` may reject cosmic rays.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.visualization import AsinhStretch, ImageNormalize, ZScaleInterval
from PIL import Image

NAME = "astropy + Pillow + tarfile"
Clean = Callable[[np.ndarray], np.ndarray]


def write_shard(paths: Sequence[Path], shard: Path, size_px: int, clean: Clean | None = None) -> int:
    """Write tiles of every file into one tar; return their number."""
    num_tiles = 0
    with tarfile.open(shard, "w") as tar:
        for path in paths:
            for png in tile_file(path, size_px, clean):
                member = tarfile.TarInfo(f"{num_tiles:06d}.png")
                member.size = len(png)
                tar.addfile(member, io.BytesIO(png))
                num_tiles += 1
    return num_tiles


def tile_file(path: Path, size_px: int, clean: Clean | None = None) -> Iterator[bytes]:
    """Yield PNGs of the whole squares of every SCI extension, row by row."""
    with fits.open(path) as hdus:
        for hdu in hdus:
            if hdu.name == "SCI":
                yield from _tiles(clean(hdu.data) if clean else hdu.data, size_px)


def _tiles(data_yx: np.ndarray, size_px: int) -> Iterator[bytes]:
    normalise = ImageNormalize(data_yx, interval=ZScaleInterval(), stretch=AsinhStretch(), clip=True)
    levels_yx = np.ma.filled(normalise(data_yx) * 255, 0).astype(np.uint8)
    height, width = levels_yx.shape
    for y in range(0, height - size_px + 1, size_px):
        for x in range(0, width - size_px + 1, size_px):
            yield _encode(levels_yx[y : y + size_px, x : x + size_px])


def _encode(levels_yx: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    write_shard([Path(path) for path in sys.argv[3:]], Path(sys.argv[1]), int(sys.argv[2]))
