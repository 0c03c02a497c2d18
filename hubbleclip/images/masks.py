"""Masks of valid pixels. Valid pixels are finite and exposed, with a positive weight and no bad data-quality flag."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, append_places, compiled, empty_flags, pixel_words, to_float32

BORDER_MIN_SHARE = 0.0005
"""Minimum share of an image that a region of zeros must cover to be treated as unexposed."""
MAX_ROWS_CHECKED = 200
"""Approximate maximum number of rows that are read to find whether all pixels of an image are integers."""


def find_finite(data_yx: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Find the finite pixels, and the start and end, int64 (n, 2), of each run of zeros along a row.

    Both are indices in a flattened image whose rows have one pixel more, so that no run continues in the next row.
    """
    valid_yx = np.empty(data_yx.shape, np.bool_)
    return valid_yx, _mark_finite(pixel_words(data_yx), valid_yx).reshape(-1, 2)


@compiled
def _mark_finite(pixels: Any, valid_yx: Any) -> Any:
    """Mark the finite pixels, and return the starts and ends of the runs of zeros, int64 (n,)."""
    # Both results are computed in one pass over the pixels, because reading the file's pages takes most of the time.
    (words_yx, swapped), (height, width), num = pixels, valid_yx.shape, 0
    is_zero, places = np.zeros(width + 2, np.bool_), np.empty(2 * width, np.int64)
    for y in range(height):
        words, valid, has_zeros = words_yx[y], valid_yx[y], False
        for x in range(width):
            value = to_float32(words[x], swapped)
            valid[x] = np.abs(value) < F32(np.inf)
            is_zero[x + 1] = value == F32(0)
            has_zeros |= is_zero[x + 1]
        if has_zeros:
            places, num = _append_edges(is_zero, y, places, num)
    return places[:num]


@compiled
def _append_edges(is_inside: Any, y: Any, places: Any, num: Any) -> Any:
    """Append the places at which runs begin and end in row `y`; `is_inside` (w + 2,) has a false flag at each end."""
    num_edges = is_inside.size - 1
    is_edge = empty_flags(num_edges)
    for x in range(num_edges):
        is_edge[x] = is_inside[x] != is_inside[x + 1]
    return append_places(is_edge, y * num_edges, places, num)


def mask_zero_border(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], zero_runs: NDArray[np.int64]) -> None:
    """Clear the mask at unexposed pixels: the border of a drizzled image, and large gaps that are filled with zeros.

    A 4-connected region of exact zeros is cleared if it covers at least 0.05 % of the image. An image whose pixels are
    all integers is not changed, because a zero is a measured count there. An image of zeros only is cleared entirely.
    """
    min_area_px, num_zeros = BORDER_MIN_SHARE * data_yx.size, int(np.diff(zero_runs).sum())
    if num_zeros < min_area_px or (num_zeros < data_yx.size and _is_whole_numbers(data_yx)):
        return
    row_places = data_yx.shape[1] + 1
    # The minimum area is at least 2 px, because 0.05 % of a small image is less than a pixel.
    regions = region_labels(zero_runs, row_places)
    areas = np.bincount(regions, np.diff(zero_runs)[:, 0])
    large = zero_runs[areas[regions] >= max(min_area_px, 2)]
    _clear_runs(valid_yx.reshape(-1), large - large[:, :1] // row_places)


@compiled
def _clear_runs(flags: Any, runs: Any) -> None:
    """Clear flags (n,) between the start and the end of each run."""
    for k in range(len(runs)):
        flags[runs[k, 0] : runs[k, 1]] = False


def invalid_runs(valid_yx: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the places at which runs of invalid pixels begin and end, as `find_finite` does for zeros."""
    runs: NDArray[np.int64] = _invalid_places(valid_yx).reshape(-1, 2)
    return runs


@compiled
def _invalid_places(valid_yx: Any) -> Any:
    """Return the places at which runs of invalid pixels begin and end, int64 (n,)."""
    (height, width), num = valid_yx.shape, 0
    is_invalid, places = np.zeros(width + 2, np.bool_), np.empty(2 * width, np.int64)
    for y in range(height):
        valid, has_invalid = valid_yx[y], False
        for x in range(width):
            is_invalid[x + 1] = not valid[x]
            has_invalid |= is_invalid[x + 1]
        if has_invalid:
            places, num = _append_edges(is_invalid, y, places, num)
    return places[:num]


def region_labels(runs: NDArray[np.int64], row_places: int) -> NDArray[np.int32]:
    """Label the 4-connected regions of runs; return the label of each run's region, int32 (n,).

    `scipy.ndimage.label` takes ten times as long, because it visits all pixels of the image.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 - the import takes 0.1 s, and many images have no zero border
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    # The runs are sorted. The runs of the next row that share a column with a given run are therefore consecutive.
    first = np.searchsorted(runs[:, 1], runs[:, 0] + row_places, "right")
    end = np.maximum(np.searchsorted(runs[:, 0], runs[:, 1] + row_places), first)
    pointers = np.concatenate(([0], np.cumsum(end - first)))
    indices = np.arange(pointers[-1]) + np.repeat(first - pointers[:-1], end - first)
    graph = csr_array((np.ones(len(indices), np.bool_), indices, pointers), shape=(len(runs), len(runs)))
    regions: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return regions


def mask_unweighted(weight_yx: NDArray[Any], valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the weight is NaN, 0 or negative."""
    is_single = weight_yx.dtype.str[1:] == "f4"
    _clear_unweighted(pixel_words(weight_yx if is_single else weight_yx.astype(np.float32)), valid_yx)


@compiled
def _clear_unweighted(pixels: Any, valid_yx: Any) -> None:
    """Clear the mask where a weight is not positive; numpy takes twice as long."""
    words_yx, swapped = pixels
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] &= to_float32(words[x], swapped) > F32(0)


def quality_flags(quality_yx: NDArray[Any], zero: int) -> NDArray[np.uint16]:
    """Return the data-quality flags: the stored values plus `zero`, the BZERO of the header."""
    # Sixteen bits are enough, because data-quality flags are stored as 16-bit integers.
    flags_yx = quality_yx.astype(np.uint16)
    flags_yx += np.uint16(zero % (1 << 16))
    return flags_yx


def _is_whole_numbers(data_yx: NDArray[np.float32]) -> bool:
    """Return whether the finite pixels of a sample of rows are all integers and not all 0."""
    has_nonzero = False
    # Rows are tested one by one. The first row of most images has fractions, and then no further row is read.
    for row in data_yx[:: max(1, data_yx.shape[0] // MAX_ROWS_CHECKED)]:
        finite = row[np.isfinite(row)]
        if np.any(finite != np.rint(finite)):
            return False
        has_nonzero = has_nonzero or bool(finite.any())
    return has_nonzero
