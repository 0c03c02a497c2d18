"""Holes in an image: bad pixels amid good ones, and the medians that fill them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, value_of

REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NEVER = AREA + 1
"""More sound neighbours than a pixel can have: no hole is filled."""
REPAIR_MIN_VALID = 8
"""Sound neighbours without which no hole is filled."""
LANES = 64
"""Holes filled side by side."""
ROWS_A_STEP = 16
"""Rows that a processor's cache holds while their holes are filled."""
UNSOUND = F32(np.inf)
"""Stands for a pixel that is not sound: it sorts behind all that are."""


@compiled
def room_for_values(num_rows: Any, num_columns: Any) -> Any:
    """An empty array, float32 (num_rows + 4, num_columns + 4), for what `read_values` reads of a window."""
    return np.empty((num_rows + 2 * REACH_PX, num_columns + 2 * REACH_PX), F32)


@compiled
def read_values(pixels: Any, sound_yx: Any, window: Any, values_yx: Any) -> None:
    """Read a window and two pixels about it; beyond the image its outermost pixels are repeated.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    sound_yx : bool (h, w)
    window : (top, bottom, start, stop)
        The first row, the one beyond the last, and the columns alike.
    values_yx : float32 (bottom - top + 4, stop - start + 4), written
        `UNSOUND` where a pixel is not sound.
    """
    words_yx, swapped = pixels
    top, bottom, start, stop = window
    height, width = words_yx.shape
    left, right = max(start - REACH_PX, 0), min(stop + REACH_PX, width)
    before, after = left - start + REACH_PX, right - start + REACH_PX
    for y in range(top - REACH_PX, bottom + REACH_PX):
        row, values = min(max(y, 0), height - 1), values_yx[y - top + REACH_PX]
        words, sound, inside = words_yx[row, left:right], sound_yx[row, left:right], values[before:after]
        for x in range(words.size):
            inside[x] = value_of(words[x], swapped) if sound[x] else UNSOUND
        for x in range(before):
            values[x] = values[before]
        for x in range(after, stop - start + 2 * REACH_PX):
            values[x] = values[after - 1]


@compiled
def medians_around(values_yx: Any, rows: Any, columns: Any) -> Any:
    """Median of the sound neighbours of each place in its 5x5.

    Parameters
    ----------
    values_yx : float32 (h + 4, w + 4)
        What `read_values` read of a window of (h, w).
    rows, columns : int64 (n,)
        Places in the window, each with at least `REPAIR_MIN_VALID` sound neighbours.

    Returns
    -------
    medians : float32 (n,)
    """
    num, medians, near = rows.size, np.empty(rows.size, F32), np.empty((AREA, LANES), F32)
    for first in range(0, num, LANES):
        num_lanes = min(LANES, num - first)
        for lane in range(num_lanes):
            y, x = rows[first + lane], columns[first + lane]
            for k in range(AREA):
                near[k, lane] = values_yx[y + k // SIDE_PX, x + k % SIDE_PX]
        _sort_lower_half(near)
        for lane in range(num_lanes):
            num_sound = 0
            for k in range(AREA):
                num_sound += near[k, lane] < UNSOUND
            medians[first + lane] = F32(near[(num_sound - 1) // 2, lane] + near[num_sound // 2, lane]) / F32(2)
    return medians


@compiled
def _sort_lower_half(near: Any) -> None:
    """Selection sort of each column, side by side, up to the middle: the compiler makes vector instructions of it.

    Parameters
    ----------
    near : float32 (AREA, LANES), changed in place
    """
    for k in range(AREA // 2 + 1):
        for other in range(k + 1, AREA):
            for lane in range(LANES):
                low, high = near[k, lane], near[other, lane]
                near[k, lane], near[other, lane] = min(low, high), max(low, high)


@compiled
def _count_columns(flags_yx: Any, y: Any, nothing: Any, counts: Any) -> None:
    """Count flags in the five rows about row `y`.

    Parameters
    ----------
    flags_yx : uint8 (h, w), 0 or 1
    y : int
    nothing : uint8 (w,)
        Zeros: the rows beyond the image.
    counts : uint8 (w,), written
    """
    last = flags_yx.shape[0] - 1
    a = flags_yx[y - 2] if y >= 2 else nothing
    b = flags_yx[y - 1] if y >= 1 else nothing
    c = flags_yx[y]
    d = flags_yx[y + 1] if y + 1 <= last else nothing
    e = flags_yx[y + 2] if y + 2 <= last else nothing
    for x in range(counts.size):
        counts[x] = np.uint8(a[x] + b[x] + c[x] + d[x] + e[x])


@compiled
def _mark_holes(sound: Any, counts: Any, least: Any, is_hole: Any) -> None:
    """Find the holes of a row.

    Parameters
    ----------
    sound : uint8 (w,), 0 or 1
    counts : uint8 (w + 4,)
        Sound pixels of its five rows by column, from two before the first to two behind the last.
    least : uint8
        Sound pixels in the 5x5 that are enough.
    is_hole : bool (w,), written
    """
    for x in range(sound.size):
        total = np.uint8(counts[x] + counts[x + 1] + counts[x + 2] + counts[x + 3] + counts[x + 4])
        is_hole[x] = (total >= least) & (sound[x] == 0)


@compiled
def num_sound_around(sound_yx: Any, y: Any, x: Any) -> Any:
    """How many pixels of the 5x5 about pixel (y, x) are sound, of `sound_yx`, bool (h, w)."""
    num_sound = 0
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, sound_yx.shape[0])):
        for column in range(max(x - REACH_PX, 0), min(x + REACH_PX + 1, sound_yx.shape[1])):
            num_sound += sound_yx[row, column]
    return num_sound


@compiled
def find_holes(sound_yx: Any, top: Any, bottom: Any, least: Any) -> Any:
    """Find the pixels of some rows that are not sound but have enough sound ones in their 5x5.

    Parameters
    ----------
    sound_yx : bool (h, w)
    top, bottom : int
        The first row, and the one beyond the last.
    least : int
        How many sound neighbours are enough.

    Returns
    -------
    rows, columns : int64 (n,)
        Row by row.
    """
    flags_yx, width, found = sound_yx.view(np.uint8), sound_yx.shape[1], 0
    counts, nothing = np.zeros(width + 2 * REACH_PX, np.uint8), np.zeros(width, np.uint8)
    is_hole = np.empty(width, np.bool_)
    rows, columns = np.empty(width, np.int64), np.empty(width, np.int64)
    for y in range(top, bottom):
        _count_columns(flags_yx, y, nothing, counts[REACH_PX : REACH_PX + width])
        _mark_holes(flags_yx[y], counts, np.uint8(least), is_hole)
        if found + width > rows.size:
            rows, columns = np.concatenate((rows, rows)), np.concatenate((columns, columns))
        for x in range(width):
            if is_hole[x]:
                rows[found], columns[found] = y, x
                found += 1
    return rows[:found], columns[:found]


@compiled
def fill_holes(pixels: Any, sound_yx: Any, data_yx: Any, shown_yx: Any) -> None:
    """Fill the holes of an image with the medians about them.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    sound_yx : bool (h, w)
    data_yx : float32 (h, w), written at holes
        In the image's unit.
    shown_yx : bool (h, w), set at holes
    """
    height, width = sound_yx.shape
    values_yx = room_for_values(ROWS_A_STEP, width)
    for top in range(0, height, ROWS_A_STEP):
        bottom = min(top + ROWS_A_STEP, height)
        rows, columns = find_holes(sound_yx, top, bottom, REPAIR_MIN_VALID)
        read_values(pixels, sound_yx, (top, bottom, 0, width), values_yx)
        medians = medians_around(values_yx, rows - top, columns)
        for k in range(rows.size):
            data_yx[rows[k], columns[k]] = medians[k]
            shown_yx[rows[k], columns[k]] = True
