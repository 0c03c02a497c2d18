"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than any star, because the telescope's point-spread function blurs every star. L.A.Cosmic (van
Dokkum 2001, PASP 113, 1420) is based on this fact too, with one limit of sharpness for all cameras. Here sharpness is
measured by the contrast: the ratio of a pixel's height to the height of its neighbours. The limit is the largest
contrast that a star can have in the camera and filter.

The height of a pixel is its value minus the local background, in the image's unit. The height of an invalid pixel is
+infinity, so that no pixel is judged sharp because of an invalid neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.background import BLOCK_PX, background_at, block_background
from hubbleclip.images.kernels import F32, append_places, compiled, empty_flags, pixel_words, to_float32

SIGNIFICANCE_SIGMA = F32(6)  # minimum height of a seed, in sigmas of the local noise
TOLERANCE_SIGMA = F32(0.9)
"""Value added to the height of a neighbour, in sigmas, because noise may make a neighbour lower than it truly is."""
PEAK_FACTOR = F32(2.5)
"""The peak of a star is at most `PEAK_FACTOR * contrast` times as high as the lowest of its four side neighbours."""
WING = (F32(4), F32(2.5))
ROUNDS = (*[(F32(6), F32(4))] * 11, WING)
"""Limits that a pixel next to a ray must exceed to be added to the ray, one pair per round.

The first limit is for the pixel's height in sigmas. The second limit is for the ratio of this height to the height of
the lowest side neighbour that is not part of a ray.

The limits of the last round are lower, so that pixels with diffused charge exceed them.
"""
MAX_RISE = F32(1.7)
"""A pixel is added to a ray only if it is at most this many times as high as the highest ray pixel beside it.

The wing of a star rises by a larger factor towards the core, so a ray in the wing does not grow into the core.
"""
LOCAL_FACTOR, LOCAL_TOLERANCE = F32(1.1), F32(0.5)
"""Factors that make the tests of a seed stricter if heights are measured above the local level; see `_local_level`.

The limit `contrast` is multiplied by `LOCAL_FACTOR`, because the local level contains the wing of a star. Each
neighbour's height is increased by `LOCAL_TOLERANCE` times the height of the local level above the background. With
these two changes, no pixel of a star that Tiny Tim simulates is a seed.
"""
STRIP_ROWS = 4 * BLOCK_PX  # number of rows in which seeds are sought at once
MAX_HIGH = 2
"""In the 3x3 square around a seed, at most this many valid pixels, seed included, are at least as high as the seed.

In crowded fields, a pixel in the wing of a star may be sharp, but the pixels of the core are higher.
"""
MAX_SHARE = 0.15  # largest share of an image that rays may cover; with a larger share, no ray is rejected
VALID, RAY, GROWN, TESTED, SATURATED = 1, 2, 3, 5, 7
"""Values of the mask during the detection; `GROWN` and `TESTED` are the results of the current round.

The values of valid pixels outside rays are odd.
"""
RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, in order of rows, then columns."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))
Blocks = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Level and noise of each block, and the lowest noise in the 3x3 blocks around it."""
NO_PLACES = np.empty(0, np.int64)


def reject_cosmic_rays(
    data_yx: NDArray[np.float32],
    valid_yx: NDArray[np.bool_],
    contrast: float,
    saturated: NDArray[np.int64] = NO_PLACES,
    lag_px: int = 1,
) -> RayPixels:
    """Find the pixels that cosmic rays have hit, and set the mask to false at these pixels.

    Background and noise are local; see `background.block_background`. The pixels are found in three steps:

    1. The height of a seed exceeds 6 sigmas of the noise. At most one of its eight neighbours is as high or higher. A
       seed also passes one of two tests: (a) its height exceeds `contrast` times the median height of the 3x3 pixels
       around it; (b) it is the highest of these pixels, and its height exceeds 2.5 * `contrast` times the height of its
       lowest side neighbour. All heights are measured above the background first. If a pixel fails, they are measured
       above the level of the surrounding 5x5 pixels (see `LOCAL_FACTOR`).
    2. A ray grows from its seed over adjacent pixels. A pixel is added if its height exceeds 6 sigmas and also 4 times
       the height of its lowest side neighbour outside rays. The pixel's height must not exceed 1.7 times the height of
       the highest ray pixel beside it. This growth follows tracks that are up to two pixels wide.
    3. A last round with lower limits adds the pixels to which charge has diffused.

    The pixels `saturated` (indices in the flat array), and the pixels above and below these, are never part of a ray.
    """
    from scipy.ndimage import minimum_filter  # noqa: PLC0415 - the import takes 0.1 s, and combined images have no rays

    pixels, mask_yx = pixel_words(data_yx), valid_yx.view(np.uint8)
    flags = mask_yx.reshape(-1)
    levels_yx, noises_yx = block_background(data_yx, valid_yx, lag_px)
    background = levels_yx, noises_yx, minimum_filter(noises_yx, 3, mode="nearest")
    seeds = _find_seeds(data_yx, valid_yx, background, F32(contrast))
    # charge bleeds along columns, so the pixels above and below a saturated pixel are part of a star too
    saturated = (saturated[:, None] + np.array([-1, 0, 1]) * data_yx.shape[1]).clip(0, data_yx.size - 1).ravel()
    saturated = saturated[flags[saturated] == VALID]
    flags[saturated] = SATURATED
    found = [seeds[flags[seeds] == VALID]]
    for limits in ROUNDS:
        flags[found[-1]] = RAY  # marked only after a round, so that the order of pixels has no effect
        touched = np.concatenate(found) if limits == WING else found[-1]
        found.append(_grow(pixels, mask_yx, background, limits, touched))
    places = np.sort(np.concatenate(found))
    are_rays = places.size <= MAX_SHARE * data_yx.size
    flags[saturated] = VALID
    flags[places] = 0 if are_rays else VALID  # the mask has only the values 0 and 1 again
    rows, columns = (part.astype(np.int32) for part in np.divmod(places, data_yx.shape[1]))
    return (rows, columns) if are_rays else NO_RAYS


def _find_seeds(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], background: Blocks, contrast: np.float32
) -> NDArray[np.int64]:
    """Return the places of the seeds in the flat array, int64 (n,)."""
    (height, width), places = data_yx.shape, []
    limits_yx = np.repeat(_least_steepness(SIGNIFICANCE_SIGMA, contrast) * background[2], BLOCK_PX, axis=1)[:, :width]
    for top in range(0, height, STRIP_ROWS):
        # the rows of a strip with a margin of two pixels
        bottom = min(top + STRIP_ROWS, height)
        first, last = max(top - 2, 0), min(bottom + 2, height)
        values_yx = np.full((bottom - top + 4, width + 4), np.inf, np.float32)
        inside_yx = values_yx[first - top + 2 : last - top + 2, 2:-2]
        np.copyto(inside_yx, data_yx[first:last], where=valid_yx[first:last])
        places.append(_seeds_of_strip(values_yx, top, background, limits_yx, contrast))
    return np.concatenate(places)


@compiled
def _least_steepness(sigma: Any, ratio: Any) -> Any:
    """Return the least height difference, in sigmas, from a pixel above the two limits to its lowest side neighbour."""
    return sigma * (F32(1) - F32(1) / ratio) + TOLERANCE_SIGMA


@compiled
def _seeds_of_strip(values_yx: Any, top: Any, background: Any, limits_yx: Any, contrast: Any) -> Any:
    """Return the places of the seeds in a strip that starts at row `top`; `values_yx` has a margin of two pixels."""
    (num_rows, width), num = (len(values_yx) - 4, limits_yx.shape[1]), 0
    places, is_steep, columns = np.empty(num_rows * width, np.int64), empty_flags(width), np.empty(0, np.int64)
    for y in range(num_rows):
        limits = limits_yx[(top + y) // BLOCK_PX]
        above, middle, below = values_yx[y + 1, 2:], values_yx[y + 2, 2:], values_yx[y + 3, 2:]
        left, right = values_yx[y + 2, 1:], values_yx[y + 2, 3:]
        for x in range(width):  # a separate loop, which the compiler can vectorise
            floor = middle[x] - limits[x]
            is_low = (above[x] < floor) | (below[x] < floor) | (left[x] < floor) | (right[x] < floor)
            is_steep[x] = is_low & (middle[x] < F32(np.inf))
        columns, num_steep = append_places(is_steep, 0, columns, 0)
        for x in columns[:num_steep]:
            if _is_seed(values_yx, (y, x), top, background, contrast):
                places[num] = (top + y) * width + x
                num += 1
    return places[:num]


@compiled
def _is_seed(values_yx: Any, where_yx: Any, top: Any, background: Any, contrast: Any) -> Any:
    """Return whether a pixel of a strip is a seed; see `reject_cosmic_rays` for the conditions."""
    y, x = where_yx
    near_yx = values_yx[y : y + 5, x : x + 5]
    num_high = num_invalid = 0
    for dy in range(1, 4):
        for dx in range(1, 4):
            num_high += near_yx[2, 2] <= near_yx[dy, dx]
            num_invalid += near_yx[dy, dx] == F32(np.inf)
    if num_high - num_invalid > MAX_HIGH:
        return False
    (level, noise), local, is_peak = background_at(background, top + y, x), _local_level(near_yx), num_high == 1
    tolerance = TOLERANCE_SIGMA * noise
    if _is_sharp(near_yx, (min(level, local), noise, tolerance), contrast, is_peak):
        return True
    tolerance += LOCAL_TOLERANCE * max(local - level, F32(0))
    return local < F32(np.inf) and _is_sharp(near_yx, (local, noise, tolerance), LOCAL_FACTOR * contrast, is_peak)


@compiled
def _local_level(near_yx: Any) -> Any:
    """Return the median of four means; each is the mean of two opposite pixels on the edge of a 5x5 square."""
    one, two = near_yx[2, 0] + near_yx[2, 4], near_yx[0, 2] + near_yx[4, 2]
    three, four = near_yx[0, 0] + near_yx[4, 4], near_yx[0, 4] + near_yx[4, 0]
    low, high = max(min(one, two), min(three, four)), min(max(one, two), max(three, four))
    return F32(0.25) * (low + high)


@compiled
def _is_sharp(near_yx: Any, base: Any, contrast: Any, is_peak: Any) -> Any:
    """Return whether the central pixel of a 5x5 square is bright and passes one of two tests (`reject_cosmic_rays`)."""
    level, noise, tolerance = base
    height = near_yx[2, 2] - level
    lowest = max(min(near_yx[1, 2], near_yx[3, 2], near_yx[2, 1], near_yx[2, 3]) - level, F32(0))
    # Most pixels fail here: both tests need a low side neighbour.
    if height <= SIGNIFICANCE_SIGMA * noise or height <= contrast * (lowest + tolerance):
        return False
    num_low = 0
    for y in range(1, 4):
        for x in range(1, 4):
            num_low += height > contrast * (max(near_yx[y, x] - level, F32(0)) + tolerance)
    # The median of nine values passes if and only if at least five values pass, so the median is not computed.
    return num_low >= 5 or (is_peak and height > PEAK_FACTOR * contrast * (lowest + tolerance))


@compiled
def _grow(pixels: Any, mask_yx: Any, background: Any, limits: Any, touched: Any) -> Any:
    """Find new ray pixels next to the ray pixels `touched`, mark the new pixels `GROWN`, and return their places."""
    (words_yx, swapped), (height, width), num_grown, num_tested = pixels, mask_yx.shape, 0, 0
    grown, tested = np.empty(8 * touched.size, np.int64), np.empty(8 * touched.size, np.int64)
    lowest_noises_yx, least, near_yx = background[2], _least_steepness(*limits), np.empty((5, 5), F32)
    for place in touched:
        y0, x0 = place // width, place % width
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                if mask_yx[y, x] != VALID:
                    continue
                floor = to_float32(words_yx[y, x], swapped) - least * lowest_noises_yx[y // BLOCK_PX, x // BLOCK_PX]
                num_low = num_sides = 0
                for near_y, near_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= near_y < height and 0 <= near_x < width and mask_yx[near_y, near_x] & 1:
                        num_sides += 1
                        num_low += to_float32(words_yx[near_y, near_x], swapped) < floor
                if (num_low or not num_sides) and _is_growth(pixels, mask_yx, background, limits, (y, x, near_yx)):
                    mask_yx[y, x] = GROWN
                    grown[num_grown] = y * width + x
                    num_grown += 1
                else:
                    mask_yx[y, x] = TESTED
                    tested[num_tested] = y * width + x
                    num_tested += 1
    for place in tested[:num_tested]:
        mask_yx[place // width, place % width] = VALID
    return grown[:num_grown]


@compiled
def _is_growth(pixels: Any, mask_yx: Any, background: Any, limits: Any, where: Any) -> Any:
    """Return whether a valid pixel next to a ray belongs to the ray; see `ROUNDS` and `MAX_RISE` for the conditions.

    `where` is the pixel's row, its column, and an array (5, 5). The array is filled with the surrounding values; values
    of rays and of invalid pixels are infinite. The ratio of heights is not tested if all side neighbours are infinite.
    """
    (words_yx, swapped), (y0, x0, near_yx) = pixels, where
    level, noise = background_at(background, y0, x0)
    lowest, ray = F32(np.inf), F32(-np.inf)
    near_yx[:] = np.inf
    for y in range(max(y0 - 2, 0), min(y0 + 3, mask_yx.shape[0])):
        for x in range(max(x0 - 2, 0), min(x0 + 3, mask_yx.shape[1])):
            value = to_float32(words_yx[y, x], swapped)
            if mask_yx[y, x] & 1:
                near_yx[y - y0 + 2, x - x0 + 2] = value
                lowest = min(lowest, value) if abs(y - y0) + abs(x - x0) == 1 else lowest
            elif mask_yx[y, x] == RAY and abs(y - y0) <= 1 and abs(x - x0) <= 1:
                ray = max(ray, value)
    local, tolerance = _local_level(near_yx), TOLERANCE_SIGMA * noise
    for base in (min(level, local), local):
        height = near_yx[2, 2] - base
        floor = F32(0) if np.isinf(lowest) else max(lowest - base, F32(0)) + tolerance
        if height > limits[0] * noise and height > limits[1] * floor and height <= MAX_RISE * (ray - base):
            return True
    return False
