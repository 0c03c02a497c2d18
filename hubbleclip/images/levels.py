"""The loops that make levels of an image's rows, and tell whether a tile shows anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.holes import NEVER, ROWS_A_STEP, holes_of
from hubbleclip.images.kernels import F32, asinh_of, compiled, value_of

ROWS_AT_FIRST = 16
"""Rows looked at by and by: most tiles show enough in their first."""


@compiled
def _level(height: Any, curve: Any) -> Any:
    """Level of a height above black, clipped to black and white; see `levels_of_rows`."""
    span, per_softening, scale, is_asinh = curve[1], curve[3], curve[4], curve[5]
    clipped = min(max(height, F32(0)), span)
    curved = asinh_of(F32(clipped * per_softening)) if is_asinh else clipped
    return np.uint8(min(F32(curved * scale), F32(255)) + F32(0.5))


@compiled
def levels_of_rows(pixels: Any, sound_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    """8-bit levels of the rows from `y0` on, as many as `levels_yx` has: from the file's words in one pass.

    `curve` is black, white - black, the sky's height above black, 1 / softening, the levels a unit of the curve,
    whether it is asinh or a line, and `least`. Holes are filled as by `fill_holes`; what else is not sound is sky.
    """
    for top in range(0, levels_yx.shape[0], ROWS_A_STEP):
        _levels_of_step(pixels, sound_yx, curve, y0 + top, levels_yx[top : top + ROWS_A_STEP])


@compiled
def _levels_of_step(pixels: Any, sound_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    words_yx, swapped = pixels
    num_rows, width = levels_yx.shape
    black, blank, least = curve[0], curve[2], curve[6]
    for row in range(num_rows):
        words, sound, levels = words_yx[y0 + row], sound_yx[y0 + row], levels_yx[row]
        for x in range(width):
            height = F32(value_of(words[x], swapped) - black) if sound[x] else blank
            levels[x] = _level(height, curve)
    if least < NEVER:
        rows, columns, medians = holes_of(pixels, sound_yx, (y0, y0 + num_rows, 0, width), least)
        filled = np.empty(medians.size, np.uint8)
        for k in range(medians.size):
            filled[k] = _level(F32(medians[k] - black), curve)
        for k in range(rows.size):
            levels_yx[rows[k] - y0, columns[k]] = filled[k]


@compiled
def count_valid(valid_yx: Any, window: Any) -> Any:
    """How many pixels of a window are valid; see `count_bright`."""
    y0, x0, side = window
    num_valid = 0
    for y in range(max(y0, 0), min(y0 + side, valid_yx.shape[0])):
        valid = valid_yx[y, max(x0, 0) : min(x0 + side, valid_yx.shape[1])]
        for k in range(valid.size):
            num_valid += valid[k]
    return num_valid


@compiled
def _heights_of_row(pixels: Any, valid_yx: Any, place: Any, limits: Any, heights: Any) -> None:
    """Heights of the pixels from a place on above the sky, at most the ceiling; 0 if not valid or outside."""
    words_yx, swapped = pixels
    y, x0 = place
    sky, ceiling = limits[0], limits[1]
    heights[:] = F32(0)
    if 0 <= y < words_yx.shape[0]:
        words, valid = words_yx[y], valid_yx[y]
        for x in range(max(x0, 0), min(x0 + heights.size, words.size)):
            heights[x - x0] = min(F32(value_of(words[x], swapped) - sky), ceiling) if valid[x] else F32(0)


@compiled
def _heights_of_rows(pixels: Any, masks: Any, place: Any, limits: Any, heights_yx: Any) -> None:
    """Heights of some rows as of one, those of rays filled."""
    valid_yx, sound_yx = masks
    y0, x0 = place
    num_rows, side = heights_yx.shape
    for row in range(num_rows):
        _heights_of_row(pixels, valid_yx, (y0 + row, x0), limits, heights_yx[row])
    inside_y, inside_x = (
        (max(y0, 0), min(y0 + num_rows, valid_yx.shape[0])),
        (max(x0, 0), min(x0 + side, valid_yx.shape[1])),
    )
    rows, columns, medians = holes_of(pixels, sound_yx, inside_y + inside_x, limits[3])
    for k in range(rows.size):
        y, x = rows[k], columns[k]
        if valid_yx[y, x]:
            heights_yx[y - y0, x - x0] = min(F32(medians[k] - limits[0]), limits[1])


@compiled
def count_bright(pixels: Any, masks: Any, window: Any, limits: Any, enough: Any) -> Any:
    """How many valid pixels of a window have a 3x3 mean above the threshold; stops counting at `enough`.

    `masks` are the valid and the sound pixels: rays are valid but not sound, and count as what fills them. `window` is
    y0, x0 and the side, and may leave the image; `limits` are sky, ceiling, threshold and `least`.
    """
    y0, x0, side = window
    valid_yx = masks[0]
    heights_yx, sums = np.empty((side, side), F32), np.empty(side + 2, F32)
    num_read = bright = 0
    for y in range(side):
        if num_read < min(y + 2, side):
            end = min(num_read + ROWS_AT_FIRST, side)
            _heights_of_rows(pixels, masks, (y0 + num_read, x0), limits, heights_yx[num_read:end])
            num_read = end
        above, middle, below = heights_yx[max(y - 1, 0)], heights_yx[y], heights_yx[min(y + 1, side - 1)]
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]
        if not 0 <= y0 + y < valid_yx.shape[0]:
            continue
        valid = valid_yx[y0 + y]
        for x in range(max(x0, 0), min(x0 + side, valid.size)):
            mean = (sums[x - x0] + sums[x - x0 + 1] + sums[x - x0 + 2]) * F32(1 / 9)
            bright += (mean > limits[2]) & valid[x]
        if bright >= enough:
            break
    return bright
