"""The whole of an image in one tile: shrunk by area, so that no target is out of sight."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, pixel_words, value_of
from hubbleclip.images.reader import ScienceImage

LEAST_SHRINK = 1.25
"""With less, an overview would only repeat the tile of native pixels."""
LEAST_COVER = 0.25
ROWS_A_STEP = 16
ROUNDING = 1e-4
"""A row that holds no more of the image than this is none."""


def shrink_of(shape_yx: tuple[int, int], size_px: int) -> float:
    """Pixels a side that make one of the overview: 1 where the image fits in a tile, since none is stretched up."""
    return max(1.0, max(shape_yx) / size_px)


def shrink_image(image: ScienceImage, sound_yx: NDArray[np.bool_], shrink: float) -> ScienceImage:
    """The image with each pixel the mean, by area, of the sound pixels that it covers: others neither darken nor
    brighten it. It is valid where a quarter of it is covered. The WCS stays that of the image before.
    """
    height, width = (math.ceil(side / shrink - ROUNDING) for side in sound_yx.shape)
    means_yx, areas_yx = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for top in range(0, height, ROWS_A_STEP):
        rows = (top, min(top + ROWS_A_STEP, height))
        _mean_by_area(pixel_words(image.data_yx), sound_yx, (shrink, *rows), means_yx, areas_yx)
        image.let_go()
    return replace(image, data_yx=means_yx, valid_yx=areas_yx >= LEAST_COVER * shrink**2, may_hold_rays=False)


@compiled
def _mean_by_area(pixels: Any, sound_yx: Any, part: Any, means_yx: Any, areas_yx: Any) -> None:
    """Average some rows of the small image by area: first over rows of the large one, then over columns.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    sound_yx : bool (h, w)
    part : (shrink, first, end)
        Pixels of the large image per side of a small one; the first row of the small image and the one beyond the last.
    means_yx : float32 (h_small, w_small), written
        Mean of the sound pixels, in the image's unit.
    areas_yx : float32 (h_small, w_small), written
        Their area, in pixels of the large image.
    """
    (words_yx, swapped), (shrink, first, end) = pixels, part
    height, width = means_yx.shape
    sums, areas = np.empty(words_yx.shape[1], F32), np.empty(words_yx.shape[1], F32)
    for row in range(first, end):
        top, bottom = row * shrink, words_yx.shape[0] if row == height - 1 else (row + 1) * shrink
        sums[:], areas[:] = F32(0), F32(0)
        for y in range(int(top), int(np.ceil(bottom))):
            share = F32(min(y + 1, bottom) - max(y, top))
            _add_row((words_yx[y], swapped), sound_yx[y], share, sums, areas)
        for column in range(width):
            left, right = column * shrink, sums.size if column == width - 1 else (column + 1) * shrink
            total, area = 0.0, 0.0
            for x in range(int(left), int(np.ceil(right))):
                share = min(x + 1, right) - max(x, left)
                total, area = total + share * sums[x], area + share * areas[x]
            areas_yx[row, column] = area
            means_yx[row, column] = total / area if area > 0 else 0.0


@compiled
def _add_row(pixels: Any, sound: Any, share: Any, sums: Any, areas: Any) -> None:
    """Add a share of a row's sound pixels, bool (w,), to `sums` and `areas`, float32 (w,)."""
    words, swapped = pixels
    for x in range(words.size):
        sums[x] += share * value_of(words[x], swapped) if sound[x] else F32(0)
        areas[x] += share if sound[x] else F32(0)
