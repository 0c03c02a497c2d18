"""Tiles as one cuts them with astropy and Pillow: zscale, asinh, whole squares from the corner on.

No mask, no choice of the sky, no WCS, nothing left out: the least that gives pictures.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.visualization import AsinhStretch, ImageNormalize, ZScaleInterval
from PIL import Image

NAME = "astropy + Pillow"


def tile_file(path: Path, size_px: int) -> list[bytes]:
    """PNGs of the whole squares of the SCI extension, row by row."""
    data_yx = fits.getdata(path, "SCI")
    normalise = ImageNormalize(data_yx, interval=ZScaleInterval(), stretch=AsinhStretch(), clip=True)
    levels_yx = np.ma.filled(normalise(data_yx) * 255, 0).astype(np.uint8)
    height, width = levels_yx.shape
    starts = [(y, x) for y in range(0, height - size_px + 1, size_px) for x in range(0, width - size_px + 1, size_px)]
    return [_encode(levels_yx[y : y + size_px, x : x + size_px]) for y, x in starts]


def _encode(levels_yx: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).save(buffer, "PNG")
    return buffer.getvalue()
