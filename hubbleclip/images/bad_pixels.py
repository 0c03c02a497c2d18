"""Replace isolated bad pixels by the median of the good pixels around them, and fill the saturated cores of stars.

A pixel is good if it is valid and was not hit by a cosmic ray. The neighbours of a pixel are the 5x5 pixels around it.
A bad pixel that is not repaired is displayed at the level of the sky, so a hot pixel on a galaxy would be a dark dot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, append_places, compiled, empty_flags
from hubbleclip.images.masks import invalid_runs, region_labels

REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
MIN_GOOD = 8
"""Minimum number of good pixels in the 5x5 neighbourhood of a bad pixel that is repaired."""
MAX_CORE_PX = 64
"""Maximum width of a saturated core in pixels."""
MIN_CORE_AREA_PX = 4
CORE_SIGMA = 10.0
"""Minimum height above the sky, in sigmas of the noise, of the pixels beside a saturated core."""
CORE_RISE = 1.25
"""The pixels beside a saturated core are, in sum, at least this many times as high as those one column farther out."""
FilledPixels = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""Pixels without data that are displayed with a filled-in value: their rows, columns and values (n,), sorted by row."""
NO_CORES: FilledPixels = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))
BATCH_PIXELS = 64
"""Number of pixels whose neighbourhoods are sorted in parallel, one per vector lane."""


def repair_rows(
    data_yx: NDArray[np.float32], good_yx: NDArray[np.bool_], top: int, bottom: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Copy a range of rows, repair its isolated bad pixels, and return it with the mask of good and repaired pixels."""
    first, last = max(top - REACH_PX, 0), min(bottom + REACH_PX, len(data_yx))
    near_yx, near_good_yx = np.array(data_yx[first:last], np.float32, order="C"), good_yx[first:last]
    places = _find_repairable(near_good_yx, top - first, bottom - first)
    near_yx.reshape(-1)[places] = _neighbour_medians(near_yx, near_good_yx, places)
    shown_yx = near_good_yx.copy()
    shown_yx.reshape(-1)[places] = True
    return near_yx[top - first : bottom - first], shown_yx[top - first : bottom - first]


@compiled
def _find_repairable(good_yx: Any, top: Any, bottom: Any) -> Any:
    """Find the repairable pixels of a range of rows: bad pixels with enough good pixels in their 5x5 neighbourhood.

    Returns the indices of these pixels in the flat array, int64 (n,).
    """
    flags_yx, width, num = good_yx.view(np.uint8), good_yx.shape[1], 0
    # The counts, at most 25, are stored as uint8, because a vector register holds the most elements of that type.
    counts, is_repairable = np.zeros(width + 2 * REACH_PX, np.uint8), empty_flags(width)
    places = np.empty(is_repairable.size, np.int64)
    for y in range(top, bottom):
        _mark_repairable(flags_yx, y, counts, is_repairable)
        places, num = append_places(is_repairable, y * width, places, num)
    return places[:num]


@compiled
def _mark_repairable(flags_yx: Any, y: Any, counts: Any, is_repairable: Any) -> None:
    """Mark the repairable pixels of a row. `counts` has a margin of two pixels on each side, which stays 0."""
    height, width = flags_yx.shape
    inside = counts[REACH_PX : REACH_PX + width]
    inside[:] = 0
    for near_y in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, height)):
        for x in range(width):
            inside[x] += flags_yx[near_y, x]
    for x in range(width):
        total = np.uint8(counts[x] + counts[x + 1] + counts[x + 2] + counts[x + 3] + counts[x + 4])
        is_repairable[x] = (total >= MIN_GOOD) & (flags_yx[y, x] == 0)


@compiled
def _neighbour_medians(values_yx: Any, good_yx: Any, places: Any) -> Any:
    """Compute the median of the good pixels in the 5x5 neighbourhood of each given pixel."""
    # `near` has one row per neighbour, so that neighbour k of all pixels of a batch is contiguous in memory. The
    # compiler can then vectorise the sort.
    height, width = values_yx.shape
    num, medians, near = places.size, np.empty(places.size, F32), np.empty((AREA, BATCH_PIXELS), F32)
    num_good, near_x = np.empty(BATCH_PIXELS, np.int64), np.empty(SIDE_PX, np.int64)
    for first in range(0, num, BATCH_PIXELS):
        batch_size = min(BATCH_PIXELS, num - first)
        for lane in range(batch_size):
            top, left = places[first + lane] // width - REACH_PX, places[first + lane] % width - REACH_PX
            num_good[lane] = 0
            for dx in range(SIDE_PX):  # outside the image, the outermost pixels of the image are repeated
                near_x[dx] = min(max(left + dx, 0), width - 1)
            for dy in range(SIDE_PX):
                y = min(max(top + dy, 0), height - 1)
                for dx in range(SIDE_PX):
                    good = good_yx[y, near_x[dx]]
                    near[SIDE_PX * dy + dx, lane] = values_yx[y, near_x[dx]] if good else F32(np.inf)
                    num_good[lane] += good
        _sort_lower_half(near)
        for lane in range(batch_size):  # bad pixels are sorted last, so the median is in the middle of the good pixels
            low, high = (num_good[lane] - 1) // 2, num_good[lane] // 2
            medians[first + lane] = F32(near[low, lane] + near[high, lane]) / F32(2)
    return medians


@compiled
def _sort_lower_half(near: Any) -> None:
    """Move the smaller half of the values in each column to the front, in ascending order (selection sort).

    The order of comparisons does not depend on the values, so the compiler can vectorise the loop over columns.
    """
    num, num_lanes = near.shape
    for k in range(num // 2 + 1):
        for other in range(k + 1, num):
            for lane in range(num_lanes):
                low, high = near[k, lane], near[other, lane]
                near[k, lane], near[other, lane] = min(low, high), max(low, high)


def fill_cores(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float) -> FilledPixels:
    """Find the saturated cores that have no data, and fill each with the highest value beside the core.

    A core is a region of invalid pixels. In each row, the pixels to the left and right of the core are bright. The sum
    of the heights of these pixels over all rows is at least `CORE_RISE` times the sum one column farther out.
    """
    runs, (height, width) = invalid_runs(valid_yx), data_yx.shape
    if not runs.size:
        return NO_CORES
    rows, firsts = np.divmod(runs[:, 0], width + 1)
    lengths = np.diff(runs)[:, 0]
    ends = firsts + lengths
    beside = rows, np.stack([firsts - 1, ends, firsts - 2, ends + 1]).clip(0, width - 1)
    # heights of the two pixels on each side of a run of invalid pixels
    heights = np.where(valid_yx[beside], data_yx[beside] - np.float64(sky), 0)
    is_rim = (firsts > 0) & (ends < width) & (lengths <= MAX_CORE_PX) & (heights[:2].min(axis=0) > CORE_SIGMA * noise)
    if not is_rim.any():
        return NO_CORES
    regions = region_labels(runs, width + 1)
    areas, rims, outers, num_open = (
        np.bincount(regions, part) for part in (lengths, heights[:2].sum(axis=0), heights[2:].sum(axis=0), ~is_rim)
    )
    # Every run of a saturated core has bright pixels at both ends. A gap between chips may cross a star, but the gap is
    # longer than the star, and its runs outside the star do not have bright ends.
    is_core = (num_open == 0) & (areas >= MIN_CORE_AREA_PX) & (rims >= CORE_RISE * outers)
    own = np.flatnonzero(is_core[regions])
    cores, y = np.repeat(regions[own], lengths[own]), np.repeat(rows[own], lengths[own])
    x = np.concatenate([NO_CORES[1], *map(np.arange, firsts[own], ends[own])])
    highest = np.full(is_core.size, sky, np.float32)
    for step_y, step_x in np.ndindex(3, 3):
        near = (y + step_y - 1).clip(0, height - 1), x + step_x - 1
        np.maximum.at(highest, cores, np.where(valid_yx[near], data_yx[near], F32(sky)))
    return y, x, highest[cores]
