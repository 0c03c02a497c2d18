"""Overview tiles: a whole image downsampled to the size of one tile by averaging over areas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, compiled, pixel_words, to_float32
from hubbleclip.images.reader import ScienceImage

MIN_SHRINK = 1.25
"""With a smaller factor an overview would nearly repeat the tile of native pixels."""
MIN_COVERAGE = 0.25
"""Share of an overview pixel's area that good pixels must cover."""
BLOCK_ROWS = 16
ROUNDING = 1e-4
"""A last row or column that covers less of the image than this, in pixels of the overview, is a rounding error."""


def overview_shrink(shape_yx: tuple[int, int], size_px: int) -> float:
    """Downsampling factor that fits an image into a tile.

    Parameters
    ----------
    shape_yx : (int, int)
        Of the image, px.
    size_px : int
        Side of the tile.

    Returns
    -------
    shrink : float
        Image pixels per side of an overview pixel; 1 where the image fits already, because nothing is enlarged.
    """
    return max(1.0, max(shape_yx) / size_px)


def downsample_image(image: ScienceImage, good_yx: NDArray[np.bool_], shrink: float) -> ScienceImage:
    """Downsample an image: each pixel is the area-weighted mean of the good pixels that it covers.

    Bad pixels have no weight, so they neither darken nor brighten the mean.

    Parameters
    ----------
    image : ScienceImage
        Of (h, w).
    good_yx : bool (h, w)
    shrink : float
        Image pixels per side of a new pixel, at least 1; need not be an integer.

    Returns
    -------
    downsampled : ScienceImage
        Of (h / shrink, w / shrink), rounded up; valid where good pixels cover a quarter. Its WCS is still that of the
        input.
    """
    height, width = (math.ceil(side / shrink - ROUNDING) for side in good_yx.shape)
    means_yx, areas_yx = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for top in range(0, height, BLOCK_ROWS):
        rows = (top, min(top + BLOCK_ROWS, height))
        _mean_by_area(pixel_words(image.data_yx), good_yx, (shrink, *rows), means_yx, areas_yx)
        image.release_pages()  # so that never more than a block of the file is in memory
    return replace(image, data_yx=means_yx, valid_yx=areas_yx >= MIN_COVERAGE * shrink**2, may_have_cosmic_rays=False)


@compiled
def _mean_by_area(pixels: Any, good_yx: Any, part: Any, means_yx: Any, areas_yx: Any) -> None:
    """Average some rows of the small image by area: first over rows of the large one, then over columns.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `kernels.pixel_words`.
    good_yx : bool (h, w)
    part : (shrink, first, end)
        Large pixels per side of a small one; the first row of the small image and the row after the last.
    means_yx : float32 (h_small, w_small), written
        Mean of the good pixels, in the image's unit.
    areas_yx : float32 (h_small, w_small), written
        Their area, in pixels of the large image.
    """
    (words_yx, swapped), (shrink, first, end) = pixels, part
    height, width = means_yx.shape
    sums, areas = np.empty(words_yx.shape[1], F32), np.empty(words_yx.shape[1], F32)
    for row in range(first, end):
        # The last row and column end with the image, whatever the rounding of `shrink`.
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
    """Add a share of a row's good pixels, bool (w,), to `sums` and `areas`, float32 (w,)."""
    words, swapped = pixels
    for x in range(words.size):
        sums[x] += share * to_float32(words[x], swapped) if good[x] else F32(0)
        areas[x] += share if good[x] else F32(0)
