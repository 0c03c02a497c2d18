"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than any star, because the telescope's point-spread function blurs every star. L.A.Cosmic (van
Dokkum 2001, PASP 113, 1420) uses the same fact, but also rejects the cores of HST's undersampled stars. Here the
contrast of a pixel, the ratio of its height to the height of its neighbours, is compared with the largest contrast that
a star of the camera can have.

The height of a pixel is its value minus the local background, in the image's unit. The height of an invalid pixel is
+infinity, so that no pixel is judged sharp because of an invalid neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.background import (
    BLOCK_PX,
    Background,
    background_at,
    block_background,
    lowest_thresholds,
)
from hubbleclip.images.kernels import F32, compiled, pixel_words, to_float32

SIGNIFICANCE_SIGMA = F32(6)  # minimum height of a seed, in sigmas of the local noise
TOLERANCE_SIGMA = F32(1)
"""Value added to the height of a neighbour, in sigmas, because noise may make a neighbour lower than it truly is."""
PEAK_FACTOR = F32(2.5)
"""A peak whose ratio to the lowest of its four side neighbours exceeds `PEAK_FACTOR * contrast` is no star."""
WING = (F32(4), F32(2.5))
ROUNDS = (*[(F32(6), F32(4))] * 11, WING)
"""Limits that a pixel next to a ray must exceed to be added to the ray, one pair per round.

The first limit is that of the pixel's height in sigmas, the second that of the ratio of its height to the height of its
lowest side neighbour outside rays.

The limits of the last round are for diffused charge. With them in every round, a ray would grow over stars.
"""
MAX_SHARE = 0.15  # largest share of an image that rays may cover; otherwise none is rejected
VALID, RAY, GROWN = 1, 2, 3  # values of the mask during the detection; `GROWN` was found in the current round
RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, in order of rows, then columns."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))


def reject_cosmic_rays(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], contrast: float) -> RayPixels:
    """Find the pixels that cosmic rays have hit, and clear the mask there.

    Background and noise are local; see `background.block_background`. A seed is a pixel more than 6 noise sigmas above
    the background that passes one of two tests. Either it exceeds `contrast` times the median of its 3x3 pixels, or
    it is their peak and exceeds 2.5 * `contrast` times its lowest side neighbour. A ray then grows from its seed over
    touching pixels above 6 sigmas that exceed 4 times their lowest side neighbour outside rays. This growth follows
    tracks that are up to two pixels wide. A last round with lower limits adds the pixels to which charge has diffused.
    """
    pixels, mask_yx, background = pixel_words(data_yx), valid_yx.view(np.uint8), block_background(data_yx, valid_yx)
    found = [_find_seeds(data_yx, valid_yx, background, F32(contrast))]
    for limits in ROUNDS:
        mask_yx.flat[found[-1]] = RAY  # marked after the round, so that the result is independent of the order
        touched = np.concatenate(found) if limits == WING else found[-1]
        found.append(_grow(pixels, mask_yx, background, limits, touched))
    places = np.sort(np.concatenate(found))
    are_rays = places.size <= MAX_SHARE * data_yx.size
    mask_yx.flat[places] = 0 if are_rays else VALID  # only 0 and 1 remain, as in a bool array
    rows, columns = (part.astype(np.int32) for part in np.divmod(places, data_yx.shape[1]))
    return (rows, columns) if are_rays else NO_RAYS


def _find_seeds(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], background: Background, contrast: np.float32
) -> NDArray[np.int64]:
    """Return the places of the seeds in the flat array, int64 (n,)."""
    (height, width), places = data_yx.shape, []
    limits_yx = np.repeat(lowest_thresholds(background, SIGNIFICANCE_SIGMA), BLOCK_PX, axis=1)[:, :width]
    for top in range(0, height, BLOCK_PX):
        # the rows of a block with a margin of one pixel
        first, last = max(top - 1, 0), min(top + BLOCK_PX + 1, height)
        values_yx = np.full((BLOCK_PX + 2, width + 2), np.inf, np.float32)
        inside_yx = values_yx[first - top + 1 : last - top + 1, 1:-1]
        np.copyto(inside_yx, data_yx[first:last], where=valid_yx[first:last])
        places.append(_seeds_of_block(values_yx, top, background, limits_yx[top // BLOCK_PX], contrast))
    return np.concatenate(places)


@compiled
def _seeds_of_block(values_yx: Any, top: Any, background: Any, limits: Any, contrast: Any) -> Any:
    """Return the places of the seeds in a block of rows, which have a margin of one pixel; `top` is the first row."""
    places, num, width = np.empty(limits.size * BLOCK_PX, np.int64), 0, limits.size
    is_bright = np.empty(width, np.bool_)
    for y in range(BLOCK_PX):
        middle = values_yx[y + 1, 1:]
        for x in range(width):  # a loop of its own, because it is vectorised
            is_bright[x] = (middle[x] > limits[x]) & (middle[x] < F32(np.inf))
        for x in range(width):
            if is_bright[x] and _is_seed(
                values_yx[y : y + 3, x : x + 3], background_at(background, top + y, x), contrast
            ):
                places[num] = (top + y) * width + x
                num += 1
    return places[:num]


@compiled
def _is_seed(near_yx: Any, background: Any, contrast: Any) -> Any:
    """Return whether the middle of 3x3 pixels is bright and passes one of the two tests in `reject_cosmic_rays`."""
    level, noise = background
    height, tolerance = near_yx[1, 1] - level, TOLERANCE_SIGMA * noise
    lowest = max(min(near_yx[0, 1], near_yx[2, 1], near_yx[1, 0], near_yx[1, 2]) - level, F32(0))
    # Most pixels fail here: both tests need a low side neighbour.
    if height <= SIGNIFICANCE_SIGMA * noise or height <= contrast * (lowest + tolerance):
        return False
    highest, num_low = F32(0), 0
    for y in range(3):
        for x in range(3):
            highest = max(highest, near_yx[y, x] - level)
            num_low += height > contrast * (max(near_yx[y, x] - level, F32(0)) + tolerance)
    # The median of nine values is low enough exactly if at least five of them are, so no median is computed.
    return num_low >= 5 or (height == highest and height > PEAK_FACTOR * contrast * (lowest + tolerance))


@compiled
def _grow(pixels: Any, mask_yx: Any, background: Any, limits: Any, touched: Any) -> Any:
    """Find pixels that touch given pixels of rays and belong to the rays; mark them `GROWN` and return their places."""
    grown, num, (height, width) = np.empty(8 * touched.size, np.int64), 0, mask_yx.shape
    for place in touched:
        y0, x0 = place // width, place % width
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                if mask_yx[y, x] == VALID and _is_growth(pixels, mask_yx, background, limits, (y, x)):
                    mask_yx[y, x] = GROWN
                    grown[num] = y * width + x
                    num += 1
    return grown[:num]


@compiled
def _is_growth(pixels: Any, mask_yx: Any, background: Any, limits: Any, where_yx: Any) -> Any:
    """Return whether a valid pixel next to a ray belongs to the ray; a bright pixel surrounded by rays does."""
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
