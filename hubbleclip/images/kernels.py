"""Shared numba-compiled loops over pixels: byte order, scalar functions, sampling and masks.

The loops read pixels in the byte order of the file (see `pixel_words`), so that no image is copied. They compute in
IEEE 754 float32 without fused multiply-add, so that every machine gives the same levels. Each count has the narrowest
sufficient integer type, because LLVM can then use vector instructions. `tests/images/numpy_twins.py` contains a slow
NumPy reference of each loop.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core import event
from numpy.typing import NDArray

from hubbleclip.core.io import write_bytes

compiled = njit(nogil=True, cache=True, error_model="numpy")
"""Decorator of every compiled loop.

numba caches the machine code in the `__pycache__` folder of the source, or under `NUMBA_CACHE_DIR`. The first call
after a change of the source compiles the loop, which takes some seconds.
"""

log = logging.getLogger("hubbleclip.images")


class CompileReport(event.Listener):
    """Says that loops are compiled, which takes about a minute after an installation, and how long it took."""

    def __init__(self) -> None:
        self.depth, self.total_s, self.started_s, self.is_announced = 0, 0.0, 0.0, False

    def on_start(self, event: Any) -> None:
        """Log a line before the first loop; a loop may begin the compilation of another."""
        if not self.is_announced:
            self.is_announced = True
            log.info("compiling the loops over pixels, once per installation: about a minute")
        if not self.depth:
            self.started_s = time.monotonic()
        self.depth += 1

    def on_end(self, event: Any) -> None:
        """Add the time of a loop."""
        self.depth -= 1
        if not self.depth:
            self.total_s += time.monotonic() - self.started_s

    def take(self) -> float:
        """Return the time that was spent on compilation since the last call."""
        total_s, self.total_s = self.total_s, 0.0
        return total_s


COMPILING = CompileReport()
event.register("numba:compile", COMPILING)  # type: ignore[no-untyped-call] # numba holds a lock while it compiles

F32, U32, I32 = np.float32, np.uint32, np.int32
MAGNITUDE, EXPONENT = 0x7FFFFFFF, 0x7F800000
"""Bit masks of an IEEE 754 float32; an exponent of all ones means inf or NaN."""
BLOCK_PX = 64

Pixels = tuple[NDArray[np.uint32], bool]
"""Raw 32-bit words (h, w) of float32 pixels, and whether the bytes of a word are swapped; see `pixel_words`."""


def discard_stale_cache(folder: Path) -> None:
    """Delete numba's cached machine code in a folder unless every source file there is unchanged.

    numba recompiles a function if the function's own source file has changed. It does not check the source files of
    the functions that it calls (numba manual, "Caching limitations"), and would continue to run their old code.
    """
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    fingerprint = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    cache = folder / "__pycache__"
    stamp = cache / "compiled.txt"
    with suppress(OSError):  # if the folder is read-only, numba keeps its cache in another folder
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
            return
        for cached in cache.glob("*.nb[ci]"):
            cached.unlink(missing_ok=True)
        write_bytes(stamp, fingerprint.encode(), is_synced=False)


discard_stale_cache(Path(__file__).parent)  # called before any function below loads its cache


def pixel_words(data_yx: NDArray[np.float32]) -> Pixels:
    """View float32 pixels as their raw 32-bit words. Contiguous arrays are not copied."""
    words_yx = np.ascontiguousarray(data_yx).view(np.ndarray).view(np.uint32)
    words_yx.flags.writeable = False
    return words_yx, not data_yx.dtype.isnative


def stored_pattern(bits: int, swapped: bool) -> Any:
    """Convert a bit pattern to the byte order of stored words, so that words can be compared without byte-swapping."""
    return U32(int.from_bytes(bits.to_bytes(4, "little"), "big") if swapped else bits)


@compiled
def to_float32(bits: Any, swapped: Any) -> Any:
    """Convert a raw word to the float32 value of the pixel."""
    if swapped:
        middle = ((bits >> U32(8)) & U32(0xFF00)) | ((bits & U32(0xFF00)) << U32(8))
        return U32((bits >> U32(24)) | middle | (bits << U32(24))).view(F32)
    return U32(bits).view(F32)


@compiled
def exp_asinh(ratio: Any) -> Any:
    """Compute exp(asinh(ratio)), whose natural logarithm is asinh(ratio)."""
    return F32(ratio + np.sqrt(ratio * ratio + F32(1)))


@compiled
def natural_log(value: Any) -> Any:
    """Compute the natural logarithm with an error of at most 5e-7 or two units in the last place.

    The exponent is read from the bits, and a minimax polynomial approximates the logarithm of the mantissa. The
    function consists of additions and multiplications only. Unlike libm, it therefore gives the same bits on every
    machine, and the compiler can vectorise loops that call it.
    """
    bits = I32(F32(value).view(I32))
    power = I32(I32(bits - I32(0x3F3504F3)) >> I32(23))  # 0x3F3504F3 is sqrt(1/2), so the mantissa is in [0.71, 1.41)
    rest = I32(bits - I32(power << I32(23))).view(F32) - F32(1)
    log = F32(0.11827471852302551) * rest + F32(-0.18901976943016052)  # Horner's scheme, highest power first
    log = log * rest + F32(0.20604674518108368)
    log = log * rest + F32(-0.24881339073181152)
    log = log * rest + F32(0.3330329954624176)
    log = log * rest + F32(-0.5000196695327759)
    log = log * rest + F32(1.0000032186508179)
    return log * rest + F32(power) * F32(0.6931471805599453)


@compiled
def read_row(pixels: Any, mask_yx: Any, y: Any, values: Any) -> None:
    """Read a row of an image with a margin of one pixel."""
    values[:] = F32(np.inf)
    if y < mask_yx.shape[0]:
        words, mask, inside = pixels[0][y], mask_yx[y], values[1:]
        for x in range(mask.size):
            inside[x] = to_float32(words[x], pixels[1]) if mask[x] != 0 else F32(np.inf)


@compiled
def sample_pixels(pixels: Any, valid_yx: Any, step: Any) -> Any:
    """Collect the valid pixels of every n-th row and column."""
    words_yx, swapped = pixels
    height, width = words_yx.shape
    sample, num = np.empty((-(-height // step)) * (-(-width // step)) + 1, F32), 0
    for y in range(0, height, step):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(0, width, step):
            # Every pixel is written but only valid pixels advance `num`, so that the loop has no branch. The addition
            # of 0 turns -0 into 0.
            sample[num] = F32(to_float32(words[x], swapped) + F32(0))
            num += valid[x]
    return sample[:num]


@compiled
def lagged_differences(pixels: Any, valid_yx: Any, step: Any, lag: Any) -> Any:
    """Compute the absolute differences between sampled pixels and the pixels `lag` columns away, if both are valid."""
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
    """Mark the finite pixels and count the zeros of each row."""
    height, width = words_yx.shape
    for y in range(height):
        words, valid, num_zeros = words_yx[y], valid_yx[y], U32(0)
        for x in range(width):
            valid[x] = (words[x] & exponent) != exponent
            # `magnitude` removes the sign bit, so that -0 counts too
            num_zeros = U32(num_zeros + ((words[x] & magnitude) == U32(0)))
        leading = trailing = 0
        if num_zeros:
            while leading < width and (words[leading] & magnitude) == U32(0):
                leading += 1
            while leading + trailing < width and (words[width - 1 - trailing] & magnitude) == U32(0):
                trailing += 1
        zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2] = num_zeros, leading, trailing


@compiled
def mask_nonpositive(pixels: Any, valid_yx: Any) -> None:
    """Clear the mask where a weight is NaN, 0 or negative."""
    words_yx, swapped = pixels
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] &= to_float32(words[x], swapped) > F32(0)  # the comparison is False for NaN too


@compiled
def mask_flag_bits(flags_yx: Any, bad: Any, valid_yx: Any) -> None:
    """Clear the mask where a pixel has any of the bad data-quality flags."""
    for y in range(flags_yx.shape[0]):
        flags, valid = flags_yx[y], valid_yx[y]
        for x in range(flags.size):
            valid[x] &= (flags[x] & bad) == 0


@compiled
def _root(parents: Any, label: Any) -> Any:
    """Return the representative label of a region in the union-find forest `parents`, int64 (n,); uses path halving."""
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _count_zeros(words: Any, magnitude: Any) -> Any:
    """Return the number of pixels that are 0 or -0 among raw words, uint32 (w,)."""
    num_zeros = 0
    for x in range(words.size):
        num_zeros += (words[x] & magnitude) == U32(0)
    return num_zeros


@compiled
def _append_zero_runs(words: Any, magnitude: Any, runs: Any, count: Any) -> Any:
    """Append the runs of zeros in a row to a list of runs."""
    x = 0
    while x < words.size:
        block = words[x : x + BLOCK_PX]
        if _count_zeros(block, magnitude) == 0:  # most blocks contain no zero, and the vectorised count skips them fast
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
    """Append the runs of zeros in a row to `runs`; see `_append_zero_runs`.

    The row is not read if its counts `zeros` (see `mark_finite`) show that all its zeros are at its start or end.
    """
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

    The regions are found by connected-component labelling: a union-find structure joins the runs of zeros of adjacent
    rows.
    """
    height, width = words_yx.shape
    first = np.zeros(height + 1, np.int64)  # `first[y]` is the index of the first run in row y
    runs, parents = np.empty((width + 4, 2), I32), np.empty(width + 4, np.int64)
    for y in range(height):
        if first[y] + width // 2 + 2 > len(runs):  # a row has at most one run per two pixels
            runs, parents = np.concatenate((runs, runs)), np.concatenate((parents, parents))
        zeros = zeros_yx[y, 0], zeros_yx[y, 1], zeros_yx[y, 2]
        first[y + 1] = _append_row_runs(words_yx[y], magnitude, zeros, runs, first[y])
        above = first[y - 1] if y else 0
        for run in range(first[y], first[y + 1]):
            parents[run] = run
            while above < first[y] and runs[above, 1] <= runs[run, 0]:
                above += 1
            over = above  # the run is joined with every run of the previous row that shares a column
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
