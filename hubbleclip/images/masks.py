"""Masks of valid pixels: finite, not in the zero border, with a positive weight and without bad data-quality flags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BORDER_MIN_SHARE = 0.0005
"""Minimum share of an image that a region of zeros must cover to be treated as unexposed."""
STRIP_ROWS = 64
MAX_ROWS_CHECKED = 200
"""Approximate maximum number of rows that are read to find whether all pixels of an image are integers."""


def find_finite(data_yx: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Find the finite pixels, and the places, int64 (n, 2), at which runs of zeros begin and end.

    A place is the index of a pixel, counted row by row as if each row had one more pixel, so runs end with their row.
    """
    valid_yx, runs = np.empty(data_yx.shape, np.bool_), [np.empty((0, 2), np.int64)]
    # Both results are computed strip by strip, because reading the file's pages takes most of the time.
    for top in range(0, len(data_yx), STRIP_ROWS):
        strip_yx = data_yx[top : top + STRIP_ROWS].astype(np.float32)  # in the byte order of the machine
        np.isfinite(strip_yx, out=valid_yx[top : top + STRIP_ROWS])
        runs.append(_runs(strip_yx == 0, top))
    return valid_yx, np.concatenate(runs)


def invalid_runs(valid_yx: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the places at which runs of invalid pixels begin and end, as `find_finite` does for zeros."""
    return np.concatenate(
        [_runs(~valid_yx[top : top + STRIP_ROWS], top) for top in range(0, len(valid_yx), STRIP_ROWS)]
    )


def _runs(is_in_yx: NDArray[np.bool_], top: int) -> NDArray[np.int64]:
    """Find the places at which runs of true pixels begin and end in a strip of rows, of which `top` is the first."""
    if not is_in_yx.any():
        return np.empty((0, 2), np.int64)
    padded_yx = np.pad(is_in_yx, ((0, 0), (1, 1)))
    first = top * (is_in_yx.shape[1] + 1)
    places: NDArray[np.int64] = first + np.flatnonzero(padded_yx[:, 1:] != padded_yx[:, :-1])
    return places.reshape(-1, 2)


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
    flags = valid_yx.reshape(-1)
    for start, end in (large - large[:, :1] // row_places).tolist():
        flags[start:end] = False


def region_labels(runs: NDArray[np.int64], row_places: int) -> NDArray[np.int32]:
    """Return for each run the number of the 4-connected region of runs to which it belongs.

    `scipy.ndimage.label` takes ten times as long, because it visits all pixels of the image.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 - the import takes 0.1 s, and many images have no zero border
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    # The runs are in order, so those of the next row that share a column with a run are consecutive: first to end - 1.
    first = np.searchsorted(runs[:, 1], runs[:, 0] + row_places, "right")
    end = np.maximum(np.searchsorted(runs[:, 0], runs[:, 1] + row_places), first)
    pointers = np.concatenate(([0], np.cumsum(end - first)))
    indices = np.arange(pointers[-1]) + np.repeat(first - pointers[:-1], end - first)
    graph = csr_array((np.ones(len(indices), np.bool_), indices, pointers), shape=(len(runs), len(runs)))
    regions: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return regions


def quality_flags(quality_yx: NDArray[Any], zero: int) -> NDArray[np.uint16]:
    """Return the data-quality flags, the stored values plus `zero`."""
    # Sixteen bits are enough, because data-quality flags are stored as 16-bit integers.
    flags_yx = quality_yx.astype(np.uint16)
    flags_yx += np.uint16(zero % (1 << 16))
    return flags_yx


def _is_whole_numbers(data_yx: NDArray[np.float32]) -> bool:
    """Return whether the finite pixels of a sample of rows are all integers and not all 0."""
    has_nonzero = False
    # Rows are tested one by one. Most images are decided by the first row, so that little of a mapped file is read.
    for row in data_yx[:: max(1, data_yx.shape[0] // MAX_ROWS_CHECKED)]:
        finite = row[np.isfinite(row)]
        if np.any(finite != np.rint(finite)):
            return False
        has_nonzero = has_nonzero or bool(finite.any())
    return has_nonzero
