"""Cosmic rays and hot pixels of a CCD exposure, told from stars by their sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import compiled, pixel_words, value_of

SIGNIFICANCE_SIGMA = 6.0
TOLERANCE_SIGMA = 1.5
MEDIAN_CONTRAST = 5.0
SEED_CONTRAST = 15.0
GROWTH_CONTRAST = 4.0
MAX_ROUNDS = 12
MAX_SHARE = 0.15
BLOCK_PX = 16
VALID, RAY, GROWN = 1, 2, 3
"""What a mask holds while rays are sought: a ray is still valid. A mask of its own would be a quarter of the image."""

Rays = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns of the pixels of cosmic rays, row by row."""
NO_RAYS: Rays = (np.empty(0, np.int32), np.empty(0, np.int32))


def take_out_rays(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float) -> Rays:
    """Clear `valid_yx` at pixels that are too sharp to have come through the telescope; where these are.

    A seed rises above the sky by 6 noise sigmas and by 5 times the median of its 3x3, or is the peak of its 3x3 and 15
    times its lowest neighbour: no star does, since the point-spread function fills the 3x3. From seeds the mask grows
    over touching pixels that are 4 times their lowest unmasked neighbour, along tracks up to two pixels wide. It is the
    idea of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) made safe for HST's undersampled stars, whose cores that method
    eats. A mask of over 15 % of the image means sparse photons rather than rays, and is dropped.
    """
    limits = (
        np.float32(sky + SIGNIFICANCE_SIGMA * noise),
        np.float32(sky),
        np.float32(SIGNIFICANCE_SIGMA * noise),
        np.float32(MEDIAN_CONTRAST),
        np.float32(SEED_CONTRAST),
        np.float32(TOLERANCE_SIGMA * noise),
        np.float32(GROWTH_CONTRAST),
    )
    most = int(MAX_SHARE * data_yx.size)
    rows, columns = _take_out_rays(pixel_words(data_yx), valid_yx.view(np.uint8), limits, MAX_ROUNDS, most)
    return rows, columns


@compiled
def _height(pixels: Any, valid_yx: Any, sky: Any, y: Any, x: Any) -> Any:
    """A pixel's height above the sky; 0 where it is not valid or outside."""
    words_yx, swapped = pixels
    if 0 <= y < words_yx.shape[0] and 0 <= x < words_yx.shape[1] and valid_yx[y, x]:
        return np.float32(value_of(words_yx[y, x], swapped) - sky)
    return np.float32(0)


@compiled
def _heights_of_row(pixels: Any, valid_yx: Any, sky: Any, y: Any, heights: Any) -> None:
    """Heights of a row, with a rim of one pixel on each side; see `_height`."""
    heights[:] = np.float32(0)
    if 0 <= y < valid_yx.shape[0]:
        words, valid, inside = pixels[0][y], valid_yx[y], heights[1:-1]
        for x in range(words.size):
            inside[x] = np.float32(value_of(words[x], pixels[1]) - sky) if valid[x] else np.float32(0)


@compiled
def _is_low(near: Any, height: Any, limits: Any) -> Any:
    """Whether a seed of a height would stand out, were this neighbour the median of its 3x3."""
    level = near if near > np.float32(0) else np.float32(0)
    margin = np.float32(height - level)
    return np.int32((margin > np.float32(limits[3] * level)) & (margin > limits[2]))


@compiled
def _mark_seeds_of_block(rows: Any, limits: Any, is_seed: Any) -> None:
    """Clear `is_seed` where the middle of three rows of heights has none. The median of nine is low where five are."""
    above, middle, below = rows
    peak_contrast, tolerance = limits[4], limits[5]
    for k in range(BLOCK_PX):
        height = middle[k + 1]
        a, b, c, d = above[k], above[k + 1], above[k + 2], middle[k]
        e, f, g, h = middle[k + 2], below[k], below[k + 1], below[k + 2]
        num_low = _is_low(a, height, limits) + _is_low(b, height, limits) + _is_low(c, height, limits)
        num_low += _is_low(d, height, limits) + _is_low(height, height, limits) + _is_low(e, height, limits)
        num_low += _is_low(f, height, limits) + _is_low(g, height, limits) + _is_low(h, height, limits)
        is_peak = (a <= height) & (b <= height) & (c <= height) & (d <= height)
        is_peak &= (e <= height) & (f <= height) & (g <= height) & (h <= height)
        lower, left_right = b if b < g else g, d if d < e else e
        lowest = lower if lower < left_right else left_right
        floor = np.float32((lowest if lowest > np.float32(0) else np.float32(0)) + tolerance)
        is_seed[k] &= (num_low >= 5) | (is_peak & (height > np.float32(peak_contrast * floor)))


@compiled
def _is_growth(pixels: Any, mask_yx: Any, limits: Any, place: Any) -> Any:
    y, x = place
    sky, tolerance, growth_contrast = limits[1], limits[5], limits[6]
    lowest = np.float32(np.inf)
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        row, column = y + dy, x + dx
        inside = 0 <= row < mask_yx.shape[0] and 0 <= column < mask_yx.shape[1]
        if not (inside and mask_yx[row, column] == RAY):
            lowest = min(lowest, _height(pixels, mask_yx, sky, row, column))
    floor = np.float32(0) if np.isinf(lowest) else np.float32(max(lowest, np.float32(0)) + tolerance)
    return _height(pixels, mask_yx, sky, y, x) > growth_contrast * floor


@compiled
def _mark_candidates(pixels: Any, valid_yx: Any, threshold: Any, y: Any, is_seed: Any) -> None:
    words, valid = pixels[0][y], valid_yx[y]
    for x in range(words.size):
        is_seed[x] = (value_of(words[x], pixels[1]) > threshold) & valid[x]


@compiled
def _seeds(pixels: Any, valid_yx: Any, limits: Any) -> Any:
    """Seeds as (y, x); only blocks of pixels that hold one bright enough are looked at."""
    height, width = valid_yx.shape
    room = -(-width // BLOCK_PX) * BLOCK_PX
    seeds, num_seeds = np.empty((2 * width + BLOCK_PX, 2), np.int32), 0
    above, middle = np.zeros(room + 2, np.float32), np.zeros(room + 2, np.float32)
    below, is_seed = np.zeros(room + 2, np.float32), np.zeros(room, np.uint8)
    _heights_of_row(pixels, valid_yx, limits[1], 0, below[: width + 2])
    for y in range(height):
        above, middle, below = middle, below, above
        _heights_of_row(pixels, valid_yx, limits[1], y + 1, below[: width + 2])
        _mark_candidates(pixels, valid_yx, limits[0], y, is_seed)
        if num_seeds + width > len(seeds):
            seeds = np.concatenate((seeds, seeds))
        for x0 in range(0, width, BLOCK_PX):
            block = is_seed[x0 : x0 + BLOCK_PX]
            if _count_block(block) == 0:
                continue
            near = slice(x0, x0 + BLOCK_PX + 2)
            _mark_seeds_of_block((above[near], middle[near], below[near]), limits, block)
            for k in range(BLOCK_PX):
                seeds[num_seeds, 0], seeds[num_seeds, 1] = y, x0 + k
                num_seeds += block[k]
    return seeds[:num_seeds]


@compiled
def _count_block(flags: Any) -> Any:
    num = np.uint8(0)
    for k in range(BLOCK_PX):
        num = np.uint8(num + flags[k])
    return num


@compiled
def _take_out_rays(pixels: Any, mask_yx: Any, limits: Any, num_rounds: Any, most: Any) -> Any:
    """Clear `mask_yx` (uint8, 1 where valid) at seeds and where they grow, unless these are more than `most`; rows and
    columns of what is cleared. `limits` are threshold, sky, rise, contrasts of median and peak, tolerance and the
    contrast of growth.
    """
    num_rays = _mark_rays(pixels, mask_yx, limits, num_rounds)
    taken = num_rays if num_rays <= most else 0
    rows, columns = np.empty(taken + 1, np.int32), np.empty(taken + 1, np.int32)
    found, cleared = 0, np.uint8(0 if taken else VALID)
    for y in range(mask_yx.shape[0]):
        mask = mask_yx[y]
        for x0 in range(0, mask.size, BLOCK_PX):
            marks = np.uint8(0)
            block = mask[x0 : x0 + BLOCK_PX]
            for k in range(block.size):
                marks |= block[k]
            if marks <= VALID:
                continue
            for k in range(block.size):
                is_ray = block[k] == RAY
                block[k] = cleared if is_ray else block[k]
                if taken:
                    rows[found], columns[found] = y, x0 + k
                    found += is_ray
    return rows[:found], columns[:found]


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, limits: Any, num_rounds: Any) -> Any:
    """Set `mask_yx` to `RAY` at seeds and where they grow; return how many there are."""
    words_yx, swapped = pixels
    height, width = words_yx.shape
    fresh, num_rays = _seeds(pixels, mask_yx, limits), 0
    for _ in range(num_rounds):
        for k in range(len(fresh)):
            mask_yx[fresh[k, 0], fresh[k, 1]] = RAY
        num_rays += len(fresh)
        grown, num_grown = np.empty((8 * len(fresh), 2), np.int32), 0
        for k in range(len(fresh)):
            y0, x0 = fresh[k, 0], fresh[k, 1]
            for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
                for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                    if mask_yx[y, x] != VALID or not value_of(words_yx[y, x], swapped) > limits[0]:
                        continue
                    if _is_growth(pixels, mask_yx, limits, (y, x)):
                        mask_yx[y, x] = GROWN
                        grown[num_grown, 0], grown[num_grown, 1] = y, x
                        num_grown += 1
        fresh = grown[:num_grown]
    for k in range(len(fresh)):
        mask_yx[fresh[k, 0], fresh[k, 1]] = VALID
    return num_rays
