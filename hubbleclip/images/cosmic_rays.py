"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than any star, because the telescope's point-spread function blurs every star. L.A.Cosmic (van
Dokkum 2001, PASP 113, 1420) is based on the same fact, but it also rejects the cores of HST's undersampled stars. The
contrasts below are chosen so that those cores are kept.

The detection begins at the seeds, which are pixels sharper than any star, and then follows the track of each ray. In
this module the height of a pixel is its value minus the sky level, in the image's unit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import F32, I32, compiled, pixel_words, to_float32

SIGNIFICANCE_SIGMA = 6.0
"""Minimum height above the sky of a pixel of a cosmic ray, in sigmas of the noise."""
TOLERANCE_SIGMA = 1.5
"""Value added to the height of the lowest neighbour, in sigmas of the noise.

It compensates a bias: the minimum of several noisy pixels is lower than the true level.
"""
MEDIAN_CONTRAST = 5.0
"""First test of a seed: height - median > this factor * median, with the median height of its 3x3 neighbourhood."""
SEED_CONTRAST = 15.0
"""Second test of a seed: highest of its 3x3 pixels, and height > this factor * height of its lowest neighbour."""
GROWTH_CONTRAST = 4.0
"""A pixel next to a ray belongs to the ray if its height exceeds this factor times that of its lowest neighbour."""
MAX_ROUNDS = 12
"""Maximum number of detection rounds. Each round grows the rays by one pixel."""
MAX_SHARE = 0.15
"""Maximum share of an image that rays may cover. If more is detected, the sharp pixels are single photons, not rays."""
VALID, RAY, GROWN = 1, 2, 3
"""Values of the mask during the detection.

None of them is 0, because detected rays count as valid neighbours until the detection ends. `GROWN` marks a pixel that
was detected in the current round. The states are stored in the mask itself, because a separate array would need a
quarter of the image's memory.
"""

RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, in order of rows, then columns."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))


class Limits(NamedTuple):
    """Thresholds of the detection, float32 in the image's unit; `sky` is the sky level."""

    sky: Any
    threshold: Any
    """Value that every pixel of a ray exceeds."""
    rise: Any
    """Amount by which a seed must exceed the median of its 3x3 neighbourhood in the first test."""
    tolerance: Any
    """Value added to the height of the lowest neighbour; see `TOLERANCE_SIGMA`."""


def reject_cosmic_rays(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float
) -> RayPixels:
    """Find the pixels that cosmic rays have hit, and clear the mask there.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Pixel values, of either byte order.
    valid_yx : bool (h, w), changed in place
        Mask of the valid pixels; set to False at rays.
    sky, noise : float
        Level and sigma of the background, in the image's unit.

    Returns
    -------
    rows, columns : int32 (n,)
        Pixels of rays, in order of rows, then columns. The arrays are empty and the mask is unchanged if more than 15 %
        of the image would be rays, because such an image consists of single photons.

    Notes
    -----
    A seed is a pixel whose height exceeds 6 noise sigmas and that passes one of two tests. In the first test, its
    height minus the median height of its 3x3 neighbourhood must exceed both 6 noise sigmas and 5 times that median. In
    the second test, it must be the highest pixel of its 3x3 neighbourhood, and its height must exceed 15 times that of
    its lowest neighbour. No star passes a test, because the point-spread function spreads its light over the 3x3
    neighbourhood. A ray then grows from its seed: a pixel that touches the ray is added if its height exceeds 4 times
    that of its lowest neighbour outside the ray. This growth follows tracks that are up to two pixels wide.
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
    mask_yx[rows, columns] = VALID if is_sparse else 0  # only 0 and 1 remain, as in a bool array
    return NO_RAYS if is_sparse else (rows, columns)


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """Set the mask to `RAY` at seeds, then in rounds at the pixels over which the rays grow.

    Parameters
    ----------
    pixels : Pixels
        Raw words of the image, uint32 (h, w), and whether they are byte-swapped; see `pixel_words`.
    mask_yx : uint8 (h, w), changed in place
        Mask whose values are 0 or `VALID`.
    limits : Limits
        Thresholds of the detection.

    Returns
    -------
    num_rays : int
        Number of pixels set to `RAY`.
    """
    latest = _find_seeds(pixels, mask_yx, limits)
    _mark(mask_yx, latest)
    num_rays = len(latest)
    for _ in range(MAX_ROUNDS - 1):
        latest = _grow(pixels, mask_yx, limits, latest)
        _mark(mask_yx, latest)  # marked after the round, so that the result is independent of the order
        num_rays += len(latest)
    return num_rays


@compiled
def _find_seeds(pixels: Any, mask_yx: Any, limits: Any) -> Any:
    """Return the seeds as a list of (y, x). The parameters are those of `_mark_rays`."""
    height, width = mask_yx.shape
    # `heights` is a ring buffer of three rows; row y of the image is at index y % 3.
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
    """Set `is_bright`, bool (w,), where a valid pixel of row `y` exceeds the threshold, to preselect seeds fast."""
    words = pixels[0][y]
    for x in range(mask.size):
        is_bright[x] = (to_float32(words[x], pixels[1]) > threshold) & (mask[x] != 0)


@compiled
def _read_heights(pixels: Any, mask_yx: Any, sky: Any, y: Any, heights: Any) -> None:
    """Write the heights of row `y` above the sky to `heights`, float32 (w + 2,), with a margin of one pixel.

    The height is 0 where a pixel is not valid or lies beyond the image.
    """
    heights[:] = F32(0)
    if y < mask_yx.shape[0]:
        words, mask, inside = pixels[0][y], mask_yx[y], heights[1:]
        for x in range(mask.size):
            inside[x] = F32(to_float32(words[x], pixels[1]) - sky) if mask[x] else F32(0)


@compiled
def _is_seed(rows: Any, limits: Any, x: Any) -> Any:
    """Return whether a bright pixel is sharper than any star, by the two tests in `reject_cosmic_rays`.

    `rows` holds the heights of the row above the pixel, of the pixel's row, and of the row below. The median of nine
    values is low enough if and only if at least five of the values are. These values are counted, and the median itself
    is not computed.
    """
    above, middle, below = rows
    height, num_low = middle[x], 0
    lowest = min(above[x], below[x], middle[x - 1], middle[x + 1])
    highest = height
    for row in rows:
        for dx in range(-1, 2):
            near = row[x + dx]
            level = max(near, F32(0))  # a level below the sky is noise, so it counts as 0
            margin = F32(height - level)
            num_low += (margin > F32(F32(MEDIAN_CONTRAST) * level)) & (margin > limits.rise)
            highest = max(highest, near)
    floor = F32(max(lowest, F32(0)) + limits.tolerance)
    return num_low >= 5 or (height == highest and height > F32(F32(SEED_CONTRAST) * floor))


@compiled
def _grow(pixels: Any, mask_yx: Any, limits: Any, latest: Any) -> Any:
    """Return the pixels (y, x) that touch a ray pixel of the previous round and belong to the ray.

    The mask is set to `GROWN` at these pixels.
    """
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
    """Return whether a valid pixel next to a ray belongs to the ray.

    Its height must exceed `GROWTH_CONTRAST` times that of its lowest side neighbour. Neighbours in rays are ignored.
    """
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
    """Return the height of a pixel above the sky, float32; 0 where the pixel is not valid or outside the image."""
    if not (0 <= y < mask_yx.shape[0] and 0 <= x < mask_yx.shape[1]) or mask_yx[y, x] == 0:
        return F32(0)
    return F32(to_float32(pixels[0][y, x], pixels[1]) - sky)


@compiled
def _mark(mask_yx: Any, positions: Any) -> None:
    """Set the mask to `RAY` at each position of a list of (y, x)."""
    for y, x in positions:
        mask_yx[y, x] = RAY


@compiled
def _ray_pixels(mask_yx: Any, num_rays: Any) -> Any:
    """Return the rows and columns, int32 (num_rays,) each, of the pixels at which the mask is `RAY`, in row order."""
    rows, columns, num = np.empty(num_rays, I32), np.empty(num_rays, I32), 0
    for y in range(mask_yx.shape[0]):
        for x in range(mask_yx.shape[1]):
            if mask_yx[y, x] == RAY:
                rows[num], columns[num] = y, x
                num += 1
    return rows, columns
