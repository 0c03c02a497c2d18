"""Cut square views of a colour picture.

The views are the whole picture, squares that cover the picture, and random crops that show details.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_CROPS = 8
"""Number of random crops of each picture."""
MIN_CROP_SHARE = 0.25
"""Smallest area of a crop, as a fraction of the area of the padded picture."""

Box = tuple[int, int, int]
"""Left edge, top edge and side of a square, in pixels of the padded picture."""


def square_views(picture_yxc: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Cut square views of a picture.

    The crops are drawn with a constant seed, so that the views depend only on the picture.
    """
    field = _padded(picture_yxc)
    rng = np.random.default_rng(NUM_CROPS)  # constant seed: pictures of the same shape get the same crops
    fixed = [_cut(field, box, size_px) for box in _covering_squares(picture_yxc.shape[:2])]
    crops = [
        np.rot90(_cut(field, box, size_px), int(rng.integers(4)))[:, :: rng.choice([-1, 1])]
        for box in _random_squares(picture_yxc.shape[:2], rng)
    ]
    return np.stack([*fixed, *crops])


def _padded(picture_yxc: NDArray[np.uint8]) -> Image.Image:
    """Centre the picture on a square that is filled with the picture's median colour."""
    height, width = picture_yxc.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    field_yxc = np.empty((side, side, 3), np.uint8)
    # the median colour is the background of most pictures, so the padding adds no edge of high contrast
    field_yxc[:] = np.median(picture_yxc.reshape(-1, 3), axis=0).astype(np.uint8)
    field_yxc[top : top + height, left : left + width] = picture_yxc
    return Image.fromarray(field_yxc)


def _covering_squares(shape_yx: tuple[int, ...]) -> list[Box]:
    """Return the whole padded picture, then squares in the middle and at both ends of the picture."""
    height, width = shape_yx
    long, short = max(height, width), min(height, width)
    edge = (long - short) // 2  # width of the padding on each side
    along = [(long - short) // 2, 0, long - short]  # offsets of the middle, the first end and the last end
    squares = [(start, edge, short) if width >= height else (edge, start, short) for start in along]
    return [(0, 0, long), *squares]


def _random_squares(shape_yx: tuple[int, ...], rng: np.random.Generator) -> Iterator[Box]:
    """Draw random squares; a square lies inside the picture if it fits, else inside the padded picture."""
    height, width = shape_yx
    long = max(height, width)
    for _ in range(NUM_CROPS):
        side = int(long * np.sqrt(rng.uniform(MIN_CROP_SHARE, 1)))  # the area is uniformly distributed
        free_xy = [(length if side <= min(shape_yx) else long) - side for length in (width, height)]
        edge_xy = [(long - length) // 2 if side <= min(shape_yx) else 0 for length in (width, height)]
        left, top = (edge + int(rng.integers(free + 1)) for edge, free in zip(edge_xy, free_xy, strict=True))
        yield left, top, side


def _cut(field: Image.Image, box: Box, size_px: int) -> NDArray[np.uint8]:
    """Cut a square from the padded picture and resample it to `size_px` pixels."""
    left, top, side = box
    # pixels are averaged when the square is reduced, and interpolated when it is enlarged
    kernel = Image.Resampling.BOX if side >= size_px else Image.Resampling.BICUBIC
    return np.asarray(field.resize((size_px, size_px), kernel, box=(left, top, left + side, top + side)))
