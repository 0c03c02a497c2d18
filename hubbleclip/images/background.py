"""Local background and noise of an image, by blocks of 16 x 16 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, compiled

BLOCK_PX = 16
STEP_PX = 2
"""Distance in pixels between the sampled pixels; noise of drizzled pixels is not correlated at this distance."""
PER_SIDE = BLOCK_PX // STEP_PX
MIN_SAMPLES = 12
"""Minimum number of valid samples of a block. Below this number, the values of a neighbouring block are used."""
MIDMEAN_TO_SIGMA = 1 / (0.6934 * 1.5**0.5)
"""Ratio of the sigma of normal noise to the midmean of the second differences |v[x] - (v[x - lag] + v[x + lag]) / 2|.

v[x] is the pixel value in column x. The midmean is the mean of the middle half of the values.
"""
STRIP_ROWS = 16 * BLOCK_PX
"""Number of rows that are sampled at once, which limits the memory."""

Background = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Level and noise of each block, each float32 (ceil(h / 16), ceil(w / 16)); all NaN if no block has a value."""


def block_background(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], lag_px: int = 1) -> Background:
    """Estimate level and noise of the background in each block.

    The noise is estimated from second differences of pixels that are `lag_px` apart in one row. A linear gradient of
    the background cancels in second differences.
    """
    parts = [slice(top, top + STRIP_ROWS) for top in range(0, len(data_yx), STRIP_ROWS)]
    strips = [_sample_strip(data_yx[rows], valid_yx[rows], lag_px) for rows in parts]
    levels_yx, noises_yx = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    # In an image with few photons, the noise of a block may be 0. It is set to NaN, so that the noise of other blocks
    # replaces it. If all blocks are NaN, the thresholds of cosmic rays are NaN too, and no pixel exceeds them.
    noises_yx = np.where(noises_yx > 0, noises_yx * F32(MIDMEAN_TO_SIGMA), F32(np.nan))
    # gaps are filled along rows; rows of blocks without any value are then filled along columns
    levels_yx, noises_yx = (
        np.ascontiguousarray(_fill_gaps(_fill_gaps(blocks_yx).T).T) for blocks_yx in (levels_yx, noises_yx)
    )
    sums_yx, counts_yx = (_sum_around(blocks_yx) for blocks_yx in (noises_yx, np.ones_like(noises_yx)))
    return levels_yx, (sums_yx / counts_yx.astype(np.float64)).astype(np.float32)


def _sample_strip(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], lag_px: int) -> Background:
    """Return the midmeans of the sampled pixels and of their second differences, in each block of a range of rows."""
    height, width = data_yx[::STEP_PX].shape
    padded_yx = np.full((height, width + 2 * lag_px), np.inf, np.float32)
    np.copyto(padded_yx[:, lag_px:-lag_px], data_yx[::STEP_PX], where=valid_yx[::STEP_PX])
    values_yx = padded_yx[:, lag_px:-lag_px:STEP_PX]
    with np.errstate(invalid="ignore", over="ignore"):
        sides_yx = padded_yx[:, :width:STEP_PX] + padded_yx[:, 2 * lag_px :: STEP_PX]
        differences_yx = np.abs(values_yx - F32(0.5) * sides_yx)
    return _midmeans(values_yx), _midmeans(differences_yx)


def _midmeans(samples_yx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the midmean of the finite samples of each block; NaN for a block with fewer than `MIN_SAMPLES`."""
    num_y, num_x = (-(-side // PER_SIDE) for side in samples_yx.shape)
    padding = ((0, num_y * PER_SIDE - samples_yx.shape[0]), (0, num_x * PER_SIDE - samples_yx.shape[1]))
    blocks = np.pad(samples_yx, padding, constant_values=np.inf).reshape(num_y, PER_SIDE, num_x, PER_SIDE)
    means: NDArray[np.float32] = _means_of_middle(np.sort(blocks.transpose(0, 2, 1, 3).reshape(num_y * num_x, -1)))
    return means.reshape(num_y, num_x)


@compiled
def _means_of_middle(ordered: Any) -> Any:
    """Return the midmean of the finite values of each row, float32 (n,). The values of a row are in ascending order."""
    means = np.empty(len(ordered), F32)
    for row in range(len(ordered)):
        num = 0
        for value in ordered[row]:
            num += value < F32(np.inf)  # second differences beside an invalid pixel may be NaN
        first, total = num // 4, F32(0)
        for value in ordered[row, first : num - first]:
            total += value
        means[row] = total / F32(num - 2 * first) if num >= MIN_SAMPLES else F32(np.nan)
    return means


def _sum_around(blocks_yx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of each block and its eight neighbours; scipy would add in another order and round differently."""
    (num_y, num_x), padded_yx = blocks_yx.shape, np.pad(blocks_yx, 1)
    neighbours = (padded_yx[y : y + num_y, x : x + num_x] for y in range(3) for x in range(3))
    return sum(neighbours, np.zeros_like(blocks_yx))


def _fill_gaps(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace each NaN by the last value before it in its row, or by the row's first value if none is before it."""
    is_known = ~np.isnan(lines)
    nearest = np.maximum.accumulate(np.where(is_known, np.arange(lines.shape[1]), -1), axis=1)
    nearest = np.where(nearest < 0, is_known.argmax(axis=1)[:, None], nearest)
    return np.take_along_axis(lines, nearest, axis=1)


@compiled
def background_at(background: Any, y: Any, x: Any) -> Any:
    """Interpolate level and noise (bilinear) at a pixel."""
    num_y, num_x = background[0].shape
    at_y = min(max((F32(y) - F32(7.5)) * F32(1 / BLOCK_PX), F32(0)), F32(num_y - 1))
    at_x = min(max((F32(x) - F32(7.5)) * F32(1 / BLOCK_PX), F32(0)), F32(num_x - 1))
    top, left = np.int32(at_y), np.int32(at_x)
    rows, columns = (top, min(top + 1, num_y - 1)), (left, min(left + 1, num_x - 1))
    shares = F32(at_y - F32(top)), F32(at_x - F32(left))
    return _bilinear(background[0], rows, columns, shares), _bilinear(background[1], rows, columns, shares)


@compiled
def _bilinear(blocks_yx: Any, rows: Any, columns: Any, shares: Any) -> Any:
    """Interpolate between four blocks; `shares` are the distances (y, x) from the top left block, in blocks."""
    (top, below), (left, right), (share_y, share_x) = rows, columns, shares
    upper = blocks_yx[top, left] + share_x * (blocks_yx[top, right] - blocks_yx[top, left])
    lower = blocks_yx[below, left] + share_x * (blocks_yx[below, right] - blocks_yx[below, left])
    return F32(upper + share_y * (lower - upper))
