"""Shared numba-compiled loops over pixels: byte order, scalar functions, sampling and masks.

The loops read pixels in the byte order of the file (see `pixel_words`), so that no image is copied. They compute in
IEEE 754 float32 without fused multiply-add, which gives the same levels on every machine, and they use the narrowest
integer type that holds a count, because LLVM then emits vector instructions. `tests/images/numpy_twins.py` holds a slow
NumPy reference of each.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hubbleclip.core.io import write_bytes

compiled = njit(nogil=True, cache=True, error_model="numpy")
"""Decorator of every compiled loop.

numba caches machine code beside the source, or under `NUMBA_CACHE_DIR`; the first call after a change of the source
compiles and takes some seconds.
"""

F32, U32, I32 = np.float32, np.uint32, np.int32
MAGNITUDE, EXPONENT = 0x7FFFFFFF, 0x7F800000  # bit fields of an IEEE 754 float32; an exponent of all ones: inf or NaN
BLOCK_PX = 64

Pixels = tuple[NDArray[np.uint32], bool]
"""Raw 32-bit words (h, w) of float32 pixels, and whether their bytes are swapped; see `pixel_words`."""


def discard_stale_cache(folder: Path) -> None:
    """Delete numba's cached machine code in a folder unless every source file there is unchanged.

    Parameters
    ----------
    folder : Path
        A package folder with compiled functions; the cache is in its `__pycache__`.

    Notes
    -----
    numba checks whether the file of a function has changed, but not the files of the functions that it calls (numba
    manual, "Caching limitations"), so it would continue to run their old code.
    """
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    fingerprint = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    cache = folder / "__pycache__"
    stamp = cache / "compiled.txt"
    with suppress(OSError):  # a read-only folder: numba then keeps its cache elsewhere, and none of it is here
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
            return
        for cached in cache.glob("*.nb[ci]"):
            cached.unlink(missing_ok=True)
        write_bytes(stamp, fingerprint.encode(), is_synced=False)


discard_stale_cache(Path(__file__).parent)  # before any function below loads its cache


def pixel_words(data_yx: NDArray[np.float32]) -> Pixels:
    """View float32 pixels as their raw 32-bit words, without a copy where the rows are contiguous.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.

    Returns
    -------
    words_yx : uint32 (h, w)
        Read-only.
    swapped : bool
        Whether the bytes are not in the machine's order (FITS is big-endian).
    """
    words_yx = np.ascontiguousarray(data_yx).view(np.ndarray).view(np.uint32)
    words_yx.flags.writeable = False
    return words_yx, not data_yx.dtype.isnative


def stored_pattern(bits: int, swapped: bool) -> Any:
    """Bring a bit pattern into the byte order of stored words, to compare words without swapping each of them.

    Parameters
    ----------
    bits : int
        32-bit pattern in the machine's byte order.
    swapped : bool
        Whether the words are in the other byte order.

    Returns
    -------
    pattern : uint32
    """
    return U32(int.from_bytes(bits.to_bytes(4, "little"), "big") if swapped else bits)


@compiled
def to_float32(bits: Any, swapped: Any) -> Any:
    """Value of a raw word.

    Parameters
    ----------
    bits : uint32
    swapped : bool
        Whether its bytes are in the other byte order.

    Returns
    -------
    value : float32
    """
    if swapped:
        middle = ((bits >> U32(8)) & U32(0xFF00)) | ((bits & U32(0xFF00)) << U32(8))
        return U32((bits >> U32(24)) | middle | (bits << U32(24))).view(F32)
    return U32(bits).view(F32)


@compiled
def exp_asinh(ratio: Any) -> Any:
    """Compute exp(asinh(ratio)), so that asinh needs one logarithm only.

    Parameters
    ----------
    ratio : float32
        From 0 to 1e18; its square must not overflow.

    Returns
    -------
    value : float32
        At least 1.
    """
    return F32(ratio + np.sqrt(ratio * ratio + F32(1)))


@compiled
def natural_log(value: Any) -> Any:
    """Natural logarithm, within 5e-7 or two units in the last place.

    Parameters
    ----------
    value : float32
        At least 1.

    Returns
    -------
    log : float32

    Notes
    -----
    The exponent is read from the bits, and a minimax polynomial approximates the logarithm of the mantissa. Additions
    and products alone give the same bits on every machine, unlike libm, and loops over it vectorise.
    """
    bits = I32(F32(value).view(I32))
    power = I32(I32(bits - I32(0x3F3504F3)) >> I32(23))  # 0x3F3504F3 is sqrt(1/2): the mantissa is in [0.71, 1.41)
    rest = I32(bits - I32(power << I32(23))).view(F32) - F32(1)
    log = F32(0.11827471852302551) * rest + F32(-0.18901976943016052)  # Horner's scheme, highest power first
    log = log * rest + F32(0.20604674518108368)
    log = log * rest + F32(-0.24881339073181152)
    log = log * rest + F32(0.3330329954624176)
    log = log * rest + F32(-0.5000196695327759)
    log = log * rest + F32(1.0000032186508179)
    return log * rest + F32(power) * F32(0.6931471805599453)


@compiled
def sample_pixels(pixels: Any, valid_yx: Any, step: Any) -> Any:
    """Collect the valid pixels of every n-th row and column.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `pixel_words`.
    valid_yx : bool (h, w)
    step : int
        At least 1.

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
            # Every pixel is written and only the valid ones advance `num`: no branch in the loop. -0 + 0 is 0.
            sample[num] = F32(to_float32(words[x], swapped) + F32(0))
            num += valid[x]
    return sample[:num]


@compiled
def lagged_differences(pixels: Any, valid_yx: Any, step: Any, lag: Any) -> Any:
    """Absolute differences between sampled pixels and their neighbours `lag` columns away, where both are valid.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `pixel_words`.
    valid_yx : bool (h, w)
    step : int
        Every n-th row and column is sampled.
    lag : int
        Distance along the row, px.

    Returns
    -------
    differences : float32 (n,)
        At least 0, in the image's unit.
    """
    words_yx, swapped = pixels
    height, width = words_yx.shape
    differences, num = np.empty((-(-height // step)) * (-(-width // step)) + 1, F32), 0
    for y in range(0, height, step):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(0, width - lag, step):
            differences[num] = abs(F32(to_float32(words[x + lag], swapped) - to_float32(words[x], swapped)))
            num += valid[x] & valid[x + lag]
    return differences[:num]


@compiled
def mark_finite(words_yx: Any, exponent: Any, magnitude: Any, valid_yx: Any, zeros_yx: Any) -> None:
    """Mark finite pixels and count the zeros of each row.

    Parameters
    ----------
    words_yx : uint32 (h, w)
        Raw words; see `pixel_words`.
    exponent, magnitude : uint32
        `EXPONENT` and `MAGNITUDE` in that byte order; see `stored_pattern`.
    valid_yx : bool (h, w), written
    zeros_yx : int32 (h, 3), written
        Zeros of the row, zeros at its start, and zeros at its end (0 in a row of zeros alone).
    """
    height, width = words_yx.shape
    for y in range(height):
        words, valid, num_zeros = words_yx[y], valid_yx[y], U32(0)
        for x in range(width):
            valid[x] = (words[x] & exponent) != exponent
            num_zeros = U32(num_zeros + ((words[x] & magnitude) == U32(0)))  # without the sign bit: 0 and -0
        leading = trailing = 0
        if num_zeros:
            while leading < width and (words[leading] & magnitude) == U32(0):
                leading += 1
            while leading + trailing < width and (words[width - 1 - trailing] & magnitude) == U32(0):
                trailing += 1
        zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2] = num_zeros, leading, trailing


@compiled
def mask_nonpositive(pixels: Any, valid_yx: Any) -> None:
    """Clear the mask where a weight is not above 0.

    Parameters
    ----------
    pixels : Pixels
        The weights, uint32 (h, w) and bool; see `pixel_words`.
    valid_yx : bool (h, w), changed in place
    """
    words_yx, swapped = pixels
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] &= to_float32(words[x], swapped) > F32(0)  # False for NaN too


@compiled
def mask_flag_bits(flags_yx: Any, bad: Any, valid_yx: Any) -> None:
    """Clear the mask where a pixel has any of the bad data-quality flags.

    Parameters
    ----------
    flags_yx : uint8, uint16, uint32 or uint64 (h, w)
        As stored, of either byte order.
    bad : unsigned integer of the same type
        The bad bits, in the same byte order.
    valid_yx : bool (h, w), changed in place
    """
    for y in range(flags_yx.shape[0]):
        flags, valid = flags_yx[y], valid_yx[y]
        for x in range(flags.size):
            valid[x] &= (flags[x] & bad) == 0


@compiled
def _root(parents: Any, label: Any) -> Any:
    """Representative label of a region in the union-find forest `parents`, int64 (n,), with path halving."""
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _count_zeros(words: Any, magnitude: Any) -> Any:
    """Number of the words, uint32 (w,), that are 0 or -0."""
    num_zeros = 0
    for x in range(words.size):
        num_zeros += (words[x] & magnitude) == U32(0)
    return num_zeros


@compiled
def _append_zero_runs(words: Any, magnitude: Any, runs: Any, count: Any) -> Any:
    """Append the runs of zeros of a row.

    Parameters
    ----------
    words : uint32 (w,)
    magnitude : uint32
        `MAGNITUDE` in the byte order of the words.
    runs : int32 (n, 2), written from `count` on
        First column of each run and the column after its last; must have room for the row's runs.
    count : int
        Runs before this row.

    Returns
    -------
    count : int
        Runs including this row's.
    """
    x = 0
    while x < words.size:
        block = words[x : x + BLOCK_PX]
        if _count_zeros(block, magnitude) == 0:  # vectorised: most blocks have no zero and are skipped whole
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
def _append_row_runs(words: Any, magnitude: Any, zeros: Any, runs: Any, count: Any) -> Any:
    """Append a row's runs as `_append_zero_runs`, without reading it where `zeros` say that all touch its ends."""
    num_zeros, leading, trailing = zeros
    if leading + trailing < num_zeros:
        return _append_zero_runs(words, magnitude, runs, count)
    runs[count, 0], runs[count, 1] = 0, leading
    count += leading > 0
    runs[count, 0], runs[count, 1] = words.size - trailing, words.size
    return count + (trailing > 0)


@compiled
def mask_zero_regions(words_yx: Any, magnitude: Any, zeros_yx: Any, min_area_px: Any, valid_yx: Any) -> None:
    """Clear the mask in every large 4-connected region of zeros.

    Parameters
    ----------
    words_yx : uint32 (h, w)
        Raw words; see `pixel_words`.
    magnitude : uint32
        `MAGNITUDE` in that byte order.
    zeros_yx : int32 (h, 3)
        Zeros per row, from `mark_finite`.
    min_area_px : float
        Area of the smallest region that is cleared, in pixels.
    valid_yx : bool (h, w), changed in place

    Notes
    -----
    Connected-component labelling by union-find over the runs of each row.
    """
    height, width = words_yx.shape
    first = np.zeros(height + 1, np.int64)  # index of each row's first run
    runs, parents = np.empty((width + 4, 2), I32), np.empty(width + 4, np.int64)
    for y in range(height):
        if first[y] + width // 2 + 2 > len(runs):  # a row has at most every other pixel as a run
            runs, parents = np.concatenate((runs, runs)), np.concatenate((parents, parents))
        zeros = zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2]
        first[y + 1] = _append_row_runs(words_yx[y], magnitude, zeros, runs, first[y])
        above = first[y - 1] if y else 0
        for run in range(first[y], first[y + 1]):
            parents[run] = run
            while above < first[y] and runs[above, 1] <= runs[run, 0]:
                above += 1
            over = above  # join with every run of the row before that shares a column
            while over < first[y] and runs[over, 0] < runs[run, 1]:
                parents[_root(parents, over)] = _root(parents, run)
                over += 1
    areas = np.zeros(first[height], np.int64)
    for run in range(first[height]):
        areas[_root(parents, run)] += runs[run, 1] - runs[run, 0]
    for y in range(height):
        for run in range(first[y], first[y + 1]):
            if areas[_root(parents, run)] >= min_area_px:
                valid_yx[y, runs[run, 0] : runs[run, 1]] = False
