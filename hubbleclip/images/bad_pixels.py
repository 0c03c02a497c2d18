"""Compiled loops that find bad pixels among good ones and compute the medians that replace them.

A pixel is good if it is valid and was not hit by a cosmic ray. The neighbours of a pixel are the 5x5 pixels around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.kernels import F32, compiled, to_float32

REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NO_REPAIR = AREA + 1
"""Value of `min_good` that disables the repair, because no pixel has so large a number of good neighbours."""
REPAIR_MIN_VALID = 8
"""Minimum number of good pixels in the 5x5 neighbourhood of a bad pixel that is repaired."""
BATCH_PIXELS = 64
"""Number of pixels whose neighbourhoods are sorted in parallel, one per vector lane."""
PIXELS_PER_WORD = 8
"""Number of flags, one byte each, that are tested for zero at once."""
BLOCK_ROWS = 16
"""Number of rows that are processed together; they fit into the processor's cache."""
BAD_VALUE = F32(np.inf)
"""Value that replaces a bad pixel, so that the bad pixel is sorted after all good pixels."""


@compiled
def empty_window(num_rows: Any, num_columns: Any) -> Any:
    """Allocate the array that `read_window` writes: a window with a margin of two pixels."""
    return np.empty((num_rows + 2 * REACH_PX, num_columns + 2 * REACH_PX), F32)


@compiled
def read_window(pixels: Any, good_yx: Any, window: Any, values_yx: Any) -> None:
    """Read a window of an image with a margin of two pixels. Beyond the image, its outermost pixels are repeated."""
    words_yx, swapped = pixels
    top, bottom, start, stop = window
    height, width = words_yx.shape
    left, right = max(start - REACH_PX, 0), min(stop + REACH_PX, width)
    before, after = left - start + REACH_PX, right - start + REACH_PX  # limits in `values_yx`
    for y in range(top - REACH_PX, bottom + REACH_PX):
        row, values = min(max(y, 0), height - 1), values_yx[y - top + REACH_PX]
        words, good, inside = words_yx[row, left:right], good_yx[row, left:right], values[before:after]
        for x in range(words.size):
            inside[x] = to_float32(words[x], swapped) if good[x] else BAD_VALUE
        for x in range(before):
            values[x] = values[before]
        for x in range(after, stop - start + 2 * REACH_PX):
            values[x] = values[after - 1]


@compiled
def neighbour_medians(values_yx: Any, rows: Any, columns: Any) -> Any:
    """Compute the median of the good pixels in the 5x5 neighbourhood of each given pixel."""
    # `near` has one row per neighbour, so that neighbour k of all pixels of a batch is contiguous in memory. The
    # compiler can then vectorise the sort.
    num, medians, near = rows.size, np.empty(rows.size, F32), np.empty((AREA, BATCH_PIXELS), F32)
    for first in range(0, num, BATCH_PIXELS):
        batch_size = min(BATCH_PIXELS, num - first)
        for lane in range(batch_size):
            y, x = rows[first + lane], columns[first + lane]
            for k in range(AREA):
                near[k, lane] = values_yx[y + k // SIDE_PX, x + k % SIDE_PX]
        _sort_lower_half(near)
        for lane in range(batch_size):
            num_good = 0  # bad pixels are sorted last, so the median is in the middle of the first `num_good` values
            for k in range(AREA):
                num_good += near[k, lane] < BAD_VALUE
            medians[first + lane] = F32(near[(num_good - 1) // 2, lane] + near[num_good // 2, lane]) / F32(2)
    return medians


@compiled
def _sort_lower_half(near: Any) -> None:
    """Move the smaller half of the values in each column of `near` to the front, in ascending order (selection sort).

    `near` is float32 (AREA, BATCH_PIXELS) and is changed in place.

    Which elements are compared does not depend on the data, so that the compiler can vectorise the loop over columns.
    """
    for k in range(AREA // 2 + 1):
        for other in range(k + 1, AREA):
            for lane in range(BATCH_PIXELS):
                low, high = near[k, lane], near[other, lane]
                near[k, lane], near[other, lane] = min(low, high), max(low, high)


@compiled
def _count_columns(flags_yx: Any, y: Any, empty_row: Any, counts: Any) -> None:
    """Count the set flags in the five rows centred on row `y`, per column."""
    last = flags_yx.shape[0] - 1
    a = flags_yx[y - 2] if y >= 2 else empty_row
    b = flags_yx[y - 1] if y >= 1 else empty_row
    c = flags_yx[y]
    d = flags_yx[y + 1] if y + 1 <= last else empty_row
    e = flags_yx[y + 2] if y + 2 <= last else empty_row
    for x in range(counts.size):
        counts[x] = np.uint8(a[x] + b[x] + c[x] + d[x] + e[x])


@compiled
def _mark_repairable(good: Any, counts: Any, min_good: Any, is_repairable: Any) -> None:
    """Mark the repairable pixels of a row: bad ones with enough good neighbours."""
    for x in range(good.size):
        total = np.uint8(counts[x] + counts[x + 1] + counts[x + 2] + counts[x + 3] + counts[x + 4])
        is_repairable[x] = (total >= min_good) & (good[x] == 0)


@compiled
def count_good_neighbours(good_yx: Any, y: Any, x: Any) -> Any:
    """Count the good pixels in the 5x5 neighbourhood of a pixel, which includes the pixel itself."""
    num_good = 0
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, good_yx.shape[0])):
        for column in range(max(x - REACH_PX, 0), min(x + REACH_PX + 1, good_yx.shape[1])):
            num_good += good_yx[row, column]
    return num_good


@compiled
def find_bad_pixels(good_yx: Any, top: Any, bottom: Any, min_good: Any) -> Any:
    """Find the repairable pixels of a range of rows: bad pixels with enough good pixels in their 5x5 neighbourhood."""
    # The counts, at most 25, are stored as uint8, because a vector register holds the most elements of that type.
    flags_yx, width, num = good_yx.view(np.uint8), good_yx.shape[1], 0
    counts, empty_row = np.zeros(width + 2 * REACH_PX, np.uint8), np.zeros(width, np.uint8)
    is_repairable = np.zeros(-(-width // PIXELS_PER_WORD) * PIXELS_PER_WORD, np.bool_)
    words = is_repairable.view(np.uint64)  # eight pixels per word, because few pixels are bad
    rows, columns = np.empty(width, np.int64), np.empty(width, np.int64)
    for y in range(top, bottom):
        _count_columns(flags_yx, y, empty_row, counts[REACH_PX : REACH_PX + width])
        _mark_repairable(flags_yx[y], counts, np.uint8(min_good), is_repairable[:width])
        if num + width > rows.size:  # makes room for a whole row, so that no check per pixel is needed
            rows, columns = np.concatenate((rows, rows)), np.concatenate((columns, columns))
        for k in range(words.size):
            if words[k] == 0:
                continue
            for x in range(k * PIXELS_PER_WORD, (k + 1) * PIXELS_PER_WORD):
                if is_repairable[x]:
                    rows[num], columns[num] = y, x
                    num += 1
    return rows[:num], columns[:num]


@compiled
def fill_bad_pixels(pixels: Any, good_yx: Any, data_yx: Any, shown_yx: Any) -> None:
    """Replace each repairable pixel of an image by the median of the good pixels around it."""
    height, width = good_yx.shape
    values_yx = empty_window(BLOCK_ROWS, width)
    for top in range(0, height, BLOCK_ROWS):
        bottom = min(top + BLOCK_ROWS, height)
        rows, columns = find_bad_pixels(good_yx, top, bottom, REPAIR_MIN_VALID)
        # The medians are computed from the input, not from `data_yx`, so that no repaired pixel contributes to them.
        read_window(pixels, good_yx, (top, bottom, 0, width), values_yx)
        medians = neighbour_medians(values_yx, rows - top, columns)
        for k in range(rows.size):
            data_yx[rows[k], columns[k]] = medians[k]
            shown_yx[rows[k], columns[k]] = True
