"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than any star, because the telescope's point-spread function blurs every star. L.A.Cosmic (van
Dokkum 2001, PASP 113, 1420) uses the same fact, but also rejects the cores of HST's undersampled stars. Here the
contrast of a pixel is compared with the largest contrast of a star of the camera.

The height of a pixel is its value minus the local background, in the image's unit. That of an invalid pixel is
+infinity, so that no pixel is judged sharp because of an invalid neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.background import BLOCK_PX, background_at, block_background, lowest_thresholds
from hubbleclip.images.kernels import F32, I32, compiled, pixel_words, read_row, to_float32

SIGNIFICANCE_SIGMA = F32(6)  # minimum height of a seed, in sigmas of the local noise
TOLERANCE_SIGMA = F32(1)
"""Value added to the height of a neighbour, in sigmas: of several noisy pixels, some are lower than the true level."""
PEAK_FACTOR = F32(2.5)  # ratio of a peak to its lowest side neighbour that no star reaches, in units of `contrast`
WING = (F32(4), F32(2.5))
ROUNDS = (*[(F32(6), F32(4))] * 11, WING)
"""Limits of a pixel next to a ray in each round: height in sigmas, and ratio to its lowest side neighbour outside rays.

The limits of the last round are for diffused charge. With them in every round, a ray would grow over stars.
"""
MAX_SHARE = 0.15  # of an image that rays may cover
VALID, RAY, GROWN = 1, 2, 3  # values of the mask during the detection; `GROWN` was found in the current round
RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, in order of rows, then columns."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))


def reject_cosmic_rays(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], contrast: float) -> RayPixels:
    """Find the pixels that cosmic rays have hit, and clear the mask there.

    Background and noise are local; see `background.block_background`. A seed is a pixel more than 6 noise sigmas above
    the background that passes one of two tests. Either it exceeds the median of its 3x3 by the contrast, or it is the
    peak of its 3x3 and exceeds its lowest side neighbour by 2.5 times the contrast. A ray then grows from its seed over
    touching pixels above 6 sigmas that exceed 4 times their lowest side neighbour outside the ray. This growth follows
    tracks that are up to two pixels wide. A last round with lower limits adds the pixels to which charge has diffused.
    """
    pixels, mask_yx = pixel_words(data_yx), valid_yx.view(np.uint8)
    found = np.sort(_mark_rays(pixels, mask_yx, block_background(pixels, valid_yx), F32(contrast)))
    rows, columns = (places.astype(np.int32) for places in np.divmod(found, data_yx.shape[1]))
    are_rays = rows.size <= MAX_SHARE * data_yx.size
    mask_yx[rows, columns] = 0 if are_rays else VALID  # only 0 and 1 remain, as in a bool array
    return (rows, columns) if are_rays else NO_RAYS


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, background: Any, contrast: Any) -> Any:
    """Set the mask, which is 0 or `VALID`, to `RAY` at rays; return their places in the flat array, int64 (n,)."""
    latest = _find_seeds(pixels, mask_yx, background, contrast)
    found = latest.copy()
    for limits in ROUNDS:
        for y, x in latest:  # marked after the round, so that the result is independent of the order
            mask_yx[y, x] = RAY
        latest = _grow(pixels, mask_yx, background, limits, found if limits == WING else latest)
        found.extend(latest)
    for y, x in latest:
        mask_yx[y, x] = RAY
    return np.array([np.int64(y) * mask_yx.shape[1] + x for y, x in found], np.int64)


@compiled
def _find_seeds(pixels: Any, mask_yx: Any, background: Any, contrast: Any) -> Any:
    """Return the seeds as a list of (y, x)."""
    width, lowest_yx = mask_yx.shape[1], lowest_thresholds(background, SIGNIFICANCE_SIGMA)
    rows_yx, is_bright = np.empty((3, width + 2), F32), np.empty(width, np.bool_)  # row y is at index y % 3
    seeds: list[tuple[Any, Any]] = []
    read_row(pixels, mask_yx, 0, rows_yx[0])
    rows_yx[2] = F32(np.inf)
    for y in range(mask_yx.shape[0]):
        read_row(pixels, mask_yx, y + 1, rows_yx[(y + 1) % 3])
        mask, rows = mask_yx[y], (rows_yx[(y - 1) % 3], rows_yx[y % 3], rows_yx[(y + 1) % 3])
        for x in range(width):  # a loop of its own, because it is vectorised
            is_bright[x] = (rows[1][x + 1] > lowest_yx[y // BLOCK_PX, x // BLOCK_PX]) & (mask[x] != 0)
        bright = [(I32(y), I32(x)) for x in range(width) if is_bright[x]]
        seeds.extend([(y, x) for y, x in bright if _is_seed(rows, x, background_at(background, y, x), contrast)])
    return seeds


@compiled
def _is_seed(rows: Any, x: Any, background: Any, contrast: Any) -> Any:
    """Return whether a pixel is bright and passes one of the two tests in `reject_cosmic_rays`."""
    (above, middle, below), (level, noise), x = rows, background, x + 1  # the rows have a margin
    height, tolerance = middle[x] - level, TOLERANCE_SIGMA * noise
    lowest = max(min(above[x], below[x], middle[x - 1], middle[x + 1]) - level, F32(0))
    # Most pixels fail here: both tests need a low side neighbour.
    if height <= SIGNIFICANCE_SIGMA * noise or height <= contrast * (lowest + tolerance):
        return False
    highest, num_low = F32(0), 0
    for row in rows:
        for near in row[x - 1 : x + 2]:
            highest = max(highest, near - level)
            num_low += height > contrast * (max(near - level, F32(0)) + tolerance)
    # The median of nine values is low enough exactly if at least five of them are, so no median is computed.
    return num_low >= 5 or (height == highest and height > PEAK_FACTOR * contrast * (lowest + tolerance))


@compiled
def _grow(pixels: Any, mask_yx: Any, background: Any, limits: Any, latest: Any) -> Any:
    """Return the pixels (y, x) that touch a pixel in `latest` and belong to the ray; set the mask to `GROWN` there."""
    grown: list[tuple[Any, Any]] = []
    for y0, x0 in latest:
        for y in range(max(y0 - 1, 0), min(y0 + 2, mask_yx.shape[0])):
            for x in range(max(x0 - 1, 0), min(x0 + 2, mask_yx.shape[1])):
                if mask_yx[y, x] == VALID and _is_growth(pixels, mask_yx, background, limits, (y, x)):
                    mask_yx[y, x] = GROWN
                    grown.append((I32(y), I32(x)))
    return grown


@compiled
def _is_growth(pixels: Any, mask_yx: Any, background: Any, limits: Any, where_yx: Any) -> Any:
    """Return whether a valid pixel next to a ray belongs to the ray; a pixel surrounded by rays does."""
    (words_yx, swapped), (y, x), (level, noise) = pixels, where_yx, background_at(background, *where_yx)
    height, lowest = to_float32(words_yx[y, x], swapped) - level, F32(np.inf)
    if height <= limits[0] * noise:  # most pixels
        return False
    for near_y, near_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        is_inside = 0 <= near_y < mask_yx.shape[0] and 0 <= near_x < mask_yx.shape[1]
        if is_inside and mask_yx[near_y, near_x] in (VALID, GROWN):
            lowest = min(lowest, max(to_float32(words_yx[near_y, near_x], swapped) - level, F32(0)))
    floor = F32(0) if np.isinf(lowest) else lowest + TOLERANCE_SIGMA * noise
    return height > limits[1] * floor
