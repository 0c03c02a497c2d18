"""Cosmic rays and hot pixels of a CCD exposure, told from stars by their sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.bad_pixels import list_words
from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import pixel_words, value_of

SIGNIFICANCE_SIGMA = 6.0
TOLERANCE_SIGMA = 1.5
MEDIAN_CONTRAST = 5.0
SEED_CONTRAST = 15.0
GROWTH_CONTRAST = 4.0
MAX_ROUNDS = 12
MAX_SHARE = 0.15
BLOCK_PX = 16
VALID, RAY, GROWN = 1, 2, 3
WORD_BYTES, EVERY_RAY = 8, np.uint64(0x0202020202020202)
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
def _read_row(pixels: Any, mask_yx: Any, limits: Any, y: Any, room: Any) -> None:
    """Heights of a row above the sky, 0 where it is not valid, with a rim of one pixel on each side; and where it is
    bright enough for a seed. A row outside has neither.
    """
    heights, is_bright = room
    heights[:], is_bright[:] = np.float32(0), 0
    if 0 <= y < mask_yx.shape[0]:
        words, mask, inside = pixels[0][y], mask_yx[y], heights[1:]
        for x in range(words.size):
            value, is_valid = value_of(words[x], pixels[1]), mask[x] != 0
            inside[x] = np.float32(value - limits[1]) if is_valid else np.float32(0)
            is_bright[x] = (value > limits[0]) & is_valid


@compiled
def _is_low(near: Any, height: Any, contrast: Any, rise: Any) -> Any:
    """1 where a seed of a height would stand out, were this neighbour the median of its 3x3, else 0."""
    level = near if near > np.float32(0) else np.float32(0)
    margin = np.float32(height - level)
    return np.uint8((margin > np.float32(contrast * level)) & (margin > rise))


@compiled
def _keep_seeds(rows: Any, limits: Any, start: Any, stop: Any, is_seed: Any) -> None:
    """Clear `is_seed` from `start` to before `stop` where the middle of three rows of heights has none.

    The median of nine is low where five are. Counted in bytes the loop becomes vector instructions.
    """
    near, kept = slice(start, stop + 2), is_seed[start:stop]
    above, middle, below = rows[0][near], rows[1][near], rows[2][near]
    rise, contrast, peak_contrast, tolerance = limits[2], limits[3], limits[4], limits[5]
    for k in range(kept.size):
        height = middle[k + 1]
        a, b, c, d = above[k], above[k + 1], above[k + 2], middle[k]
        e, f, g, h = middle[k + 2], below[k], below[k + 1], below[k + 2]
        num_low = _is_low(a, height, contrast, rise) + _is_low(b, height, contrast, rise)
        num_low += _is_low(c, height, contrast, rise) + _is_low(d, height, contrast, rise)
        num_low += _is_low(e, height, contrast, rise) + _is_low(f, height, contrast, rise)
        num_low += _is_low(g, height, contrast, rise) + _is_low(h, height, contrast, rise)
        num_low += _is_low(height, height, contrast, rise)
        is_peak = (a <= height) & (b <= height) & (c <= height) & (d <= height)
        is_peak &= (e <= height) & (f <= height) & (g <= height) & (h <= height)
        lower, left_right = b if b < g else g, d if d < e else e
        lowest = lower if lower < left_right else left_right
        floor = np.float32((lowest if lowest > np.float32(0) else np.float32(0)) + tolerance)
        kept[k] &= np.uint8((num_low >= 5) | (is_peak & (height > np.float32(peak_contrast * floor))))


@compiled
def _neighbour(pixels: Any, mask_yx: Any, sky: Any, y: Any, x: Any) -> Any:
    """A pixel's height above the sky, infinite for a ray, which does not count; 0 where it is not valid or outside. It
    is told without a branch: which it is changes from pixel to pixel.
    """
    words_yx, swapped = pixels
    height, width = words_yx.shape
    row, column = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    mark = mask_yx[row, column] if (row == y) & (column == x) else np.uint8(0)
    above_sky = np.float32(value_of(words_yx[row, column], swapped) - sky)
    above_sky = above_sky if mark != 0 else np.float32(0)
    return np.float32(np.inf) if mark == RAY else above_sky


@compiled
def _is_growth(pixels: Any, mask_yx: Any, limits: Any, y: Any, x: Any) -> Any:
    """Whether a valid pixel that touches a ray is one too."""
    sky, tolerance, growth_contrast = limits[1], limits[5], limits[6]
    above, below = _neighbour(pixels, mask_yx, sky, y - 1, x), _neighbour(pixels, mask_yx, sky, y + 1, x)
    left, right = _neighbour(pixels, mask_yx, sky, y, x - 1), _neighbour(pixels, mask_yx, sky, y, x + 1)
    lowest = min(above, below, left, right)
    floor = np.float32(0) if np.isinf(lowest) else np.float32(max(lowest, np.float32(0)) + tolerance)
    return np.float32(value_of(pixels[0][y, x], pixels[1]) - sky) > growth_contrast * floor


@compiled
def _seeds_of_row(rows: Any, limits: Any, flags: Any, mask: Any) -> Any:
    """Mark the seeds among the bright pixels of the middle row as rays; returns how many. `flags` are where the row is
    bright, room for where a seed is, and, with a rim, for where it is bright without one.
    """
    bright, is_seed, rest = flags
    for x in range(is_seed.size):
        is_seed[x] = bright[x]
    halves, inside, num_seeds = is_seed.view(np.uint64), rest[1:], np.uint32(0)
    for block in range(halves.size // 2):
        if halves[2 * block] | halves[2 * block + 1]:
            _keep_seeds(rows, limits, BLOCK_PX * block, BLOCK_PX * (block + 1), is_seed)
    for x in range(is_seed.size):
        inside[x] = bright[x] ^ is_seed[x]
    for x in range(mask.size):
        mask[x] += is_seed[x]  # VALID becomes RAY
        num_seeds = np.uint32(num_seeds + is_seed[x])
    return num_seeds


@compiled
def _grow(pixels: Any, mask_yx: Any, limits: Any, rays: Any, grown: Any) -> Any:
    """List what touches `rays` and belongs to them; returns how many are listed. `grown` has room."""
    words_yx, swapped = pixels
    height, width = words_yx.shape
    num_grown = 0
    for k in range(len(rays)):
        y0, x0 = rays[k, 0], rays[k, 1]
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                is_bright = (value_of(words_yx[y, x], swapped) > limits[0]) & (mask_yx[y, x] == VALID)
                if is_bright and _is_growth(pixels, mask_yx, limits, y, x):
                    mask_yx[y, x] = GROWN
                    grown[num_grown, 0], grown[num_grown, 1] = y, x
                    num_grown += 1
    return num_grown


@compiled
def _touching(y: Any, is_seed: Any, rest: Any, room: Any, places: Any) -> Any:
    """List the seeds of a row as y, x that touch a bright pixel which is none; returns how many: a few. `rest` are
    three rows of such pixels, with a rim; `room` is for where such seeds are, and for the words that hold them.
    """
    (above, middle, below), (touches, listed), found = rest, room, 0
    for x in range(is_seed.size):
        near = above[x] | above[x + 1] | above[x + 2] | middle[x] | middle[x + 2]
        touches[x] = is_seed[x] & (near | below[x] | below[x + 1] | below[x + 2])
    for k in range(list_words(touches.view(np.uint64), listed)):
        for x in range(WORD_BYTES * listed[k], WORD_BYTES * (listed[k] + 1)):
            places[found, 0], places[found, 1] = y, x
            found += touches[x]
    return found


@compiled
def _with_room(places: Any, num: Any) -> Any:
    """The array, or a longer one with the same beginning, that has room for `num` places."""
    while num > len(places):
        places = np.concatenate((places, places))
    return places


@compiled
def _mark_seeds(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """Mark seeds as rays; returns how many, and the first pixels that grow from them.

    Seeds grow once those of the two rows below are marked, while a processor's cache still holds their rows.
    """
    height, width = mask_yx.shape
    room = -(-width // BLOCK_PX) * BLOCK_PX
    heights, rest = np.zeros((3, room + 2), np.float32), np.zeros((4, room + 2), np.uint8)
    bright, is_seed = np.zeros((2, room), np.uint8), np.zeros((3, room), np.uint8)
    touching, grown = np.empty((room + 1, 2), np.int32), np.empty((2 * width, 2), np.int32)
    touches, listed = np.empty(room, np.uint8), np.empty(room // WORD_BYTES + 1, np.int64)
    num_seeds = num_grown = 0
    _read_row(pixels, mask_yx, limits, 0, (heights[0], bright[0]))
    for y in range(height + 2):
        _read_row(pixels, mask_yx, limits, y + 1, (heights[(y + 1) % 3], bright[(y + 1) % 2]))
        rows = heights[(y - 1) % 3], heights[y % 3], heights[(y + 1) % 3]
        flags = bright[y % 2], is_seed[y % 3], rest[y % 4]
        num_seeds += _seeds_of_row(rows, limits, flags, mask_yx[min(y, height - 1)])
        if y >= 2:
            near = rest[(y - 3) % 4], rest[(y - 2) % 4], rest[(y - 1) % 4]
            fresh = touching[: _touching(y - 2, is_seed[(y - 2) % 3], near, (touches, listed), touching)]
            grown = _with_room(grown, num_grown + 8 * len(fresh))
            num_grown += _grow(pixels, mask_yx, limits, fresh, grown[num_grown:])
    return num_seeds, grown[:num_grown]


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, limits: Any, num_rounds: Any) -> Any:
    """Set `mask_yx` to `RAY` at seeds and where they grow; return how many there are."""
    num_rays, fresh = _mark_seeds(pixels, mask_yx, limits)
    for _ in range(num_rounds - 1):
        for k in range(len(fresh)):
            mask_yx[fresh[k, 0], fresh[k, 1]] = RAY
        num_rays += len(fresh)
        grown = np.empty((8 * len(fresh), 2), np.int32)
        fresh = grown[: _grow(pixels, mask_yx, limits, fresh, grown)]
    for k in range(len(fresh)):
        mask_yx[fresh[k, 0], fresh[k, 1]] = VALID
    return num_rays


@compiled
def _take_out_rays(pixels: Any, mask_yx: Any, limits: Any, num_rounds: Any, most: Any) -> Any:
    """Clear `mask_yx` (uint8, 1 where valid) at seeds and where they grow, unless these are more than `most`; rows and
    columns of what is cleared. `limits` are threshold, sky, rise, contrasts of median and peak, tolerance and the
    contrast of growth.
    """
    num_rays = _mark_rays(pixels, mask_yx, limits, num_rounds)
    rows, columns = np.empty(num_rays + 1, np.int32), np.empty(num_rays + 1, np.int32)
    mask, width, cleared = mask_yx.reshape(-1), mask_yx.shape[1], np.uint8(0 if num_rays <= most else VALID)
    num_words, found, y = mask.size // WORD_BYTES, 0, 0
    words = mask[: WORD_BYTES * num_words].view(np.uint64)
    for word in range(num_words + 1):
        if word < num_words and not words[word] & EVERY_RAY:
            continue
        for place in range(WORD_BYTES * word, min(WORD_BYTES * (word + 1), mask.size)):
            while place >= (y + 1) * width:
                y += 1
            is_ray = mask[place] == RAY
            mask[place] = cleared if is_ray else mask[place]
            rows[found], columns[found] = y, place - y * width
            found += is_ray
    found = 0 if cleared else found
    return rows[:found], columns[:found]
