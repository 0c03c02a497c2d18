"""Masks of valid pixels (by zero border, weight and data quality), and the repair of isolated bad pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images import bad_pixels, kernels
from hubbleclip.images.kernels import pixel_words

BORDER_MIN_SHARE = 0.0005
"""Minimum share of an image that a region of zeros must cover to be treated as unexposed."""
MAX_ROWS_CHECKED = 200
"""Approximate maximum number of rows that are read to find whether all pixels of an image are integers."""


def find_finite(data_yx: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Find the finite pixels and count the zeros of each row."""
    # Both results are computed in one pass over the pixels, because reading the file's pages takes most of the time.
    words_yx, swapped = pixel_words(data_yx)
    valid_yx, zeros_yx = np.empty(data_yx.shape, np.bool_), np.empty((len(data_yx), 3), np.int32)
    exponent, magnitude = (kernels.stored_pattern(bits, swapped) for bits in (kernels.EXPONENT, kernels.MAGNITUDE))
    kernels.mark_finite(words_yx, exponent, magnitude, valid_yx, zeros_yx)
    return valid_yx, zeros_yx


def mask_zero_border(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], zeros_yx: NDArray[np.int32]) -> None:
    """Clear the mask at unexposed pixels: the border of a drizzled image, and large gaps that are filled with zeros.

    A 4-connected region of exact zeros is cleared if it covers at least 0.05 % of the image. An image whose pixels are
    all integers is not changed, because a zero is a measured count there. An image of zeros only is cleared entirely.
    """
    min_area_px, num_zeros = BORDER_MIN_SHARE * data_yx.size, int(zeros_yx[:, 0].sum())
    if num_zeros == data_yx.size:
        valid_yx[:] = False
    elif num_zeros >= min_area_px and not _is_whole_numbers(data_yx):
        words_yx, swapped = pixel_words(data_yx)
        magnitude = kernels.stored_pattern(kernels.MAGNITUDE, swapped)
        # The minimum area is at least 2 px, because 0.05 % of a small image is less than a pixel.
        kernels.mask_zero_regions(words_yx, magnitude, zeros_yx, max(min_area_px, 2), valid_yx)


def mask_unweighted(weight_yx: NDArray[Any], valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the weight is NaN, 0 or negative."""
    if (weight_yx.dtype.kind, weight_yx.dtype.itemsize) == ("f", 4):
        kernels.mask_nonpositive(pixel_words(weight_yx), valid_yx)
    else:
        valid_yx &= weight_yx > 0


def mask_flagged(quality_yx: NDArray[Any], zero: int, bad_bits: int, valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the data-quality flags, `quality_yx + zero`, have any of the bad bits."""
    num_bits, stored = bad_bits.bit_length(), quality_yx.dtype
    if stored.kind not in "iu" or zero % (1 << num_bits) or num_bits > 8 * stored.itemsize:
        valid_yx &= ((quality_yx.astype(np.int64) + zero) & bad_bits) == 0
        return
    # From here on, BZERO is a multiple of a power of two that is above all bad bits. Adding BZERO would not change the
    # bad bits, so they are tested in the stored values, without a copy.
    unsigned = np.dtype(f"u{stored.itemsize}")
    pattern = unsigned.type(bad_bits) if stored.isnative else unsigned.type(bad_bits).byteswap()
    kernels.mask_flag_bits(quality_yx.view(unsigned), pattern, valid_yx)


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


def repair_pinholes(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill each isolated bad pixel with the median of the good pixels in its 5x5 neighbourhood.

    A bad pixel is repaired if at least 8 of the 5x5 pixels are good. Other bad pixels are displayed at the sky level.
    Without the repair, every hot pixel in front of a galaxy would be displayed as a dark dot.
    """
    if valid_yx.all():
        return data_yx, valid_yx
    repaired_yx, shown_yx = data_yx.astype(np.float32), valid_yx.copy()
    bad_pixels.fill_bad_pixels(pixel_words(data_yx), valid_yx, repaired_yx, shown_yx)
    return repaired_yx, shown_yx
