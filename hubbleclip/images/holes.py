"""Holes in an image: bad pixels amid good ones, and the medians that fill them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, U32, compiled, value_of

REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NEVER = AREA + 1
"""More sound neighbours than a pixel can have: no hole is filled."""
LANES = 64
"""Holes filled side by side, always so many, that the compiler knows it."""
ROWS_A_STEP = 16
"""Rows that a processor's cache holds while their holes are filled."""
BLOCK_PX = 16
INFINITY, SWAPPED_INFINITY = U32(0x7F800000), U32(0x0000807F)


def _sorting_network(size: int) -> NDArray[np.int64]:
    """Batcher's odd-even merge sort (1968) of `size` values as pairs to compare and swap, in order."""
    pairs = []
    span = 1
    while span < size:
        step = span
        while step:
            for start in range(step % span, size - step, 2 * step):
                lows = range(start, min(start + step, size - step))
                pairs += [(low, low + step) for low in lows if low // (2 * span) == (low + step) // (2 * span)]
            step //= 2
        span *= 2
    return np.array(pairs, np.int64)


NETWORK = _sorting_network(AREA)


@compiled
def _gather_around(pixels: Any, sound_yx: Any, places: Any, words: Any) -> Any:
    """Sound pixels in the 5x5 around each of `LANES` places, in a column of words, infinity for the others; beyond the
    image its rim is taken again. Returns how many are sound.
    """
    words_yx, swapped = pixels
    rows, columns = places
    height, width = words_yx.shape
    flat_words, flat_sound = words_yx.reshape(-1), sound_yx.view(np.uint8).reshape(-1)
    infinity = SWAPPED_INFINITY if swapped else INFINITY
    counts, at = np.zeros(LANES, U32), np.empty(LANES, np.uint64)
    for k in range(AREA):
        dy, dx, near = k // SIDE_PX - REACH_PX, k % SIDE_PX - REACH_PX, words[k]
        for lane in range(LANES):
            row = min(max(rows[lane] + dy, 0), height - 1)
            column = min(max(columns[lane] + dx, 0), width - 1)
            at[lane] = row * width + column
        for lane in range(LANES):
            sound = U32(flat_sound[at[lane]])
            near[lane] = (flat_words[at[lane]] & (U32(0) - sound)) | (infinity & (sound - U32(1)))
            counts[lane] += sound
    return counts


@compiled
def _medians_around(pixels: Any, sound_yx: Any, places: Any, words: Any, medians: Any) -> None:
    """Median of the sound pixels in the 5x5 around each of `LANES` places, sorted side by side; `words` is room."""
    counts = _gather_around(pixels, sound_yx, places, words)
    near, flat = words.view(F32), words.reshape(-1)
    to_floats = near.reshape(-1)
    for k in range(AREA * LANES):
        to_floats[k] = value_of(flat[k], pixels[1])
    for pair in range(len(NETWORK)):
        low, high = near[NETWORK[pair, 0]], near[NETWORK[pair, 1]]
        for lane in range(LANES):
            one, other = low[lane], high[lane]
            low[lane] = one if one < other else other
            high[lane] = other if one < other else one
    for lane in range(LANES):
        count = np.int64(counts[lane])
        medians[lane] = F32(near[(count - 1) // 2, lane] + near[count // 2, lane]) / F32(2)


@compiled
def _bad_columns(flags: Any, start: Any, stop: Any, columns: Any) -> Any:
    """Columns from `start` to before `stop` whose flag is 0, not 1; returns how many."""
    num_bad, in_blocks = 0, start + (stop - start) // BLOCK_PX * BLOCK_PX
    for first in range(start, in_blocks, BLOCK_PX):
        num_sound = np.uint8(0)
        for k in range(BLOCK_PX):
            num_sound = np.uint8(num_sound + flags[first + k])
        if num_sound < BLOCK_PX:
            for x in range(first, first + BLOCK_PX):
                columns[num_bad] = x
                num_bad += 1 - flags[x]
    for x in range(in_blocks, stop):
        columns[num_bad] = x
        num_bad += 1 - flags[x]
    return num_bad


@compiled
def _count_columns(sound_yx: Any, y: Any, start: Any, stop: Any, counts: Any) -> None:
    """Sound pixels in the five rows about `y`, by column, from two before `start` to two beyond the last."""
    counts[:] = 0
    left, right = max(start - REACH_PX, 0), min(stop + REACH_PX, sound_yx.shape[1])
    inside = counts[left - start + REACH_PX :]
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, sound_yx.shape[0])):
        sound = sound_yx[row, left:right]
        for k in range(sound.size):
            inside[k] += sound[k]


@compiled
def _find_holes(sound_yx: Any, window: Any, least: Any) -> Any:
    """Rows and columns of the holes of a window, row by row, each with room for `LANES` more, and how many."""
    top, bottom, start, stop = window
    width, found = stop - start, 0
    counts, bad = np.empty(width + 2 * REACH_PX, np.uint8), np.empty(width + 1, np.int64)
    rows, columns = np.empty(2 * width + LANES, np.int64), np.empty(2 * width + LANES, np.int64)
    for y in range(top, bottom):
        num_bad = _bad_columns(sound_yx[y].view(np.uint8), start, stop, bad)
        if num_bad == 0:
            continue
        if found + width + LANES > rows.size:
            rows, columns = np.concatenate((rows, rows)), np.concatenate((columns, columns))
        _count_columns(sound_yx, y, start, stop, counts)
        for x in bad[:num_bad]:
            total = 0
            for k in range(SIDE_PX):
                total += counts[x - start + k]
            rows[found], columns[found] = y, x
            found += total >= least
    return rows, columns, found


@compiled
def holes_of(pixels: Any, sound_yx: Any, window: Any, least: Any) -> Any:
    """Rows and columns of the pixels of a window that are not sound but have `least` sound ones in their 5x5, row by
    row, and the medians of these. A window is its first row, the one beyond its last, and its columns alike.
    """
    rows, columns, found = _find_holes(sound_yx, window, least)
    medians, words = np.empty(found + LANES, F32), np.empty((AREA, LANES), U32)
    for first in range(0, found, LANES):
        end = first + LANES
        rows[found:end], columns[found:end] = rows[first], columns[first]
        _medians_around(pixels, sound_yx, (rows[first:end], columns[first:end]), words, medians[first:end])
    return rows[:found], columns[:found], medians[:found]


@compiled
def fill_holes(pixels: Any, sound_yx: Any, least: Any, data_yx: Any, shown_yx: Any) -> None:
    """Fill the holes of an image in `data_yx`, and set `shown_yx` there."""
    height, width = sound_yx.shape
    for top in range(0, height, ROWS_A_STEP):
        window = (top, min(top + ROWS_A_STEP, height), 0, width)
        rows, columns, medians = holes_of(pixels, sound_yx, window, least)
        for k in range(rows.size):
            data_yx[rows[k], columns[k]] = medians[k]
            shown_yx[rows[k], columns[k]] = True
