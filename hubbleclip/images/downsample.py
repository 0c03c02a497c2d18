"""Downsampling for overview tiles, which show a whole image in one tile. Each pixel is a mean weighted by area."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, compiled, pixel_words, to_float32
from hubbleclip.images.reader import ScienceImage

MIN_SHRINK = 1.25
"""Minimum downsampling factor of an overview. At smaller factors, a native tile shows nearly the whole image."""
MIN_COVERAGE = 0.25
"""Minimum share of an overview pixel's area that good pixels must cover."""
BLOCK_ROWS = 16
ROUNDING = 1e-4
"""Tolerance for rounding errors, in overview pixels: a last row or column that would be narrower than this is not
created.
"""


def overview_shrink(shape_yx: tuple[int, int], size_px: int) -> float:
    """Compute the downsampling factor by which an image fits into a tile; at least 1."""
    return max(1.0, max(shape_yx) / size_px)


def downsample_image(image: ScienceImage, good_yx: NDArray[np.bool_], shrink: float) -> ScienceImage:
    """Downsample an image to the area-weighted means of its good pixels; the WCS of the input is kept unchanged."""
    height, width = (math.ceil(side / shrink - ROUNDING) for side in good_yx.shape)
    means_yx, areas_yx = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for top in range(0, height, BLOCK_ROWS):
        rows = (top, min(top + BLOCK_ROWS, height))
        _mean_by_area(pixel_words(image.data_yx), good_yx, (shrink, *rows), means_yx, areas_yx)
        image.release_pages()  # at most one block of the file is in memory at a time
    return replace(image, data_yx=means_yx, valid_yx=areas_yx >= MIN_COVERAGE * shrink**2, may_have_cosmic_rays=False)


@compiled
def _mean_by_area(pixels: Any, good_yx: Any, part: Any, means_yx: Any, areas_yx: Any) -> None:
    """Compute a range of rows of the downsampled image: sum over the rows of the input, then over its columns."""
    (words_yx, swapped), (shrink, first, end) = pixels, part
    height, width = means_yx.shape
    sums, areas = np.empty(words_yx.shape[1], F32), np.empty(words_yx.shape[1], F32)
    for row in range(first, end):
        # The last row and column must end exactly at the image's border, whatever the rounding error of `shrink`.
        top, bottom = row * shrink, words_yx.shape[0] if row == height - 1 else (row + 1) * shrink
        sums[:], areas[:] = F32(0), F32(0)
        for y in range(int(top), int(np.ceil(bottom))):
            share = F32(min(y + 1, bottom) - max(y, top))
            _add_row((words_yx[y], swapped), good_yx[y], share, sums, areas)
        for column in range(width):
            left, right = column * shrink, sums.size if column == width - 1 else (column + 1) * shrink
            total, area = 0.0, 0.0
            for x in range(int(left), int(np.ceil(right))):
                share = min(x + 1, right) - max(x, left)
                total, area = total + share * sums[x], area + share * areas[x]
            areas_yx[row, column] = area
            means_yx[row, column] = total / area if area > 0 else 0.0


@compiled
def _add_row(pixels: Any, good: Any, share: Any, sums: Any, areas: Any) -> None:
    """Add the good pixels of a row, weighted by `share`, to `sums`, and their weights to `areas`; both float32 (w,)."""
    words, swapped = pixels
    for x in range(words.size):
        sums[x] += share * to_float32(words[x], swapped) if good[x] else F32(0)
        areas[x] += share if good[x] else F32(0)
