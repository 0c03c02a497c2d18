"""Cosmic rays and hot pixels of a CCD exposure, told from stars by their sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE_SIGMA = 6.0
TOLERANCE_SIGMA = 1.5
MEDIAN_CONTRAST = 5.0
SEED_CONTRAST = 15.0
GROWTH_CONTRAST = 4.0
MAX_ROUNDS = 12
MAX_SHARE = 0.15
BLOCK = 1 << 18
OFFSETS = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)])
CROSS = [1, 3, 5, 7]
MIDDLE = 4

Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]


def find_cosmic_rays(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], sky: float, noise: float
) -> NDArray[np.bool_]:
    """Pixels that are too sharp to have come through the telescope.

    A seed rises above the sky by 6 noise sigmas and by 5 times the median of its 3x3, or is the peak of its 3x3 and 15
    times its lowest neighbour: no star does, since the point-spread function fills the 3x3. From seeds the mask grows
    over touching pixels that are 4 times their lowest unmasked neighbour, along tracks up to two pixels wide. It is the
    idea of L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) made safe for HST's undersampled stars, whose cores that method
    eats. A mask of over 15 % of the image means sparse photons rather than rays, and is dropped.
    """
    threshold = np.float32(sky + SIGNIFICANCE_SIGMA * noise)
    rows, columns = np.nonzero((data_yx > threshold) & valid_yx)
    candidates = (rows, columns)
    heights_yx = np.pad(np.where(valid_yx, data_yx - np.float32(sky), np.float32(0)), 1)
    rays_yx = np.zeros(heights_yx.shape, np.bool_)
    fresh = _select(candidates, _is_seed(heights_yx, candidates, noise))
    for _ in range(MAX_ROUNDS):
        if not len(fresh[0]):
            break
        rays_yx[fresh[0] + 1, fresh[1] + 1] = True
        fresh = _select(candidates, _is_growth(heights_yx, rays_yx, candidates, noise))
    inside_yx = rays_yx[1:-1, 1:-1]
    return inside_yx if np.count_nonzero(inside_yx) <= MAX_SHARE * data_yx.size else np.zeros_like(inside_yx)


def _select(pixels: Pixels, keep: NDArray[np.bool_]) -> Pixels:
    return pixels[0][keep], pixels[1][keep]


def _around(padded_yx: NDArray[Any], pixels: Pixels, block: slice) -> NDArray[Any]:
    """The 3x3 around each pixel, as (n, 9); `padded_yx` has a rim of one pixel."""
    around: NDArray[Any] = padded_yx[
        pixels[0][block, None] + 1 + OFFSETS[:, 0], pixels[1][block, None] + 1 + OFFSETS[:, 1]
    ]
    return around


def _blocks(pixels: Pixels) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, len(pixels[0]), BLOCK)]


def _is_seed(heights_yx: NDArray[np.float32], pixels: Pixels, noise: float) -> NDArray[np.bool_]:
    seeds = np.zeros(len(pixels[0]), np.bool_)
    for block in _blocks(pixels):
        around = _around(heights_yx, pixels, block)
        height = around[:, MIDDLE]
        median = np.maximum(np.partition(around, MIDDLE, axis=1)[:, MIDDLE], 0)
        lowest = np.maximum(around[:, CROSS].min(axis=1), 0) + TOLERANCE_SIGMA * noise
        is_peak = height >= around.max(axis=1)
        stands_out = height - median > np.maximum(MEDIAN_CONTRAST * median, SIGNIFICANCE_SIGMA * noise)
        seeds[block] = stands_out | (is_peak & (height > SEED_CONTRAST * lowest))
    return seeds


def _is_growth(
    heights_yx: NDArray[np.float32], rays_yx: NDArray[np.bool_], pixels: Pixels, noise: float
) -> NDArray[np.bool_]:
    grown = np.zeros(len(pixels[0]), np.bool_)
    for block in _blocks(pixels):
        masked = _around(rays_yx, pixels, block)
        touching = np.nonzero(masked.any(axis=1) & ~masked[:, MIDDLE])[0]
        near = (pixels[0][block][touching], pixels[1][block][touching])
        around = np.where(masked[touching], np.float32(np.inf), _around(heights_yx, near, slice(None)))
        lowest = np.maximum(around[:, CROSS].min(axis=1), 0) + TOLERANCE_SIGMA * noise
        grown[block.start + touching] = around[:, MIDDLE] > GROWTH_CONTRAST * np.where(np.isinf(lowest), 0, lowest)
    return grown
