"""Cosmic rays and hot pixels of a CCD exposure, told from stars by their sharpness.

The idea is that of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420), made safe for HST's undersampled stars, whose cores
that method rejects: a ray is sharper than the point-spread function lets any star be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, I32, pixel_words, value_of

SIGNIFICANCE_SIGMA = 6.0
TOLERANCE_SIGMA = 1.5
MEDIAN_CONTRAST = 5.0
SEED_CONTRAST = 15.0
GROWTH_CONTRAST = 4.0
MAX_ROUNDS = 12
MAX_SHARE = 0.15
VALID, RAY, GROWN = 1, 2, 3
"""What a mask holds while rays are sought: rays, and those of the present round, are still valid, thus not 0. A mask of
its own would be a quarter of the image.
"""

Rays = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns of the pixels of cosmic rays, row by row."""
NO_RAYS: Rays = (np.empty(0, np.int32), np.empty(0, np.int32))


class Limits(NamedTuple):
    """What rays are judged by, as float32 in the image's unit."""

    sky: Any
    threshold: Any
    """A ray is brighter."""
    rise: Any
    """A seed rises at least this far above the median of its 3x3."""
    tolerance: Any
    """Added to a lowest neighbour, which noise may have made too low."""


def take_out_rays(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float) -> Rays:
    """Clear `valid_yx` at pixels that are too sharp to have come through the telescope.

    A seed rises above the sky by 6 noise sigmas and by 5 times the median of its 3x3, or is the peak of its 3x3 and 15
    times its lowest neighbour: no star does, since the point-spread function fills the 3x3. From seeds the mask grows
    over touching pixels that are 4 times their lowest unmasked neighbour, along tracks up to two pixels wide.

    Parameters
    ----------
    data_yx : float32 (h, w), of either byte order
    valid_yx : bool (h, w)
        Changed in place.
    sky, noise : float
        Level and sigma of the background, in the image's unit.

    Returns
    -------
    rows, columns : int32 (n,)
        Where the rays are, row by row. None are where they would be over 15 % of the image: that means sparse photons.
    """
    limits = Limits(
        sky=F32(sky),
        threshold=F32(sky + SIGNIFICANCE_SIGMA * noise),
        rise=F32(SIGNIFICANCE_SIGMA * noise),
        tolerance=F32(TOLERANCE_SIGMA * noise),
    )
    mask_yx = valid_yx.view(np.uint8)
    num_rays = _mark_rays(pixel_words(data_yx), mask_yx, limits)
    rows, columns = _places_of_rays(mask_yx, num_rays)
    is_sparse = num_rays > int(MAX_SHARE * data_yx.size)
    mask_yx[rows, columns] = VALID if is_sparse else 0
    return NO_RAYS if is_sparse else (rows, columns)


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """Set the mask to `RAY` at seeds and where they grow, round by round.

    Parameters
    ----------
    pixels : uint32 (h, w) and bool
        See `pixel_words`.
    mask_yx : uint8 (h, w)
        0 or `VALID`; changed in place.
    limits : Limits

    Returns
    -------
    num_rays : int
    """
    fresh = _find_seeds(pixels, mask_yx, limits)
    _mark(mask_yx, fresh)
    num_rays = len(fresh)
    for _ in range(MAX_ROUNDS - 1):
        fresh = _grow(pixels, mask_yx, limits, fresh)
        _mark(mask_yx, fresh)
        num_rays += len(fresh)
    return num_rays


@compiled
def _find_seeds(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """List the seeds as (y, x); parameters as of `_mark_rays`. Three rows of heights are held at a time."""
    height, width = mask_yx.shape
    heights, is_bright = np.zeros((3, width + 2), F32), np.empty(width, np.bool_)
    seeds: list[tuple[Any, Any]] = []
    _read_heights(pixels, mask_yx, limits.sky, 0, heights[0])
    for y in range(height):
        _read_heights(pixels, mask_yx, limits.sky, y + 1, heights[(y + 1) % 3])
        rows = heights[(y - 1) % 3], heights[y % 3], heights[(y + 1) % 3]
        _find_bright(pixels, mask_yx[y], limits.threshold, y, is_bright)
        seeds.extend([(I32(y), I32(x)) for x in range(width) if is_bright[x] and _is_seed(rows, limits, x + 1)])
    return seeds


@compiled
def _find_bright(pixels: Any, mask: Any, threshold: Any, y: Any, is_bright: Any) -> None:
    """Set `is_bright`, bool (w,), where a row may have seeds."""
    words = pixels[0][y]
    for x in range(mask.size):
        is_bright[x] = (value_of(words[x], pixels[1]) > threshold) & (mask[x] != 0)


@compiled
def _read_heights(pixels: Any, mask_yx: Any, sky: Any, y: Any, heights: Any) -> None:
    """Heights of a row above the sky, float32 (w + 2,) with a rim: 0 where it is not valid, or beyond the image."""
    heights[:] = F32(0)
    if y < mask_yx.shape[0]:
        words, mask, inside = pixels[0][y], mask_yx[y], heights[1:]
        for x in range(mask.size):
            inside[x] = F32(value_of(words[x], pixels[1]) - sky) if mask[x] else F32(0)


@compiled
def _is_seed(rows: Any, limits: Any, x: Any) -> Any:
    """Whether a bright pixel is sharper than any star: above the median of its 3x3, or a peak above what is beside it.

    `rows` are the heights above, of, and below its row; the median of nine is low enough where five are.
    """
    above, middle, below = rows
    height, num_low = middle[x], 0
    lowest = min(above[x], below[x], middle[x - 1], middle[x + 1])
    highest = height
    for row in rows:
        for dx in range(-1, 2):
            near = row[x + dx]
            level = max(near, F32(0))
            margin = F32(height - level)
            num_low += (margin > F32(F32(MEDIAN_CONTRAST) * level)) & (margin > limits.rise)
            highest = max(highest, near)
    floor = F32(max(lowest, F32(0)) + limits.tolerance)
    return num_low >= 5 or (height == highest and height > F32(F32(SEED_CONTRAST) * floor))


@compiled
def _grow(pixels: Any, mask_yx: Any, limits: Any, fresh: Any) -> Any:
    """List what touches the fresh rays and belongs to them as (y, x), and mark it `GROWN`; see `_mark_rays`."""
    (words_yx, swapped), (height, width) = pixels, mask_yx.shape
    grown: list[tuple[Any, Any]] = []
    for y0, x0 in fresh:
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                is_bright = mask_yx[y, x] == VALID and value_of(words_yx[y, x], swapped) > limits.threshold
                if is_bright and _is_growth(pixels, mask_yx, limits, y, x):
                    mask_yx[y, x] = GROWN
                    grown.append((I32(y), I32(x)))
    return grown


@compiled
def _is_growth(pixels: Any, mask_yx: Any, limits: Any, y: Any, x: Any) -> Any:
    """Whether a valid pixel that touches a ray is one too: it rises above its lowest neighbour that is none."""
    lowest = F32(np.inf)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        near_y, near_x = y + dy, x + dx
        is_inside = 0 <= near_y < mask_yx.shape[0] and 0 <= near_x < mask_yx.shape[1]
        if not is_inside or mask_yx[near_y, near_x] != RAY:
            lowest = min(lowest, _height(pixels, mask_yx, limits.sky, near_y, near_x))
    floor = F32(0) if np.isinf(lowest) else F32(max(lowest, F32(0)) + limits.tolerance)
    return _height(pixels, mask_yx, limits.sky, y, x) > F32(GROWTH_CONTRAST) * floor


@compiled
def _height(pixels: Any, mask_yx: Any, sky: Any, y: Any, x: Any) -> Any:
    """A pixel's height above the sky as float32, 0 where it is not valid or outside."""
    if not (0 <= y < mask_yx.shape[0] and 0 <= x < mask_yx.shape[1]) or mask_yx[y, x] == 0:
        return F32(0)
    return F32(value_of(pixels[0][y, x], pixels[1]) - sky)


@compiled
def _mark(mask_yx: Any, places: Any) -> None:
    """Set the mask to `RAY` at places (y, x)."""
    for y, x in places:
        mask_yx[y, x] = RAY


@compiled
def _places_of_rays(mask_yx: Any, num_rays: Any) -> Any:
    """Rows and columns, int32 (num_rays,), of what the mask has as `RAY`, row by row."""
    rows, columns, found = np.empty(num_rays, I32), np.empty(num_rays, I32), 0
    for y in range(mask_yx.shape[0]):
        for x in range(mask_yx.shape[1]):
            if mask_yx[y, x] == RAY:
                rows[found], columns[found] = y, x
                found += 1
    return rows, columns
