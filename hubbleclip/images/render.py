"""The loops that make levels of an image's rows, and tell whether a tile shows anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.bad_pixels import (
    NEVER,
    REACH_PX,
    ROWS_A_STEP,
    UNSOUND,
    find_holes,
    medians_around,
    num_sound_around,
    read_values,
    room_for_values,
)
from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, U32, exp_asinh_of, log_of, value_of

ROWS_AT_FIRST = 16
"""Rows read at a time: most tiles show enough in their first."""


@compiled
def _to_levels(heights: Any, curve: Any, levels: Any) -> None:
    """Levels of heights, clipped to black and white.

    Parameters
    ----------
    heights : float32 (n,)
        Above black, in the image's unit.
    curve : tuple
        See `levels_of_rows`.
    levels : uint8 (n,), written
    """
    _, span, _, per_softening, scale, is_asinh, _ = curve
    for x in range(levels.size):
        height = min(max(heights[x], F32(0)), span)
        bent = log_of(exp_asinh_of(F32(height * per_softening))) if is_asinh else height
        levels[x] = np.uint8(min(F32(bent * scale), F32(255)) + F32(0.5))


@compiled
def levels_of_rows(pixels: Any, sound_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    """8-bit levels of some rows, from the file's words in one pass.

    Holes are filled as by `fill_holes`; what else is not sound is sky.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    sound_yx : bool (h, w)
    curve : tuple
        Of float32: black, white - black and the sky's height above black, in the image's unit; 1 / softening; levels
        per unit of the curve. Of bool: whether it is asinh or a line. Of int: how many sound neighbours fill a hole.
    y0 : int
        The first row.
    levels_yx : uint8 (n, w), written
        As many rows as are wanted.
    """
    values_yx = room_for_values(ROWS_A_STEP, levels_yx.shape[1])
    for top in range(0, levels_yx.shape[0], ROWS_A_STEP):
        rows = levels_yx[top : top + ROWS_A_STEP]
        read_values(pixels, sound_yx, (y0 + top, y0 + top + len(rows), 0, rows.shape[1]), values_yx)
        _levels_of_step(pixels, sound_yx, curve, (y0 + top, values_yx), rows)


@compiled
def _levels_of_step(pixels: Any, sound_yx: Any, curve: Any, step: Any, levels_yx: Any) -> None:
    """Levels of the rows of a step, which is its first row and what `read_values` read of it; see `levels_of_rows`."""
    (y0, values_yx), (num_rows, width) = step, levels_yx.shape
    black, blank, least = curve[0], curve[2], curve[6]
    heights = np.empty(width, F32)
    for row in range(num_rows):
        values = values_yx[row + REACH_PX, REACH_PX:]
        for x in range(width):
            heights[x] = F32(values[x] - black) if values[x] < UNSOUND else blank
        _to_levels(heights, curve, levels_yx[row])
    if least < NEVER:
        rows, columns = find_holes(sound_yx, y0, y0 + num_rows, least)
        filled = np.empty(rows.size, np.uint8)
        heights = medians_around(values_yx, rows - y0, columns) - black
        _to_levels(heights, curve, filled)
        for k in range(rows.size):
            levels_yx[rows[k] - y0, columns[k]] = filled[k]


@compiled
def count_valid(masks: Any, window: Any) -> Any:
    """How many pixels of a window are valid; parameters as of `count_bright`."""
    (y0, x0, side), sound_yx = window, masks[0].view(np.uint8)
    num_valid: Any = 0
    for y in range(max(y0, 0), min(y0 + side, sound_yx.shape[0])):
        sound, in_row = sound_yx[y, max(x0, 0) : min(x0 + side, sound_yx.shape[1])], U32(0)
        for k in range(sound.size):
            in_row = U32(in_row + sound[k])
        num_valid += in_row
    for k in range(np.searchsorted(masks[1], y0), np.searchsorted(masks[1], y0 + side)):
        num_valid += x0 <= masks[2][k] < x0 + side
    return num_valid


@compiled
def _heights_of_rows(pixels: Any, masks: Any, place: Any, limits: Any, room: Any) -> None:
    """Read heights above the sky of some rows of a window.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    masks : tuple
        See `count_bright`.
    place : (y0, x0)
        Where the rows begin; may be outside the image.
    limits : (sky, ceiling, least)
        Sky and the most that a height is, float32 in the image's unit; sound neighbours that fill a hole, int.
    room : float32 (n, side) and bool (n, side), written
        Heights, and which are valid; 0 where they are not, or outside.
    """
    (words_yx, swapped), (sound_yx, ray_rows, ray_columns) = pixels, masks
    (y0, x0), (heights_yx, valid_yx), (sky, ceiling, least) = place, room, limits
    num_rows, side = heights_yx.shape
    top, bottom = max(y0, 0), min(y0 + num_rows, sound_yx.shape[0])
    left, right = max(x0, 0), min(x0 + side, sound_yx.shape[1])
    heights_yx[:], valid_yx[:] = F32(0), False
    for y in range(top, bottom):
        words, sound = words_yx[y, left:right], sound_yx[y, left:right]
        heights, valid = heights_yx[y - y0, left - x0 :], valid_yx[y - y0, left - x0 :]
        for x in range(words.size):
            heights[x] = min(F32(value_of(words[x], swapped) - sky), ceiling) if sound[x] else F32(0)
            valid[x] = sound[x]
    rays = slice(np.searchsorted(ray_rows, top), np.searchsorted(ray_rows, bottom))
    inside = (ray_columns[rays] >= left) & (ray_columns[rays] < right)
    rows, columns = ray_rows[rays][inside], ray_columns[rays][inside]
    if rows.size:
        values_yx = room_for_values(bottom - top, right - left)
        read_values(pixels, sound_yx, (top, bottom, left, right), values_yx)
        medians = medians_around(values_yx, rows - top, columns - left)
        for k in range(rows.size):
            y, x = rows[k], columns[k]
            is_filled = num_sound_around(sound_yx, y, x) >= least
            value = medians[k] if is_filled else value_of(words_yx[y, x], swapped)
            heights_yx[y - y0, x - x0] = min(F32(value - sky), ceiling)
            valid_yx[y - y0, x - x0] = True


@compiled
def count_bright(pixels: Any, masks: Any, window: Any, limits: Any, enough: Any) -> Any:
    """How many valid pixels of a window have a 3x3 mean above the threshold.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    masks : bool (h, w), int32 (r,), int32 (r,)
        The sound pixels, and the rows and columns of rays: these are valid too, and count as what fills them.
    window : (y0, x0, side)
        May leave the image.
    limits : (sky, ceiling, threshold, least)
        Sky, the most that a height above it counts as, and the least mean of a bright pixel, float32 in the image's
        unit; sound neighbours that fill a hole, int.
    enough : int
        Where counting stops.

    Returns
    -------
    bright : int
    """
    y0, x0, side = window
    sky, ceiling, threshold, least = limits
    heights_yx, valid_yx, sums = np.empty((side, side), F32), np.empty((side, side), np.bool_), np.empty(side + 2, F32)
    num_read = bright = 0
    for y in range(side):
        if num_read < min(y + 2, side):
            read = slice(num_read, min(num_read + ROWS_AT_FIRST, side))
            room = (heights_yx[read], valid_yx[read])
            _heights_of_rows(pixels, masks, (y0 + num_read, x0), (sky, ceiling, least), room)
            num_read += len(heights_yx[read])
        above, middle, below = heights_yx[max(y - 1, 0)], heights_yx[y], heights_yx[min(y + 1, side - 1)]
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]
        valid = valid_yx[y]
        for x in range(side):
            bright += ((sums[x] + sums[x + 1] + sums[x + 2]) * F32(1 / 9) > threshold) & valid[x]
        if bright >= enough:
            break
    return bright


@compiled
def count_worth(pixels: Any, masks: Any, places: Any, limits: Any, enough_share: Any) -> Any:
    """How many pixels of each window are valid, and how many of these are bright.

    Parameters
    ----------
    pixels, masks, limits
        See `count_bright`.
    places : int64 (n, 2) and int
        (y0, x0) of each window, and their side.
    enough_share : float
        Counting stops where more than this share of the valid pixels is bright.

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
