"""Compiled loops that render the rows of an image as 8-bit levels, and count the bright pixels of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.bad_pixels import (
    BAD_VALUE,
    BLOCK_ROWS,
    NO_REPAIR,
    REACH_PX,
    count_good_neighbours,
    empty_window,
    find_bad_pixels,
    neighbour_medians,
    read_window,
)
from hubbleclip.images.kernels import F32, U32, compiled, exp_asinh, natural_log, to_float32

ROWS_PER_READ = 16
"""Number of rows of a tile that are read at once.

The first rows of most tiles contain enough signal, and then the other rows are not read.
"""


@compiled
def _to_levels(heights: Any, curve: Any, levels: Any) -> None:
    """Convert pixel values to display levels by the stretch, clipped to black and white."""
    _, span, _, per_softening, scale, is_asinh, _ = curve
    for x in range(levels.size):
        height = min(max(heights[x], F32(0)), span)
        curved = natural_log(exp_asinh(F32(height * per_softening))) if is_asinh else height
        levels[x] = np.uint8(min(F32(curved * scale), F32(255)) + F32(0.5))  # the cast truncates, so + 0.5 rounds


@compiled
def render_levels(pixels: Any, good_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    """Render a range of rows as 8-bit levels, and repair bad pixels in the same way as `fill_bad_pixels`.

    Bad pixels that cannot be repaired are rendered at the sky level.
    """
    values_yx = empty_window(BLOCK_ROWS, levels_yx.shape[1])
    for top in range(0, levels_yx.shape[0], BLOCK_ROWS):
        rows = levels_yx[top : top + BLOCK_ROWS]
        read_window(pixels, good_yx, (y0 + top, y0 + top + len(rows), 0, rows.shape[1]), values_yx)
        _render_block(pixels, good_yx, curve, (y0 + top, values_yx), rows)


@compiled
def _render_block(pixels: Any, good_yx: Any, curve: Any, block: Any, levels_yx: Any) -> None:
    """Render a block of rows; see `render_levels`.

    `block` is a pair: the index of the block's first row, and the pixel values that `read_window` has written.
    """
    (y0, values_yx), (num_rows, width) = block, levels_yx.shape
    black, sky_height, min_good = curve[0], curve[2], curve[6]
    heights = np.empty(width, F32)
    for row in range(num_rows):
        values = values_yx[row + REACH_PX, REACH_PX:]
        for x in range(width):
            heights[x] = F32(values[x] - black) if values[x] < BAD_VALUE else sky_height
        _to_levels(heights, curve, levels_yx[row])
    if min_good < NO_REPAIR:  # a second pass renders the few repaired pixels
        rows, columns = find_bad_pixels(good_yx, y0, y0 + num_rows, min_good)
        filled = np.empty(rows.size, np.uint8)
        heights = neighbour_medians(values_yx, rows - y0, columns) - black
        _to_levels(heights, curve, filled)
        for k in range(rows.size):
            levels_yx[rows[k] - y0, columns[k]] = filled[k]


@compiled
def count_valid(masks: Any, window: Any) -> Any:
    """Count the valid pixels of a window: the good pixels and those that cosmic rays have hit."""
    (y0, x0, side), good_yx = window, masks[0].view(np.uint8)
    num_valid: Any = 0
    for y in range(max(y0, 0), min(y0 + side, good_yx.shape[0])):
        # A 32-bit sum per row vectorises better than one 64-bit sum.
        good, in_row = good_yx[y, max(x0, 0) : min(x0 + side, good_yx.shape[1])], U32(0)
        for k in range(good.size):
            in_row = U32(in_row + good[k])
        num_valid += in_row
    for k in range(np.searchsorted(masks[1], y0), np.searchsorted(masks[1], y0 + side)):  # rays are sorted by row
        num_valid += x0 <= masks[2][k] < x0 + side
    return num_valid


@compiled
def _read_heights(pixels: Any, masks: Any, start: Any, limits: Any, output: Any) -> None:
    """Read a range of rows of a window as heights: pixel values minus the sky level, limited to a ceiling."""
    (words_yx, swapped), (good_yx, ray_rows, ray_columns) = pixels, masks
    (y0, x0), (heights_yx, valid_yx), (sky, ceiling, min_good) = start, output, limits
    num_rows, side = heights_yx.shape
    top, bottom = max(y0, 0), min(y0 + num_rows, good_yx.shape[0])
    left, right = max(x0, 0), min(x0 + side, good_yx.shape[1])
    heights_yx[:], valid_yx[:] = F32(0), False
    for y in range(top, bottom):
        words, good = words_yx[y, left:right], good_yx[y, left:right]
        heights, valid = heights_yx[y - y0, left - x0 :], valid_yx[y - y0, left - x0 :]
        for x in range(words.size):
            heights[x] = min(F32(to_float32(words[x], swapped) - sky), ceiling) if good[x] else F32(0)
            valid[x] = good[x]
    # A pixel that a cosmic ray has hit counts as valid. Its value is the one from the repair, or the measured one if
    # the pixel cannot be repaired.
    rays = slice(np.searchsorted(ray_rows, top), np.searchsorted(ray_rows, bottom))
    inside = (ray_columns[rays] >= left) & (ray_columns[rays] < right)
    rows, columns = ray_rows[rays][inside], ray_columns[rays][inside]
    if rows.size:
        values_yx = empty_window(bottom - top, right - left)
        read_window(pixels, good_yx, (top, bottom, left, right), values_yx)
        medians = neighbour_medians(values_yx, rows - top, columns - left)
        for k in range(rows.size):
            y, x = rows[k], columns[k]
            is_filled = count_good_neighbours(good_yx, y, x) >= min_good
            value = medians[k] if is_filled else to_float32(words_yx[y, x], swapped)
            heights_yx[y - y0, x - x0] = min(F32(value - sky), ceiling)
            valid_yx[y - y0, x - x0] = True


@compiled
def count_bright(pixels: Any, masks: Any, window: Any, limits: Any, enough: Any) -> Any:
    """Count the valid pixels of a window whose 3x3 mean is above the threshold."""
    y0, x0, side = window
    sky, ceiling, threshold, min_good = limits
    heights_yx, valid_yx, sums = np.empty((side, side), F32), np.empty((side, side), np.bool_), np.empty(side + 2, F32)
    num_read = num_bright = 0
    for y in range(side):
        if num_read < min(y + 2, side):  # the 3x3 mean also uses the next row
            read = slice(num_read, min(num_read + ROWS_PER_READ, side))
            output = (heights_yx[read], valid_yx[read])
            _read_heights(pixels, masks, (y0 + num_read, x0), (sky, ceiling, min_good), output)
            num_read += len(heights_yx[read])
        above, middle, below = heights_yx[max(y - 1, 0)], heights_yx[y], heights_yx[min(y + 1, side - 1)]
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]  # the outermost columns are repeated
        valid = valid_yx[y]
        for x in range(side):
            num_bright += ((sums[x] + sums[x + 1] + sums[x + 2]) * F32(1 / 9) > threshold) & valid[x]
        if num_bright >= enough:
            break
    return num_bright


@compiled
def count_signal(pixels: Any, masks: Any, places: Any, limits: Any, enough_share: Any) -> Any:
    """Count the valid pixels of each window, and how many of them are bright."""
    starts_yx, side = places
    num_valid, num_bright = np.empty(len(starts_yx), np.int64), np.empty(len(starts_yx), np.int64)
    for k in range(len(starts_yx)):
        window = starts_yx[k, 0], starts_yx[k, 1], side
        num_valid[k] = count_valid(masks, window)
        num_bright[k] = count_bright(pixels, masks, window, limits, int(enough_share * num_valid[k]) + 1)
    return num_valid, num_bright
