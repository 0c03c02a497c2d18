"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than the point-spread function allows any star to be: the idea of L.A.Cosmic (van Dokkum 2001,
PASP 113, 1420). That method rejects the cores of HST's undersampled stars; the contrasts below are set to keep them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, I32, compiled, pixel_words, to_float32

SIGNIFICANCE_SIGMA = 6.0
"""Least height above the sky, in noise sigmas."""
TOLERANCE_SIGMA = 1.5
"""Added to the lowest neighbour, in noise sigmas, because the minimum of several noisy pixels is biased low."""
MEDIAN_CONTRAST = 5.0
"""A seed rises above the median of its 3x3 by more than this many times that median."""
SEED_CONTRAST = 15.0
"""Or it is the peak of its 3x3 and more than this many times its lowest neighbour."""
GROWTH_CONTRAST = 4.0
"""A pixel that touches a ray is one too if it is more than this many times its lowest neighbour."""
MAX_ROUNDS = 12
"""Rounds of detection; each grows a ray by one pixel."""
MAX_SHARE = 0.15
"""With more of the image than this as rays, they are sparse photons instead."""
VALID, RAY, GROWN = 1, 2, 3
"""Values of the mask during detection, all not 0 because rays are still valid neighbours until the end.

`GROWN` is a ray of the current round. The states share the mask's bytes: a separate mask would take a quarter of the
image's memory.
"""

RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, row by row."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))


class Limits(NamedTuple):
    """Limits of the detection, float32 in the image's unit."""

    sky: Any
    threshold: Any
    """Every pixel of a ray is brighter."""
    rise: Any
    """A seed rises at least this far above the median of its 3x3."""
    tolerance: Any
    """Added to the height of the lowest neighbour."""


def reject_cosmic_rays(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float
) -> RayPixels:
    """Clear the mask at pixels that are too sharp to have come through the telescope.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w), changed in place
    sky, noise : float
        Level and sigma of the background, in the image's unit.

    Returns
    -------
    rows, columns : int32 (n,)
        Pixels of rays, row by row. Empty where they would be over 15 % of the image: those are sparse photons.

    Notes
    -----
    A seed rises above the sky by 6 noise sigmas and by 5 times the median of its 3x3, or is the peak of its 3x3 and 15
    times its lowest neighbour. No star does, because the point-spread function fills the 3x3. From the seeds the mask
    grows over touching pixels that are 4 times their lowest unmasked neighbour, along tracks up to two pixels wide.
    """
    limits = Limits(
        sky=F32(sky),
        threshold=F32(sky + SIGNIFICANCE_SIGMA * noise),
        rise=F32(SIGNIFICANCE_SIGMA * noise),
        tolerance=F32(TOLERANCE_SIGMA * noise),
    )
    mask_yx = valid_yx.view(np.uint8)
    num_rays = _mark_rays(pixel_words(data_yx), mask_yx, limits)
    rows, columns = _ray_pixels(mask_yx, num_rays)
    is_sparse = num_rays > int(MAX_SHARE * data_yx.size)
    mask_yx[rows, columns] = VALID if is_sparse else 0  # the mask is a bool array again
    return NO_RAYS if is_sparse else (rows, columns)


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """Set the mask to `RAY` at seeds and where they grow, round by round.

    Parameters
    ----------
    pixels : Pixels
        uint32 (h, w) and bool; see `pixel_words`.
    mask_yx : uint8 (h, w), changed in place
        0 or `VALID`.
    limits : Limits

    Returns
    -------
    num_rays : int
    """
    latest = _find_seeds(pixels, mask_yx, limits)
    _mark(mask_yx, latest)
    num_rays = len(latest)
    for _ in range(MAX_ROUNDS - 1):
        latest = _grow(pixels, mask_yx, limits, latest)
        _mark(mask_yx, latest)  # after the round, so that its order does not matter
        num_rays += len(latest)
    return num_rays


@compiled
def _find_seeds(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """List the seeds as (y, x); parameters as for `_mark_rays`."""
    height, width = mask_yx.shape
    # A ring buffer of three rows of heights: row y is at index y % 3.
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
    """Set `is_bright`, bool (w,), where a row's valid pixels are above the threshold: a fast preselection."""
    words = pixels[0][y]
    for x in range(mask.size):
        is_bright[x] = (to_float32(words[x], pixels[1]) > threshold) & (mask[x] != 0)


@compiled
def _read_heights(pixels: Any, mask_yx: Any, sky: Any, y: Any, heights: Any) -> None:
    """Heights of a row above the sky, float32 (w + 2,) with a margin of 1: 0 where not valid or beyond the image."""
    heights[:] = F32(0)
    if y < mask_yx.shape[0]:
        words, mask, inside = pixels[0][y], mask_yx[y], heights[1:]
        for x in range(mask.size):
            inside[x] = F32(to_float32(words[x], pixels[1]) - sky) if mask[x] else F32(0)


@compiled
def _is_seed(rows: Any, limits: Any, x: Any) -> Any:
    """Whether a bright pixel is sharper than any star: far above the median of its 3x3, or above its neighbours.

    `rows` are the heights of the row above, its own, and the row below. The median of nine is low enough exactly where
    five of them are, so no median is computed.
    """
    above, middle, below = rows
    height, num_low = middle[x], 0
    lowest = min(above[x], below[x], middle[x - 1], middle[x + 1])
    highest = height
    for row in rows:
        for dx in range(-1, 2):
            near = row[x + dx]
            level = max(near, F32(0))  # below the sky only noise is left
            margin = F32(height - level)
            num_low += (margin > F32(F32(MEDIAN_CONTRAST) * level)) & (margin > limits.rise)
            highest = max(highest, near)
    floor = F32(max(lowest, F32(0)) + limits.tolerance)
    return num_low >= 5 or (height == highest and height > F32(F32(SEED_CONTRAST) * floor))


@compiled
def _grow(pixels: Any, mask_yx: Any, limits: Any, latest: Any) -> Any:
    """List the pixels (y, x) that touch the previous round's rays and belong to them, marked `GROWN`."""
    (words_yx, swapped), (height, width) = pixels, mask_yx.shape
    grown: list[tuple[Any, Any]] = []
    for y0, x0 in latest:
        for y in range(max(y0 - 1, 0), min(y0 + 2, height)):
            for x in range(max(x0 - 1, 0), min(x0 + 2, width)):
                is_bright = mask_yx[y, x] == VALID and to_float32(words_yx[y, x], swapped) > limits.threshold
                if is_bright and _is_growth(pixels, mask_yx, limits, y, x):
                    mask_yx[y, x] = GROWN
                    grown.append((I32(y), I32(x)))
    return grown


@compiled
def _is_growth(pixels: Any, mask_yx: Any, limits: Any, y: Any, x: Any) -> Any:
    """Whether a valid pixel that touches a ray is one too: it rises far above its lowest side neighbour that is not."""
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
    """Height of a pixel above the sky, float32; 0 where it is not valid or outside the image."""
    if not (0 <= y < mask_yx.shape[0] and 0 <= x < mask_yx.shape[1]) or mask_yx[y, x] == 0:
        return F32(0)
    return F32(to_float32(pixels[0][y, x], pixels[1]) - sky)


@compiled
def _mark(mask_yx: Any, positions: Any) -> None:
    """Set the mask to `RAY` at a list of (y, x)."""
    for y, x in positions:
        mask_yx[y, x] = RAY


@compiled
def _ray_pixels(mask_yx: Any, num_rays: Any) -> Any:
    """Rows and columns, int32 (num_rays,), of the mask's `RAY` pixels, row by row."""
    rows, columns, num = np.empty(num_rays, I32), np.empty(num_rays, I32), 0
    for y in range(mask_yx.shape[0]):
        for x in range(mask_yx.shape[1]):
            if mask_yx[y, x] == RAY:
                rows[num], columns[num] = y, x
                num += 1
    return rows, columns
