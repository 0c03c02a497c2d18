"""Rejection of cosmic rays and hot pixels in a single CCD exposure, by their sharpness.

A cosmic ray is sharper than any star, because the telescope's point-spread function blurs every star. L.A.Cosmic (van
Dokkum 2001, PASP 113, 1420) uses the same fact, but also rejects the cores of HST's undersampled stars. Here the
contrast of a pixel is compared with the largest contrast of a star of the camera.

The height of a pixel is its value minus the local background, in the image's unit. That of an invalid pixel is
+infinity, so that no pixel is judged sharp because of an invalid neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.background import background_at, background_row, block_background
from hubbleclip.images.kernels import F32, I32, compiled, pixel_words, to_float32

SIGNIFICANCE_SIGMA = F32(6)  # minimum height of a seed, in sigmas of the local noise
TOLERANCE_SIGMA = F32(1)
"""Value added to the height of a neighbour, in sigmas: of several noisy pixels, some are lower than the true level."""
PEAK_FACTOR = F32(2.5)  # ratio of a peak to its lowest side neighbour that no star reaches, in units of `contrast`
WING = (F32(4), F32(2.5))
ROUNDS = (*[(F32(6), F32(4))] * 11, WING)
"""Limits of a pixel next to a ray in each round: height in sigmas, and ratio to its lowest side neighbour outside rays.

The limits of the last round are for diffused charge. With them in every round, a ray would grow over stars.
"""
MAX_SHARE = 0.15  # of an image that rays may cover
VALID, RAY, GROWN = 1, 2, 3  # values of the mask during the detection; `GROWN` was found in the current round
RayPixels = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and columns, int32 (n,) each, of the pixels hit by cosmic rays, in order of rows, then columns."""
NO_RAYS: RayPixels = (np.empty(0, np.int32), np.empty(0, np.int32))


def reject_cosmic_rays(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], contrast: float) -> RayPixels:
    """Find the pixels that cosmic rays have hit, and clear the mask there.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Pixel values, of either byte order.
    valid_yx : bool (h, w), changed in place
        Mask of the valid pixels; set to False at rays.
    contrast : float
        Ratio of a pixel's height to the median height of its 3x3 that no star of the camera reaches.

    Returns
    -------
    rows, columns : int32 (n,)
        Pixels of rays, row by row; none if they would be more than 15 % of the image, which then is not that of a CCD.

    Notes
    -----
    Background and noise are local; see `background.block_background`. A seed is a pixel more than 6 noise sigmas above
    the background that passes one of two tests. Either it exceeds the median of its 3x3 by the contrast, or it is the
    peak of its 3x3 and exceeds its lowest side neighbour by 2.5 times the contrast. A ray then grows from its seed over
    touching pixels above 6 sigmas that exceed 4 times their lowest side neighbour outside the ray. This growth follows
    tracks that are up to two pixels wide. A last round with lower limits adds the pixels to which charge has diffused.
    """
    pixels, mask_yx = pixel_words(data_yx), valid_yx.view(np.uint8)
    _mark_rays(pixels, mask_yx, block_background(pixels, valid_yx), F32(contrast))
    rows, columns = (places.astype(np.int32) for places in np.nonzero(mask_yx == RAY))
    are_rays = rows.size <= MAX_SHARE * data_yx.size
    mask_yx[rows, columns] = 0 if are_rays else VALID  # only 0 and 1 remain, as in a bool array
    return (rows, columns) if are_rays else NO_RAYS


@compiled
def _mark_rays(pixels: Any, mask_yx: Any, background: Any, contrast: Any) -> None:
    """Set the mask, which is 0 or `VALID`, to `RAY` at rays."""
    latest = _find_seeds(pixels, mask_yx, background, contrast)
    found = latest.copy()
    for limits in ROUNDS:
        for y, x in latest:  # marked after the round, so that the result is independent of the order
            mask_yx[y, x] = RAY
        latest = _grow(pixels, mask_yx, background, limits, found if limits == WING else latest)
        found.extend(latest)
    for y, x in latest:
        mask_yx[y, x] = RAY


@compiled
def _find_seeds(pixels: Any, mask_yx: Any, background: Any, contrast: Any) -> Any:
    """Return the seeds as a list of (y, x)."""
    (words_yx, swapped), (levels_yx, noises_yx), width = pixels, background, mask_yx.shape[1]
    thresholds_yx, thresholds = levels_yx + SIGNIFICANCE_SIGMA * noises_yx, np.empty(width, F32)
    is_bright = np.empty(width, np.bool_)
    seeds: list[tuple[Any, Any]] = []
    for y in range(mask_yx.shape[0]):
        words, mask = words_yx[y], mask_yx[y]
        background_row(thresholds_yx, y, thresholds)
        for x in range(width):  # a loop of its own, because it is vectorised
            is_bright[x] = (to_float32(words[x], swapped) > thresholds[x]) & (mask[x] != 0)
        bright = [(y, x) for x in range(width) if is_bright[x]]
        seeds.extend([(I32(y), I32(x)) for y, x in bright if _is_seed(pixels, mask_yx, background, contrast, (y, x))])
    return seeds


@compiled
def _is_seed(pixels: Any, mask_yx: Any, background: Any, contrast: Any, where_yx: Any) -> Any:
    """Return whether a bright pixel passes one of the two tests in `reject_cosmic_rays`."""
    (y, x), level = where_yx, background_at(background[0], *where_yx)
    tolerance = TOLERANCE_SIGMA * background_at(background[1], *where_yx)
    height, lowest, highest, num_low = _value(pixels, mask_yx, y, x) - level, F32(np.inf), F32(0), 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            near = max(_value(pixels, mask_yx, y + dy, x + dx) - level, F32(0))
            num_low += height > contrast * (near + tolerance)
            highest = max(highest, near)
            lowest = min(lowest, near) if dy * dx == 0 else lowest
    # The median of nine values is low enough exactly if at least five of them are, so no median is computed.
    return num_low >= 5 or (height == highest and height > PEAK_FACTOR * contrast * (lowest + tolerance))


@compiled
def _grow(pixels: Any, mask_yx: Any, background: Any, limits: Any, latest: Any) -> Any:
    """Return the pixels (y, x) that touch a pixel in `latest` and belong to the ray; set the mask to `GROWN` there."""
    grown: list[tuple[Any, Any]] = []
    for y0, x0 in latest:
        for y in range(max(y0 - 1, 0), min(y0 + 2, mask_yx.shape[0])):
            for x in range(max(x0 - 1, 0), min(x0 + 2, mask_yx.shape[1])):
                if mask_yx[y, x] == VALID and _is_growth(pixels, mask_yx, background, limits, (y, x)):
                    mask_yx[y, x] = GROWN
                    grown.append((I32(y), I32(x)))
    return grown


@compiled
def _is_growth(pixels: Any, mask_yx: Any, background: Any, limits: Any, where_yx: Any) -> Any:
    """Return whether a valid pixel next to a ray belongs to the ray; a pixel surrounded by rays does."""
    (y, x), level, noise = where_yx, background_at(background[0], *where_yx), background_at(background[1], *where_yx)
    height, lowest = _value(pixels, mask_yx, y, x) - level, F32(np.inf)
    if height <= limits[0] * noise:  # most pixels
        return False
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        near_y, near_x = y + dy, x + dx
        if 0 <= near_y < mask_yx.shape[0] and 0 <= near_x < mask_yx.shape[1] and mask_yx[near_y, near_x] != RAY:
            lowest = min(lowest, max(_value(pixels, mask_yx, near_y, near_x) - level, F32(0)))
    floor = F32(0) if np.isinf(lowest) else lowest + TOLERANCE_SIGMA * noise
    return height > limits[1] * floor


@compiled
def _value(pixels: Any, mask_yx: Any, y: Any, x: Any) -> Any:
    """Return the value of a pixel, float32; +infinity where the pixel is not valid or outside the image."""
    is_inside = 0 <= y < mask_yx.shape[0] and 0 <= x < mask_yx.shape[1]
    return to_float32(pixels[0][y, x], pixels[1]) if is_inside and mask_yx[y, x] != 0 else F32(np.inf)
