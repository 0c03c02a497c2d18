"""Masks of valid pixels (zero border, weight, data quality), and the repair of isolated bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images import bad_pixels, kernels
from hubbleclip.images.kernels import pixel_words

BORDER_MIN_SHARE = 0.0005
"""Share of an image that a region of zeros must hold to be unexposed."""
MAX_ROWS_CHECKED = 200
"""About how many rows are read to see whether an image holds whole numbers."""


def find_finite(data_yx: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Find the finite pixels and count the zeros of each row.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.

    Returns
    -------
    valid_yx : bool (h, w)
    zeros_yx : int32 (h, 3)
        Zeros of each row, those at its start and those at its end; see `kernels.mark_finite`.
    """
    # Both in one pass: reading the file's pages is what costs.
    words_yx, swapped = pixel_words(data_yx)
    valid_yx, zeros_yx = np.empty(data_yx.shape, np.bool_), np.empty((len(data_yx), 3), np.int32)
    exponent, magnitude = (kernels.stored_pattern(bits, swapped) for bits in (kernels.EXPONENT, kernels.MAGNITUDE))
    kernels.mark_finite(words_yx, exponent, magnitude, valid_yx, zeros_yx)
    return valid_yx, zeros_yx


def mask_zero_border(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], zeros_yx: NDArray[np.int32]) -> None:
    """Clear the mask at pixels that were never exposed: the border of a drizzled frame, and large gaps of zeros.

    A 4-connected region of exact zeros is cleared when it holds at least 0.05 % of the image. Nothing is cleared in an
    image of whole numbers: there a zero is a measured count of nothing.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w), changed in place
    zeros_yx : int32 (h, 3)
        Zeros per row, from `find_finite`.
    """
    min_area_px, num_zeros = BORDER_MIN_SHARE * data_yx.size, int(zeros_yx[:, 0].sum())
    if num_zeros == data_yx.size:
        valid_yx[:] = False
    elif num_zeros >= min_area_px and not _is_whole_numbers(data_yx):
        words_yx, swapped = pixel_words(data_yx)
        magnitude = kernels.stored_pattern(kernels.MAGNITUDE, swapped)
        # At least 2 px: in a small image 0.05 % would be less than a pixel.
        kernels.mask_zero_regions(words_yx, magnitude, zeros_yx, max(min_area_px, 2), valid_yx)


def mask_unweighted(weight_yx: NDArray[Any], valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the weight is not above 0.

    Parameters
    ----------
    weight_yx : any number type (h, w)
        As stored.
    valid_yx : bool (h, w), changed in place
    """
    if (weight_yx.dtype.kind, weight_yx.dtype.itemsize) == ("f", 4):
        kernels.mask_nonpositive(pixel_words(weight_yx), valid_yx)
    else:
        valid_yx &= weight_yx > 0


def mask_flagged(quality_yx: NDArray[Any], zero: int, bad_bits: int, valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the data quality, `stored + zero`, has any of the bad bits.

    Parameters
    ----------
    quality_yx : integer (h, w)
        As stored, of either byte order.
    zero : int
        BZERO of the data-quality extension.
    bad_bits : int
        Bits whose pixels are not valid.
    valid_yx : bool (h, w), changed in place
    """
    num_bits, stored = bad_bits.bit_length(), quality_yx.dtype
    if stored.kind not in "iu" or zero % (1 << num_bits) or num_bits > 8 * stored.itemsize:
        valid_yx &= ((quality_yx.astype(np.int64) + zero) & bad_bits) == 0
        return
    # BZERO is a multiple of a power of two above all bad bits, so it does not change them: no copy is needed.
    unsigned = np.dtype(f"u{stored.itemsize}")
    pattern = unsigned.type(bad_bits) if stored.isnative else unsigned.type(bad_bits).byteswap()
    kernels.mask_flag_bits(quality_yx.view(unsigned), pattern, valid_yx)


def _is_whole_numbers(data_yx: NDArray[np.float32]) -> bool:
    """Whether the finite pixels of some rows are integers and not all 0."""
    has_nonzero = False
    # Row by row: most images are decided by the first, and a mapped file is hardly read.
    for row in data_yx[:: max(1, data_yx.shape[0] // MAX_ROWS_CHECKED)]:
        finite = row[np.isfinite(row)]
        if np.any(finite != np.rint(finite)):
            return False
        has_nonzero = has_nonzero or bool(finite.any())
    return has_nonzero


def repair_pinholes(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill bad pixels among good ones with the median of the good ones in their 5x5.

    A pixel is repaired where at least 8 of the 5x5 are good; the others are displayed at the sky level. Without the
    repair every hot pixel would be a dark dot on a galaxy.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order; not changed.
    valid_yx : bool (h, w)
        Not changed.

    Returns
    -------
    repaired_yx : float32 (h, w)
        In the image's unit; the input itself where every pixel is valid.
    shown_yx : bool (h, w)
        Valid or repaired.
    """
    if valid_yx.all():
        return data_yx, valid_yx
    repaired_yx, shown_yx = data_yx.astype(np.float32), valid_yx.copy()
    bad_pixels.fill_bad_pixels(pixel_words(data_yx), valid_yx, repaired_yx, shown_yx)
    return repaired_yx, shown_yx
