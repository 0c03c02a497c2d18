"""Which pixels are measurements, and what stands in for those that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images import bad_pixels as holes
from hubbleclip.images import kernels
from hubbleclip.images.kernels import pixel_words

FILL_RULE = "median of the valid pixels in 5x5 where at least 8 are valid, the sky level elsewhere"
BORDER_MIN_SHARE = 0.0005
ROWS_LOOKED_AT = 200


def find_finite(data_yx: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Where pixels are finite, and each row's zeros; see `kernels.mark_finite`."""
    words_yx, swapped = pixel_words(data_yx)
    valid_yx, zeros_yx = np.empty(data_yx.shape, np.bool_), np.empty((len(data_yx), 3), np.int32)
    exponent, magnitude = (kernels.word(bits, swapped) for bits in (kernels.EXPONENT, kernels.MAGNITUDE))
    kernels.mark_finite(words_yx, exponent, magnitude, valid_yx, zeros_yx)
    return valid_yx, zeros_yx


def clear_zero_border(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], zeros_yx: NDArray[np.int32]) -> None:
    """Clear `valid_yx` where pixels were never exposed: the border of a drizzled frame, and gaps as solid as it.

    A connected region of exact zeros counts when it holds 0.05 % of the image. In an image of whole numbers a zero is
    a count of nothing, thus a measurement, and no region counts. `zeros_yx` are each row's zeros; see `find_finite`.
    """
    least_px, num_zeros = BORDER_MIN_SHARE * data_yx.size, int(zeros_yx[:, 0].sum())
    if num_zeros == data_yx.size:
        valid_yx[:] = False
    elif num_zeros >= least_px and not _is_whole_numbers(data_yx):
        words_yx, swapped = pixel_words(data_yx)
        magnitude = kernels.word(kernels.MAGNITUDE, swapped)
        kernels.clear_solid_zeros(words_yx, magnitude, zeros_yx, max(least_px, 2), valid_yx)


def clear_unweighted(weight_yx: NDArray[Any], valid_yx: NDArray[np.bool_]) -> None:
    """Clear `valid_yx` where a weight, as stored, is not above 0."""
    if (weight_yx.dtype.kind, weight_yx.dtype.itemsize) == ("f", 4):
        kernels.keep_positive(pixel_words(weight_yx), valid_yx)
    else:
        valid_yx &= weight_yx > 0


def clear_flagged(quality_yx: NDArray[Any], zero: int, bad_bits: int, valid_yx: NDArray[np.bool_]) -> None:
    """Clear `valid_yx` where `stored + zero` has any of the bad bits. A zero above them all leaves them as stored: no
    copy is made.
    """
    num_bits, stored = bad_bits.bit_length(), quality_yx.dtype
    if stored.kind not in "iu" or zero % (1 << num_bits) or num_bits > 8 * stored.itemsize:
        valid_yx &= ((quality_yx.astype(np.int64) + zero) & bad_bits) == 0
        return
    unsigned = np.dtype(f"u{stored.itemsize}")
    pattern = unsigned.type(bad_bits) if stored.isnative else unsigned.type(bad_bits).byteswap()
    kernels.keep_unflagged(quality_yx.view(unsigned), pattern, valid_yx)


def _is_whole_numbers(data_yx: NDArray[np.float32]) -> bool:
    seen = False
    for row in data_yx[:: max(1, data_yx.shape[0] // ROWS_LOOKED_AT)]:
        finite = row[np.isfinite(row)]
        if np.any(finite != np.rint(finite)):
            return False
        seen = seen or bool(finite.any())
    return seen


def repair_pinholes(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill bad pixels that stand amid good ones with the median of the good ones in 5x5; see FILL_RULE.

    Returns the data and the mask of pixels fit to be shown. Without it every hot pixel would be a dark dot on a galaxy.
    """
    if valid_yx.all():
        return data_yx, valid_yx
    repaired_yx, shown_yx = data_yx.astype(np.float32), valid_yx.copy()
    holes.fill_holes(pixel_words(data_yx), valid_yx, repaired_yx, shown_yx)
    return repaired_yx, shown_yx
