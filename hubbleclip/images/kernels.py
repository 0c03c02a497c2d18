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
MAGNITUDE, EXPONENT = 0x7FFFFFFF, 0x7F800000
REACH_PX = 2
SIDE_PX = 2 * REACH_PX + 1
AREA = SIDE_PX * SIDE_PX
NEVER = AREA + 1
"""More sound neighbours than a pixel can have: no hole is filled."""
LANES = 16
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
def _zero_runs(words: Any, magnitude: Any, runs: Any, count: Any) -> Any:
    """Append the runs of zeros of a row as (start, end); `runs` has room. Returns the new count."""
    width = words.size
    x = 0
    while x < width:
        if x + BLOCK_PX <= width:
            found = U32(0)
            for k in range(BLOCK_PX):
                found |= U32((words[x + k] & magnitude) == U32(0))
            if not found:
                x += BLOCK_PX
                continue
        stop = min(x + BLOCK_PX, width)
        while x < stop:
            if (words[x] & magnitude) == U32(0):
                runs[count, 0] = x
                while x < width and (words[x] & magnitude) == U32(0):
                    x += 1
                runs[count, 1] = x
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


@compiled
def _height(pixels: Any, valid_yx: Any, sky: Any, y: Any, x: Any) -> Any:
    """A pixel's height above the sky; 0 where it is not valid or outside."""
    words_yx, swapped = pixels
    if 0 <= y < words_yx.shape[0] and 0 <= x < words_yx.shape[1] and valid_yx[y, x]:
        return F32(value_of(words_yx[y, x], swapped) - sky)
    return F32(0)


@compiled
def _is_seed(pixels: Any, valid_yx: Any, limits: Any, y: Any, x: Any) -> Any:
    """See `cosmic.find_cosmic_rays`. The median of nine stands low enough where five of them do."""
    sky, rise, median_contrast, peak_contrast, tolerance = limits[1:6]
    height = _height(pixels, valid_yx, sky, y, x)
    highest = lowest = height
    num_low = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            near = _height(pixels, valid_yx, sky, y + dy, x + dx)
            highest = max(highest, near)
            if (dy == 0) != (dx == 0):
                lowest = min(lowest, near)
            level = max(near, F32(0))
            num_low += height - level > max(F32(median_contrast * level), rise)
    return num_low >= 5 or (height >= highest and height > peak_contrast * F32(max(lowest, F32(0)) + tolerance))


@compiled
def _is_growth(pixels: Any, valid_yx: Any, rays_yx: Any, limits: Any, place: Any) -> Any:
    y, x = place
    sky, tolerance, growth_contrast = limits[1], limits[5], limits[6]
    lowest = F32(np.inf)
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        row, column = y + dy, x + dx
        inside = 0 <= row < rays_yx.shape[0] and 0 <= column < rays_yx.shape[1]
        if not (inside and rays_yx[row, column] == 1):
            lowest = min(lowest, _height(pixels, valid_yx, sky, row, column))
    floor = F32(0) if np.isinf(lowest) else F32(max(lowest, F32(0)) + tolerance)
    return _height(pixels, valid_yx, sky, y, x) > growth_contrast * floor


@compiled
def _push(places: Any, count: Any, y: Any, x: Any) -> Any:
    if count == len(places):
        places = np.concatenate((places, places))
    places[count, 0], places[count, 1] = y, x
    return places


@compiled
def _seeds(pixels: Any, valid_yx: Any, limits: Any) -> Any:
    words_yx, swapped = pixels
    seeds, num_seeds = np.empty((1024, 2), I32), 0
    height, width = words_yx.shape
    above = np.empty(width, np.uint8)
    for y in range(height):
        words, valid = words_yx[y], valid_yx[y]
        for x in range(width):
            above[x] = (value_of(words[x], swapped) > limits[0]) & valid[x]
        for x in range(width):
            if above[x] and _is_seed(pixels, valid_yx, limits, y, x):
                seeds = _push(seeds, num_seeds, y, x)
                num_seeds += 1
    return seeds[:num_seeds]


@compiled
def mark_rays(pixels: Any, valid_yx: Any, limits: Any, num_rounds: Any, rays_yx: Any) -> Any:
    """Set `rays_yx` (uint8, zeros) to 1 at seeds and where they grow; return how many there are.

    `limits` are threshold, sky, rise, contrasts of median and peak, tolerance and the contrast of growth.
    """
    words_yx, swapped = pixels
    height, width = words_yx.shape
    fresh, num_rays = _seeds(pixels, valid_yx, limits), 0
    for _ in range(num_rounds):
        for y, x in fresh:
            rays_yx[y, x] = 1
        num_rays += len(fresh)
        grown, num_grown = np.empty((1024, 2), I32), 0
        for y0, x0 in fresh:
            for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
                for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                    if rays_yx[y, x] or not (valid_yx[y, x] and value_of(words_yx[y, x], swapped) > limits[0]):
                        continue
                    if _is_growth(pixels, valid_yx, rays_yx, limits, (y, x)):
                        rays_yx[y, x] = 2
                        grown = _push(grown, num_grown, y, x)
                        num_grown += 1
        fresh = grown[:num_grown]
    for y, x in fresh:
        rays_yx[y, x] = 0
    return num_rays


@compiled
def _median_around(pixels: Any, sound_yx: Any, y: Any, x: Any, near: Any) -> Any:
    """Median of the sound pixels in the 5x5 around a pixel, those of the image's rim taken again beyond it."""
    words_yx, swapped = pixels
    height, width = words_yx.shape
    count = 0
    near[:] = np.inf
    for dy in range(-REACH_PX, REACH_PX + 1):
        row = min(max(y + dy, 0), height - 1)
        for dx in range(-REACH_PX, REACH_PX + 1):
            column = min(max(x + dx, 0), width - 1)
            if sound_yx[row, column]:
                near[count] = value_of(words_yx[row, column], swapped)
                count += 1
    low, high = F32(0), F32(0)
    for i in range(count):
        value, below, upto = near[i], I32(0), I32(0)
        for k in range(32):
            below = I32(below + I32(near[k] < value))
            upto = I32(upto + I32(near[k] <= value))
        if below <= (count - 1) // 2 < upto:
            low = value
        if below <= count // 2 < upto:
            high = value
    return F32(low + high) / F32(2)


@compiled
def _count_columns(sound_yx: Any, y: Any, counts: Any) -> None:
    """Sound pixels in the five rows about `y`, by column; `counts` has a rim of two on each side, kept at 0."""
    counts[:] = 0
    for row in range(max(y - REACH_PX, 0), min(y + REACH_PX + 1, sound_yx.shape[0])):
        sound = sound_yx[row]
        for x in range(sound.size):
            counts[x + REACH_PX] += sound[x]


@compiled
def _is_hole(counts: Any, x: Any, least: Any) -> Any:
    total = 0
    for k in range(SIDE_PX):
        total += counts[x + k]
    return total >= least


@compiled
def fill_holes(pixels: Any, sound_yx: Any, least: Any, data_yx: Any, shown_yx: Any) -> None:
    """Write the median of the sound pixels around it into `data_yx` for each pixel that is not sound but has `least`
    sound ones in its 5x5, and set `shown_yx` there.
    """
    height, width = sound_yx.shape
    counts, near = np.empty(width + 2 * REACH_PX, np.uint8), np.empty(32, F32)
    for y in range(height):
        if sound_yx[y].all():
            continue
        _count_columns(sound_yx, y, counts)
        for x in range(width):
            if not sound_yx[y, x] and _is_hole(counts, x, least):
                data_yx[y, x] = _median_around(pixels, sound_yx, y, x, near)
                shown_yx[y, x] = True


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
    counts, near = np.empty(width + 2 * REACH_PX, np.uint8), np.empty(32, F32)
    for row in range(levels_yx.shape[0]):
        y = y0 + row
        words, sound, levels = words_yx[y], sound_yx[y], levels_yx[row]
        for x in range(width):
            height = F32(value_of(words[x], swapped) - black) if sound[x] else blank
            levels[x] = _level(height, curve)
        if least == NEVER or sound.all():
            continue
        _count_columns(sound_yx, y, counts)
        for x in range(width):
            if not sound[x] and _is_hole(counts, x, least):
                levels[x] = _level(F32(_median_around(pixels, sound_yx, y, x, near) - black), curve)


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
    counts, near = np.empty(width + 2 * REACH_PX, np.uint8), np.empty(32, F32)
    _count_columns(sound_yx, y, counts)
    for x in range(start, stop):
        if valid[x] and not sound[x] and _is_hole(counts, x, least):
            heights[x - x0] = min(F32(_median_around(pixels, sound_yx, y, x, near) - sky), ceiling)


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
