"""Compiled loops that render an image's rows as 8-bit levels, and count the bright pixels of a tile."""

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
"""Rows of a tile read at a time: in most tiles the first ones show enough signal, and the rest need not be read."""


@compiled
def _to_levels(heights: Any, curve: Any, levels: Any) -> None:
    """Apply the stretch to heights, clipped to black and white.

    Parameters
    ----------
    heights : float32 (n,)
        Above black, in the image's unit.
    curve : tuple
        See `render_levels`.
    levels : uint8 (n,), written
    """
    _, span, _, per_softening, scale, is_asinh, _ = curve
    for x in range(levels.size):
        height = min(max(heights[x], F32(0)), span)
        curved = natural_log(exp_asinh(F32(height * per_softening))) if is_asinh else height
        levels[x] = np.uint8(min(F32(curved * scale), F32(255)) + F32(0.5))  # the cast truncates: rounds to nearest


@compiled
def render_levels(pixels: Any, good_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    """Render some rows as 8-bit levels in one pass, repairing bad pixels on the way as `fill_bad_pixels` does.

    Bad pixels that cannot be repaired become sky.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `kernels.pixel_words`.
    good_yx : bool (h, w)
    curve : tuple
        From `stretch.curve_parameters`. float32: black, white - black and sky - black, in the image's unit;
        1 / softening; levels per unit of the curve. bool: whether the curve is asinh, else linear. int: good
        neighbours that a repair needs.
    y0 : int
        First row.
    levels_yx : uint8 (n, w), written
        Rows `y0` to `y0 + n - 1`.
    """
    values_yx = empty_window(BLOCK_ROWS, levels_yx.shape[1])
    for top in range(0, levels_yx.shape[0], BLOCK_ROWS):
        rows = levels_yx[top : top + BLOCK_ROWS]
        read_window(pixels, good_yx, (y0 + top, y0 + top + len(rows), 0, rows.shape[1]), values_yx)
        _render_block(pixels, good_yx, curve, (y0 + top, values_yx), rows)


@compiled
def _render_block(pixels: Any, good_yx: Any, curve: Any, block: Any, levels_yx: Any) -> None:
    """Render a block of rows, given as its first row and the values from `read_window`; see `render_levels`."""
    (y0, values_yx), (num_rows, width) = block, levels_yx.shape
    black, sky_height, min_good = curve[0], curve[2], curve[6]
    heights = np.empty(width, F32)
    for row in range(num_rows):
        values = values_yx[row + REACH_PX, REACH_PX:]
        for x in range(width):
            heights[x] = F32(values[x] - black) if values[x] < BAD_VALUE else sky_height
        _to_levels(heights, curve, levels_yx[row])
    if min_good < NO_REPAIR:  # second pass over the few repaired pixels
        rows, columns = find_bad_pixels(good_yx, y0, y0 + num_rows, min_good)
        filled = np.empty(rows.size, np.uint8)
        heights = neighbour_medians(values_yx, rows - y0, columns) - black
        _to_levels(heights, curve, filled)
        for k in range(rows.size):
            levels_yx[rows[k] - y0, columns[k]] = filled[k]


@compiled
def count_valid(masks: Any, window: Any) -> Any:
    """Count the valid pixels of a window: good ones and cosmic rays.

    Parameters
    ----------
    masks : bool (h, w), int32 (r,), int32 (r,)
        Good pixels, and the rows and columns of cosmic rays.
    window : (y0, x0, side)
        May extend beyond the image.

    Returns
    -------
    num_valid : int
    """
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
    """Read heights above the sky of some rows of a window.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `kernels.pixel_words`.
    masks : tuple
        See `count_bright`.
    start : (y0, x0)
        First pixel of the rows; may be outside the image.
    limits : (sky, ceiling, min_good)
        Sky and the greatest height, float32 in the image's unit; good neighbours that a repair needs, int.
    output : float32 (n, side) and bool (n, side), written
        Heights and which pixels are valid; heights are 0 where not valid or outside the image.
    """
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
    # Cosmic rays count as valid pixels with the value of their repair, or their own where there is none.
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
    """Count the valid pixels of a window whose 3x3 mean is above the threshold.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `kernels.pixel_words`.
    masks : bool (h, w), int32 (r,), int32 (r,)
        Good pixels, and the rows and columns of cosmic rays, which are valid with the value of their repair.
    window : (y0, x0, side)
        May extend beyond the image.
    limits : (sky, ceiling, threshold, min_good)
        Sky, the greatest height above it that counts, and the least mean height of a bright pixel, float32 in the
        image's unit; good neighbours that a repair needs, int.
    enough : int
        Counting stops after the row in which this number is reached.

    Returns
    -------
    num_bright : int
    """
    y0, x0, side = window
    sky, ceiling, threshold, min_good = limits
    heights_yx, valid_yx, sums = np.empty((side, side), F32), np.empty((side, side), np.bool_), np.empty(side + 2, F32)
    num_read = num_bright = 0
    for y in range(side):
        if num_read < min(y + 2, side):  # the 3x3 mean needs the next row too
            read = slice(num_read, min(num_read + ROWS_PER_READ, side))
            output = (heights_yx[read], valid_yx[read])
            _read_heights(pixels, masks, (y0 + num_read, x0), (sky, ceiling, min_good), output)
            num_read += len(heights_yx[read])
        above, middle, below = heights_yx[max(y - 1, 0)], heights_yx[y], heights_yx[min(y + 1, side - 1)]
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]  # the window's edge is repeated
        valid = valid_yx[y]
        for x in range(side):
            num_bright += ((sums[x] + sums[x + 1] + sums[x + 2]) * F32(1 / 9) > threshold) & valid[x]
        if num_bright >= enough:
            break
    return num_bright


@compiled
def count_signal(pixels: Any, masks: Any, places: Any, limits: Any, enough_share: Any) -> Any:
    """Count the valid pixels of each window, and how many of them are bright.

    Parameters
    ----------
    pixels, masks, limits
        As for `count_bright`.
    places : int64 (n, 2) and int
        (y0, x0) of each window, and their side.
    enough_share : float
        Counting stops where more than this share of a window's valid pixels is bright.

    Returns
    -------
    num_valid, num_bright : int64 (n,)
    """
    starts_yx, side = places
    num_valid, num_bright = np.empty(len(starts_yx), np.int64), np.empty(len(starts_yx), np.int64)
    for k in range(len(starts_yx)):
        window = starts_yx[k, 0], starts_yx[k, 1], side
        num_valid[k] = count_valid(masks, window)
        num_bright[k] = count_bright(pixels, masks, window, limits, int(enough_share * num_valid[k]) + 1)
    return num_valid, num_bright
