"""The loops over pixels that numpy would walk many times: compiled by numba, each with its numpy twin in the tests.

They read pixels as they lie in the file, whatever its byte order (see `pixel_words`), so that no image is copied. They
count in float32 as IEEE 754 says and contract nothing: the same levels on every machine. What numba compiled is kept
beside this file, or under `NUMBA_CACHE_DIR`; the first run on a machine makes it and takes some seconds longer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32, U32, I32 = np.float32, np.uint32, np.int32
MAGNITUDE, EXPONENT, SWAPPED_INFINITY = 0x7FFFFFFF, 0x7F800000, 0x0000807F
REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NEVER = AREA + 1
"""More sound neighbours than a pixel can have: no hole is filled."""
LANES = 64
BLOCK_PX = 64

Pixels = tuple[NDArray[np.uint32], bool]

compiled = njit(nogil=True, cache=True, error_model="numpy")


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
    """The float32 of a word."""
    if swapped:
        middle = ((bits >> U32(8)) & U32(0xFF00)) | ((bits & U32(0xFF00)) << U32(8))
        return U32((bits >> U32(24)) | middle | (bits << U32(24))).view(F32)
    return U32(bits).view(F32)


@compiled
def asinh_of(ratio: Any) -> Any:
    """Asinh of a ratio from 0 to 1e18, within 5e-7: the logarithm of y = r + sqrt(r^2 + 1) by the exponent of y and a
    minimax polynomial in its mantissa. A loop over it becomes vector instructions, as numpy's on few machines.
    """
    bits = I32(F32(ratio + np.sqrt(ratio * ratio + F32(1))).view(I32))
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
def sort_floats(words: Any) -> Any:
    """Words of finite floats in the order of their values: radix sort, which takes a fifth of numpy's time."""
    keys, spare = np.empty(words.size, U32), np.empty(words.size, U32)
    for k in range(words.size):
        keys[k] = words[k] ^ (U32(0xFFFFFFFF) if words[k] >> U32(31) else U32(0x80000000))
    for shift in (0, 11, 22):
        ends = np.zeros(2049, np.int64)
        for k in range(words.size):
            ends[((keys[k] >> U32(shift)) & U32(2047)) + 1] += 1
        ends = np.cumsum(ends)
        for k in range(words.size):
            digit = (keys[k] >> U32(shift)) & U32(2047)
            spare[ends[digit]] = keys[k]
            ends[digit] += 1
        keys, spare = spare, keys
    for k in range(words.size):
        keys[k] ^= U32(0x80000000) if keys[k] >> U32(31) else U32(0xFFFFFFFF)
    return keys


@compiled
def mark_finite(words_yx: Any, exponent: Any, magnitude: Any, valid_yx: Any) -> Any:
    """Set `valid_yx` where a pixel is finite; return how many are exact zeros."""
    num_zeros = 0
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] = (words[x] & exponent) != exponent
            num_zeros += (words[x] & magnitude) == U32(0)
    return num_zeros


@compiled
def keep_positive(pixels: Any, valid_yx: Any) -> None:
    """Clear `valid_yx` where a weight is not above 0."""
    words_yx, swapped = pixels
    for y in range(words_yx.shape[0]):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(words.size):
            valid[x] &= value_of(words[x], swapped) > F32(0)


@compiled
def _root(parents: Any, label: Any) -> Any:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _count_zeros(words: Any, magnitude: Any) -> Any:
    num_zeros = 0
    for x in range(words.size):
        num_zeros += (words[x] & magnitude) == U32(0)
    return num_zeros


@compiled
def _zero_runs(words: Any, magnitude: Any, runs: Any, count: Any) -> Any:
    """Append the runs of zeros of a row as (start, end) to `runs`, which has room. Returns the new count."""
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
def clear_solid_zeros(words_yx: Any, magnitude: Any, least_px: Any, valid_yx: Any) -> None:
    """Clear `valid_yx` in every region of at least `least_px` zeros, connected by their sides: union-find over runs."""
    height, width = words_yx.shape
    first = np.zeros(height + 1, np.int64)
    runs, parents = np.empty((width + 1, 2), I32), np.empty(width + 1, np.int64)
    for y in range(height):
        if first[y] + width // 2 + 1 > len(runs):
            runs, parents = np.concatenate((runs, runs)), np.concatenate((parents, parents))
        first[y + 1] = _zero_runs(words_yx[y], magnitude, runs, first[y])
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


def _sorting_network(size: int) -> NDArray[np.int64]:
    """Batcher's odd-even merge sort (1968) of `size` values as pairs to compare and swap, in order."""
    pairs = []
    span = 1
    while span < size:
        step = span
        while step:
            for start in range(step % span, size - step, 2 * step):
                lows = range(start, min(start + step, size - step))
                pairs += [(low, low + step) for low in lows if low // (2 * span) == (low + step) // (2 * span)]
            step //= 2
        span *= 2
    return np.array(pairs, np.int64)


NETWORK = _sorting_network(AREA)


@compiled
def _gather_around(pixels: Any, sound_yx: Any, place: Any, near: Any) -> Any:
    """Sound pixels in the 5x5 around a place into a column of words, those of the image's rim taken again beyond it,
    infinity for the others. Returns how many.
    """
    words_yx, infinity = pixels
    y, x = place
    bottom, right = words_yx.shape[0] - 1, words_yx.shape[1] - 1
    is_inside = REACH_PX <= y <= bottom - REACH_PX and REACH_PX <= x <= right - REACH_PX
    count = k = 0
    for dy in range(-REACH_PX, REACH_PX + 1):
        for dx in range(-REACH_PX, REACH_PX + 1):
            row, column = y + dy, x + dx
            if not is_inside:
                row, column = min(max(row, 0), bottom), min(max(column, 0), right)
            sound = sound_yx[row, column]
            near[k] = words_yx[row, column] if sound else infinity
            count += sound
            k += 1
    return count


@compiled
def _medians_around(pixels: Any, sound_yx: Any, y: Any, columns: Any, medians: Any) -> None:
    """Median of the sound pixels in the 5x5 around each of some pixels of a row, sorted side by side."""
    words_yx, swapped = pixels
    infinity = U32(SWAPPED_INFINITY) if swapped else U32(EXPONENT)
    words, near = np.empty((AREA, columns.size), U32), np.empty((AREA, columns.size), F32)
    counts = np.empty(columns.size, np.int64)
    for lane in range(columns.size):
        counts[lane] = _gather_around((words_yx, infinity), sound_yx, (y, columns[lane]), words[:, lane])
    from_words, to_floats = words.reshape(-1), near.reshape(-1)
    for k in range(to_floats.size):
        to_floats[k] = value_of(from_words[k], swapped)
    for pair in range(len(NETWORK)):
        low, high = near[NETWORK[pair, 0]], near[NETWORK[pair, 1]]
        for lane in range(low.size):
            one, other = low[lane], high[lane]
            low[lane] = one if one < other else other
            high[lane] = other if one < other else one
    for lane in range(columns.size):
        count = counts[lane]
        medians[lane] = F32(near[(count - 1) // 2, lane] + near[count // 2, lane]) / F32(2)


@compiled
def _count_columns(sound_yx: Any, y: Any, counts: Any) -> None:
    """Sound pixels in the five rows about `y`, by column; `counts` has a rim of two on each side, kept at 0."""
    counts[:] = 0
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, sound_yx.shape[0])):
        sound = sound_yx[row]
        for x in range(sound.size):
            counts[x + REACH_PX] += sound[x]


@compiled
def _count_true(flags: Any) -> Any:
    num_true = 0
    for k in range(flags.size):
        num_true += flags[k]
    return num_true


@compiled
def holes_of_row(pixels: Any, sound_yx: Any, y: Any, least: Any, scratch: Any) -> Any:
    """Columns of the pixels of a row that are not sound but have `least` sound ones in their 5x5, and the medians of
    these: as long as the next call. `scratch` is from `row_scratch`.
    """
    counts, columns, medians = scratch
    sound, num_bad, found = sound_yx[y], 0, 0
    for start in range(0, sound.size, BLOCK_PX):
        block = sound[start : start + BLOCK_PX]
        if _count_true(block) < block.size:
            for k in range(block.size):
                columns[num_bad] = start + k
                num_bad += not block[k]
    if num_bad:
        _count_columns(sound_yx, y, counts)
    for x in columns[:num_bad]:
        total = 0
        for k in range(SIDE_PX):
            total += counts[x + k]
        columns[found] = x
        found += total >= least
    for start in range(0, found, LANES):
        block = slice(start, min(start + LANES, found))
        _medians_around(pixels, sound_yx, y, columns[block], medians[block])
    return columns[:found], medians[:found]


@compiled
def row_scratch(width: Any) -> Any:
    """Room for `holes_of_row`, for images of a width."""
    return np.empty(width + 2 * REACH_PX, np.uint8), np.empty(width + 1, np.int64), np.empty(width, F32)


@compiled
def fill_holes(pixels: Any, sound_yx: Any, least: Any, data_yx: Any, shown_yx: Any) -> None:
    """Fill the holes of `holes_of_row` in `data_yx`, and set `shown_yx` there."""
    scratch = row_scratch(sound_yx.shape[1])
    for y in range(sound_yx.shape[0]):
        columns, medians = holes_of_row(pixels, sound_yx, y, least, scratch)
        for k in range(columns.size):
            data_yx[y, columns[k]] = medians[k]
            shown_yx[y, columns[k]] = True


@compiled
def _level(height: Any, curve: Any) -> Any:
    """Level of a height above black, clipped to black and white; see `levels_of_rows`."""
    span, per_softening, scale, is_asinh = curve[1], curve[3], curve[4], curve[5]
    clipped = min(max(height, F32(0)), span)
    curved = asinh_of(F32(clipped * per_softening)) if is_asinh else clipped
    return np.uint8(min(F32(curved * scale), F32(255)) + F32(0.5))


@compiled
def levels_of_rows(pixels: Any, sound_yx: Any, curve: Any, y0: Any, levels_yx: Any) -> None:
    """8-bit levels of the rows from `y0` on, as many as `levels_yx` has: from the file's words in one pass.

    `curve` is black, white - black, the sky's height above black, 1 / softening, the levels a unit of the curve,
    whether it is asinh or a line, and `least`. Holes are filled as by `fill_holes`; what else is not sound is sky.
    """
    words_yx, swapped = pixels
    width = words_yx.shape[1]
    black, blank, least = curve[0], curve[2], curve[6]
    scratch = row_scratch(width)
    for row in range(levels_yx.shape[0]):
        y = y0 + row
        words, sound, levels = words_yx[y], sound_yx[y], levels_yx[row]
        for x in range(width):
            height = F32(value_of(words[x], swapped) - black) if sound[x] else blank
            levels[x] = _level(height, curve)
        if least < NEVER:
            columns, medians = holes_of_row(pixels, sound_yx, y, least, scratch)
            for k in range(columns.size):
                levels[columns[k]] = _level(F32(medians[k] - black), curve)


@compiled
def _heights_of_row(pixels: Any, masks: Any, place: Any, limits: Any, heights: Any) -> None:
    """Heights of the pixels from a place on above the sky, at most the ceiling; 0 if not valid or outside."""
    words_yx, swapped = pixels
    valid_yx, sound_yx = masks
    y, x0 = place
    sky, ceiling, least = limits[0], limits[1], limits[3]
    heights[:] = F32(0)
    if not 0 <= y < words_yx.shape[0]:
        return
    words, valid, sound, width = words_yx[y], valid_yx[y], sound_yx[y], words_yx.shape[1]
    start, stop = max(x0, 0), min(x0 + heights.size, width)
    num_rays = 0
    for x in range(start, stop):
        heights[x - x0] = min(F32(value_of(words[x], swapped) - sky), ceiling) if valid[x] else F32(0)
        num_rays += valid[x] & (not sound[x])
    if num_rays == 0:
        return
    columns, medians = holes_of_row(pixels, sound_yx, y, least, row_scratch(width))
    for k in range(columns.size):
        if start <= columns[k] < stop and valid[columns[k]]:
            heights[columns[k] - x0] = min(F32(medians[k] - sky), ceiling)


@compiled
def count_bright(pixels: Any, masks: Any, window: Any, limits: Any, enough: Any) -> Any:
    """How many valid pixels of a window have a 3x3 mean above the threshold; stops counting at `enough`.

    `masks` are the valid and the sound pixels: rays are valid but not sound, and count as what fills them. `window` is
    y0, x0 and the side, and may leave the image; `limits` are sky, ceiling, threshold and `least`.
    """
    y0, x0, side = window
    valid_yx = masks[0]
    rows, sums = np.empty((3, side), F32), np.empty(side + 2, F32)
    bright = 0
    _heights_of_row(pixels, masks, (y0, x0), limits, rows[0])
    rows[2] = rows[0]
    for y in range(side):
        above, middle, below = rows[(y + 2) % 3], rows[y % 3], rows[(y + 1) % 3]
        if y + 1 < side:
            _heights_of_row(pixels, masks, (y0 + y + 1, x0), limits, below)
        else:
            below[:] = middle
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]
        if not 0 <= y0 + y < valid_yx.shape[0]:
            continue
        valid = valid_yx[y0 + y]
        for x in range(max(x0, 0), min(x0 + side, valid.size)):
            mean = (sums[x - x0] + sums[x - x0 + 1] + sums[x - x0 + 2]) * F32(1 / 9)
            bright += (mean > limits[2]) & valid[x]
        if bright >= enough:
            break
    return bright
