"""The loops over pixels that numpy would walk many times: compiled by numba, each with its numpy twin in the tests.

They read pixels as they lie in the file, whatever its byte order (see `pixel_words`), so that no image is copied. They
count in float32 as IEEE 754 says and contract nothing: the same levels on every machine. Counted in the narrowest
type that holds the count, a loop becomes vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled

F32, U32, I32 = np.float32, np.uint32, np.int32
MAGNITUDE, EXPONENT = 0x7FFFFFFF, 0x7F800000
BLOCK_PX = 64

Pixels = tuple[NDArray[np.uint32], bool]


def pixel_words(data_yx: NDArray[np.float32]) -> Pixels:
    """Pixels of float32 as the 32-bit words that lie in memory, read-only, and whether their bytes are swapped."""
    words_yx = np.ascontiguousarray(data_yx).view(np.ndarray).view(np.uint32)
    words_yx.flags.writeable = False
    return words_yx, not data_yx.dtype.isnative


def word(bits: int, swapped: bool) -> Any:
    """A bit pattern as it lies in memory: what to compare unswapped words with."""
    return U32(int.from_bytes(bits.to_bytes(4, "little"), "big") if swapped else bits)


@compiled
def value_of(bits: Any, swapped: Any) -> Any:
    """The float32 of a word (uint32), whose bytes are `swapped` (bool) or not."""
    if swapped:
        middle = ((bits >> U32(8)) & U32(0xFF00)) | ((bits & U32(0xFF00)) << U32(8))
        return U32((bits >> U32(24)) | middle | (bits << U32(24))).view(F32)
    return U32(bits).view(F32)


@compiled
def exp_asinh_of(ratio: Any) -> Any:
    """E to the power of the asinh of a ratio (float32, from 0 to 1e18), as float32."""
    return F32(ratio + np.sqrt(ratio * ratio + F32(1)))


@compiled
def log_of(value: Any) -> Any:
    """Natural logarithm, as float32, of a value (float32, at least 1), within 5e-7 or two last places.

    By its exponent and a minimax polynomial in its mantissa. From additions and products alone: the same bits on every
    machine, and a loop over it becomes vector instructions.
    """
    bits = I32(F32(value).view(I32))
    power = I32(I32(bits - I32(0x3F3504F3)) >> I32(23))
    rest = I32(bits - I32(power << I32(23))).view(F32) - F32(1)
    log = F32(0.11827471852302551) * rest + F32(-0.18901976943016052)
    log = log * rest + F32(0.20604674518108368)
    log = log * rest + F32(-0.24881339073181152)
    log = log * rest + F32(0.3330329954624176)
    log = log * rest + F32(-0.5000196695327759)
    log = log * rest + F32(1.0000032186508179)
    return log * rest + F32(power) * F32(0.6931471805599453)


@compiled
def sample_of(pixels: Any, valid_yx: Any, step: Any) -> Any:
    """The valid pixels of every n-th row and column.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    valid_yx : bool (h, w)
    step : int

    Returns
    -------
    sample : float32 (n,)
        In the image's unit; 0 for -0, so that any sort gives the same bits.
    """
    words_yx, swapped = pixels
    height, width = words_yx.shape
    sample, num = np.empty((-(-height // step)) * (-(-width // step)) + 1, F32), 0
    for y in range(0, height, step):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(0, width, step):
            sample[num] = F32(value_of(words[x], swapped) + F32(0))
            num += valid[x]
    return sample[:num]


@compiled
def steps_of(pixels: Any, valid_yx: Any, step: Any, lag: Any) -> Any:
    """How far pixels of every n-th row and column are from those `lag` columns on, where both are valid.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    valid_yx : bool (h, w)
    step, lag : int

    Returns
    -------
    steps : float32 (n,)
        At least 0, in the image's unit.
    """
    words_yx, swapped = pixels
    height, width = words_yx.shape
    steps, num = np.empty((-(-height // step)) * (-(-width // step)) + 1, F32), 0
    for y in range(0, height, step):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(0, width - lag, step):
            steps[num] = abs(F32(value_of(words[x + lag], swapped) - value_of(words[x], swapped)))
            num += valid[x] & valid[x + lag]
    return steps[:num]


@compiled
def mark_finite(words_yx: Any, exponent: Any, magnitude: Any, valid_yx: Any, zeros_yx: Any) -> None:
    """Find finite pixels and count each row's zeros.

    Parameters
    ----------
    words_yx : uint32 (h, w)
        The pixels as they lie in memory.
    exponent, magnitude : uint32
        `EXPONENT` and `MAGNITUDE` in that byte order; see `word`.
    valid_yx : bool (h, w), written
    zeros_yx : int32 (h, 3), written
        All zeros of a row, those before any other pixel, and, where there is another, those behind the last.
    """
    height, width = words_yx.shape
    for y in range(height):
        words, valid, num_zeros = words_yx[y], valid_yx[y], U32(0)
        for x in range(width):
            valid[x] = (words[x] & exponent) != exponent
            num_zeros = U32(num_zeros + ((words[x] & magnitude) == U32(0)))
        ahead = behind = 0
        if num_zeros:
            while ahead < width and (words[ahead] & magnitude) == U32(0):
                ahead += 1
            while ahead + behind < width and (words[width - 1 - behind] & magnitude) == U32(0):
                behind += 1
        zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2] = num_zeros, ahead, behind


@compiled
def keep_positive(pixels: Any, valid_yx: Any) -> None:
    """Clear `valid_yx`, bool (h, w), where a weight is not above 0; `pixels` are the weights, see `pixel_words`."""
    words_yx, swapped = pixels
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] &= value_of(words[x], swapped) > F32(0)


@compiled
def keep_unflagged(flags_yx: Any, bad: Any, valid_yx: Any) -> None:
    """Clear the mask where a pixel has any of the bad flags.

    Parameters
    ----------
    flags_yx : uint8, uint16, uint32 or uint64 (h, w)
        As they lie in memory.
    bad : the same type
        In the same byte order.
    valid_yx : bool (h, w), changed
    """
    for y in range(flags_yx.shape[0]):
        flags, valid = flags_yx[y], valid_yx[y]
        for x in range(flags.size):
            valid[x] &= (flags[x] & bad) == 0


@compiled
def _root(parents: Any, label: Any) -> Any:
    """The label that all of a region share: `parents`, int64 (n,), are shortened on the way."""
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _count_zeros(words: Any, magnitude: Any) -> Any:
    """How many of the words, uint32 (w,), are 0 or -0."""
    num_zeros = 0
    for x in range(words.size):
        num_zeros += (words[x] & magnitude) == U32(0)
    return num_zeros


@compiled
def _zero_runs(words: Any, magnitude: Any, runs: Any, count: Any) -> Any:
    """Append the runs of zeros of a row.

    Parameters
    ----------
    words : uint32 (w,)
    magnitude : uint32
        `MAGNITUDE` in the byte order of the words.
    runs : int32 (n, 2), written from `count` on
        Start and end of each run; it has room.
    count : int
        Runs so far.

    Returns
    -------
    count : int
    """
    x = 0
    while x < words.size:
        block = words[x : x + BLOCK_PX]
        if _count_zeros(block, magnitude) == 0:
            x += block.size
            continue
        stop = x + block.size
        while x < stop:
            start = x
            while x < words.size and (words[x] & magnitude) == U32(0):
                x += 1
            if x > start:
                runs[count, 0], runs[count, 1] = start, x
                count += 1
            x += 1
    return count


@compiled
def _runs_of_row(words: Any, magnitude: Any, zeros: Any, runs: Any, count: Any) -> Any:
    """As `_zero_runs`; a row whose zeros all touch its ends need not be read: `zeros` are `mark_finite`'s three."""
    num_zeros, ahead, behind = zeros
    if ahead + behind < num_zeros:
        return _zero_runs(words, magnitude, runs, count)
    runs[count, 0], runs[count, 1] = 0, ahead
    count += ahead > 0
    runs[count, 0], runs[count, 1] = words.size - behind, words.size
    return count + (behind > 0)


@compiled
def clear_solid_zeros(words_yx: Any, magnitude: Any, zeros_yx: Any, least_px: Any, valid_yx: Any) -> None:
    """Clear the mask in every large region of zeros that are connected by their sides: union-find over runs.

    Parameters
    ----------
    words_yx : uint32 (h, w)
        The pixels as they lie in memory.
    magnitude : uint32
        `MAGNITUDE` in that byte order.
    zeros_yx : int32 (h, 3)
        Those of `mark_finite`.
    least_px : float
        Area of the smallest region that is cleared, in pixels.
    valid_yx : bool (h, w), changed
    """
    height, width = words_yx.shape
    first = np.zeros(height + 1, np.int64)
    runs, parents = np.empty((width + 4, 2), I32), np.empty(width + 4, np.int64)
    for y in range(height):
        if first[y] + width // 2 + 2 > len(runs):
            runs, parents = np.concatenate((runs, runs)), np.concatenate((parents, parents))
        zeros = zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2]
        first[y + 1] = _runs_of_row(words_yx[y], magnitude, zeros, runs, first[y])
        above = first[y - 1] if y else 0
        for run in range(first[y], first[y + 1]):
            parents[run] = run
            while above < first[y] and runs[above, 1] <= runs[run, 0]:
                above += 1
            over = above
            while over < first[y] and runs[over, 0] < runs[run, 1]:
                parents[_root(parents, over)] = _root(parents, run)
                over += 1
    areas = np.zeros(first[height], np.int64)
    for run in range(first[height]):
        areas[_root(parents, run)] += runs[run, 1] - runs[run, 0]
    for y in range(height):
        for run in range(first[y], first[y + 1]):
            if areas[_root(parents, run)] >= least_px:
                valid_yx[y, runs[run, 0] : runs[run, 1]] = False
