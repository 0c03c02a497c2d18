"""Holes in an image: bad pixels amid good ones, and the medians that fill them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, value_of
from hubbleclip.images.networks import LANES_AT_ONCE, column_sorter, part_of_network, sorting_network

REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NUM_AROUND = AREA - 1
"""Neighbours of a pixel in its 5x5."""
NEVER = AREA + 1
"""More sound neighbours than a pixel can have: no hole is filled."""
REPAIR_MIN_VALID = 8
"""Sound neighbours without which no hole is filled."""
LANES = 64
"""Holes filled side by side, always so many, that the compiler knows it."""
ROWS_A_STEP = 16
"""Rows that a processor's cache holds while their holes are filled."""
U64 = np.uint64
WORD_BYTES, BYTE_OF_FLAG = 8, U64(0x0001020304050607)
"""Times a flag alone in a word, its highest byte is the number of the flag's."""
UNSOUND = F32(np.inf)
"""Stands for a pixel that is not sound: it sorts behind all that are."""
MEDIANS = range((REPAIR_MIN_VALID - 1) // 2, NUM_AROUND // 2 + 1)
"""Where the medians of `REPAIR_MIN_VALID` neighbours or more lie among all."""
_sort_columns: Any = column_sorter(NUM_AROUND, part_of_network(sorting_network(NUM_AROUND), MEDIANS))


@compiled
def room_for_values(num_rows: Any, num_columns: Any) -> Any:
    """Room for what `read_values` reads of a window."""
    return np.empty((num_rows + 2 * REACH_PX, num_columns + 2 * REACH_PX), F32)


@compiled
def read_values(pixels: Any, sound_yx: Any, window: Any, values_yx: Any) -> None:
    """Values of a window and of two pixels about it, `UNSOUND` where they are so; beyond the image its rim is taken
    again. A window is its first row, the one beyond its last, and its columns alike.

    Read once, for a processor's cache: what is asked of each pixel after that does not wait for the memory.
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
    """Median of the sound neighbours about each place of a window in its 5x5, `LANES` side by side, where these are
    `REPAIR_MIN_VALID` or more. See `read_values`.
    """
    num, width, values = rows.size, values_yx.shape[1], values_yx.reshape(-1)
    medians, near = np.empty(num, F32), np.empty((NUM_AROUND, LANES), F32)
    at, counts = np.zeros(LANES, np.int64), np.empty(LANES, np.int32)
    for first in range(0, num, LANES):
        num_lanes = min(LANES, num - first)
        for lane in range(num_lanes):
            at[lane] = rows[first + lane] * width + columns[first + lane]
        _gather(values, at, width, near, counts)
        for lane in range(0, LANES, LANES_AT_ONCE):
            _sort_columns(near, lane)
        for lane in range(num_lanes):
            count = counts[lane]
            medians[first + lane] = F32(near[(count - 1) // 2, lane] + near[count // 2, lane]) / F32(2)
    return medians


@compiled
def _gather(values: Any, at: Any, width: Any, near: Any, counts: Any) -> None:
    """Neighbours in the 5x5 whose corners are `at` in a column of `near` each, and how many of these are sound."""
    for lane in range(LANES):
        counts[lane] = 0
    for k in range(NUM_AROUND):
        place = k + (k >= NUM_AROUND // 2)
        row, offset = near[k], place // SIDE_PX * width + place % SIDE_PX
        for lane in range(LANES):
            row[lane] = values[np.uint64(at[lane] + offset)]
        for lane in range(LANES):
            counts[lane] += row[lane] < UNSOUND


@compiled
def _count_columns(flags_yx: Any, y: Any, nothing: Any, counts: Any) -> None:
    """How many flags are set in the five rows about `y`, by column; `nothing` is the row beyond the image."""
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
    """Set `is_hole` where a pixel of a row is one. `counts` are those of its five rows by column, from two before the
    first to two behind the last.
    """
    for x in range(sound.size):
        total = np.uint8(counts[x] + counts[x + 1] + counts[x + 2] + counts[x + 3] + counts[x + 4])
        is_hole[x] = np.uint8(total >= least) & np.uint8(1 - sound[x])


@compiled
def list_words(words: Any, listed: Any) -> Any:
    """List the words that are not 0; returns how many. Told without a branch: which they are follows no rule."""
    num_listed = 0
    for word in range(words.size):
        listed[num_listed] = word
        num_listed += words[word] != 0
    return num_listed


@compiled
def num_sound_around(sound_yx: Any, y: Any, x: Any) -> Any:
    """How many pixels of the 5x5 about a pixel are sound."""
    num_sound = 0
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, sound_yx.shape[0])):
        for column in range(max(x - REACH_PX, 0), min(x + REACH_PX + 1, sound_yx.shape[1])):
            num_sound += sound_yx[row, column]
    return num_sound


@compiled
def find_holes(sound_yx: Any, top: Any, bottom: Any, least: Any) -> Any:
    """Rows and columns of the pixels of some rows that are not sound but have `least` sound ones in their 5x5."""
    flags_yx, width, found = sound_yx.view(np.uint8), sound_yx.shape[1], 0
    counts, nothing = np.zeros(width + 2 * REACH_PX, np.uint8), np.zeros(width, np.uint8)
    is_hole = np.zeros(-(-width // WORD_BYTES) * WORD_BYTES, np.uint8)
    words = is_hole.view(np.uint64)
    listed = np.empty(words.size + 1, np.int64)
    rows, columns = np.empty(2 * is_hole.size + 1, np.int64), np.empty(2 * is_hole.size + 1, np.int64)
    for y in range(top, bottom):
        _count_columns(flags_yx, y, nothing, counts[REACH_PX : REACH_PX + width])
        _mark_holes(flags_yx[y], counts, np.uint8(least), is_hole)
        num_listed = list_words(words, listed)
        if found + WORD_BYTES * num_listed >= rows.size:
            rows, columns = np.concatenate((rows, rows)), np.concatenate((columns, columns))
        for k in range(num_listed):
            flags = words[listed[k]]
            while flags:
                first = flags & (~flags + U64(1))
                rows[found], columns[found] = y, WORD_BYTES * listed[k] + np.int64((first * BYTE_OF_FLAG) >> U64(56))
                found += 1
                flags ^= first
    return rows[:found], columns[:found]


@compiled
def fill_holes(pixels: Any, sound_yx: Any, data_yx: Any, shown_yx: Any) -> None:
    """Fill the holes of an image in `data_yx`, and set `shown_yx` there."""
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
