"""Which pixels are measurements, and what stands in for those that are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FILL_RULE = "median of the valid pixels in 5x5 where at least 8 are valid, the sky level elsewhere"
BORDER_MIN_SHARE = 0.0005
REPAIR_REACH_PX = 2
REPAIR_MIN_VALID = 8
REPAIR_BLOCK = 1 << 16


def zero_border(data_yx: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Pixels that were never exposed and hold an exact zero: the border of a drizzled frame, and gaps as solid as it.

    A connected region of exact zeros counts when it holds 0.05 % of the image. In an image of whole numbers a zero is
    a count of nothing, thus a measurement, and no region counts. None where there is no such region.
    """
    zeros_yx: NDArray[np.bool_] = data_yx == 0
    num_zeros = np.count_nonzero(zeros_yx)
    if num_zeros == data_yx.size:
        return zeros_yx
    if num_zeros < BORDER_MIN_SHARE * data_yx.size or _is_whole_numbers(data_yx):
        return None
    labels_yx, _ = ndimage.label(zeros_yx)
    is_border = np.bincount(labels_yx.ravel()) >= max(BORDER_MIN_SHARE * data_yx.size, 2)
    is_border[0] = False
    return is_border[labels_yx] if is_border.any() else None


def _is_whole_numbers(data_yx: NDArray[np.float32]) -> bool:
    sample = data_yx[:: max(1, data_yx.shape[0] // 200)]
    sample = sample[np.isfinite(sample)]
    return bool(sample.any()) and bool(np.all(sample == np.rint(sample)))


def repair_pinholes(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill bad pixels that stand amid good ones with the median of the good ones in 5x5; see FILL_RULE.

    Returns the data and the mask of pixels fit to be shown. Without it every hot pixel would be a dark dot on a galaxy.
    """
    if valid_yx.all():
        return data_yx, valid_yx
    side = 2 * REPAIR_REACH_PX + 1
    rows = ndimage.correlate1d(valid_yx.astype(np.uint8), np.ones(side), axis=0, mode="constant")
    around_yx = ndimage.correlate1d(rows, np.ones(side), axis=1, mode="constant")
    y, x = np.nonzero(~valid_yx & (around_yx >= REPAIR_MIN_VALID))
    shown_yx, repaired_yx = valid_yx.copy(), data_yx.copy()
    for start in range(0, len(y), REPAIR_BLOCK):
        block = slice(start, start + REPAIR_BLOCK)
        repaired_yx[y[block], x[block]] = _medians_around(data_yx, valid_yx, y[block], x[block])
    shown_yx[y, x] = True
    return repaired_yx, shown_yx


def _medians_around(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], y: NDArray[np.intp], x: NDArray[np.intp]
) -> NDArray[np.float32]:
    height, width = data_yx.shape
    offsets = np.arange(-REPAIR_REACH_PX, REPAIR_REACH_PX + 1)
    rows = (y[:, None] + offsets).clip(0, height - 1)[:, :, None]
    columns = (x[:, None] + offsets).clip(0, width - 1)[:, None, :]
    values = np.where(valid_yx[rows, columns], data_yx[rows, columns], np.nan).reshape(len(y), -1)
    medians: NDArray[np.float32] = np.nanmedian(values, axis=1)
    return medians
