"""Slow and obvious references in NumPy and SciPy, which the compiled kernels must equal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hubbleclip.images.bad_pixels import REPAIR_MIN_VALID
from hubbleclip.images.cosmic_rays import (
    GROWTH_CONTRAST,
    MAX_ROUNDS,
    MAX_SHARE,
    MEDIAN_CONTRAST,
    SEED_CONTRAST,
    SIGNIFICANCE_SIGMA,
    TOLERANCE_SIGMA,
)
from hubbleclip.images.masks import BORDER_MIN_SHARE

REPAIR_REACH_PX = 2
REPAIR_BLOCK = 1 << 16
BLOCK = 1 << 18
OFFSETS = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)])
CROSS = [1, 3, 5, 7]
MIDDLE = 4


def zero_border(data_yx):
    zeros_yx = data_yx == 0
    num_zeros = np.count_nonzero(zeros_yx)
    if num_zeros == data_yx.size:
        return zeros_yx
    if num_zeros < BORDER_MIN_SHARE * data_yx.size or _is_whole_numbers(data_yx):
        return None
    labels_yx, _ = ndimage.label(zeros_yx)
    is_border = np.bincount(labels_yx.ravel()) >= max(BORDER_MIN_SHARE * data_yx.size, 2)
    is_border[0] = False
    return is_border[labels_yx] if is_border.any() else None


def _is_whole_numbers(data_yx):
    sample = data_yx[:: max(1, data_yx.shape[0] // 200)]
    sample = sample[np.isfinite(sample)]
    return bool(sample.any()) and bool(np.all(sample == np.rint(sample)))


def repair_pinholes(data_yx, valid_yx):
    if valid_yx.all():
        return data_yx, valid_yx
    side = 2 * REPAIR_REACH_PX + 1
    rows = ndimage.correlate1d(valid_yx.astype(np.uint8), np.ones(side), axis=0, mode="constant")
    around_yx = ndimage.correlate1d(rows, np.ones(side), axis=1, mode="constant")
    y, x = np.nonzero(~valid_yx & (around_yx >= REPAIR_MIN_VALID))
    shown_yx, repaired_yx = valid_yx.copy(), data_yx.copy()
    for start in range(0, len(y), REPAIR_BLOCK):
        block = slice(start, start + REPAIR_BLOCK)
        repaired_yx[y[block], x[block]] = _medians_around(data_yx, valid_yx, y[block], x[block])
    shown_yx[y, x] = True
    return repaired_yx, shown_yx


def _medians_around(data_yx, valid_yx, y, x):
    height, width = data_yx.shape
    offsets = np.arange(-REPAIR_REACH_PX, REPAIR_REACH_PX + 1)
    rows = (y[:, None] + offsets).clip(0, height - 1)[:, :, None]
    columns = (x[:, None] + offsets).clip(0, width - 1)[:, None, :]
    values = np.where(valid_yx[rows, columns], data_yx[rows, columns], np.nan).reshape(len(y), -1)
    return np.nanmedian(values, axis=1)


def find_cosmic_rays(data_yx, valid_yx, sky, noise):
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


def _select(pixels, keep):
    return pixels[0][keep], pixels[1][keep]


def _around(padded_yx, pixels, block):
    """The 3x3 around each pixel, as (n, 9); `padded_yx` has a rim of one pixel."""
    return padded_yx[pixels[0][block, None] + 1 + OFFSETS[:, 0], pixels[1][block, None] + 1 + OFFSETS[:, 1]]


def _blocks(pixels):
    return [slice(start, start + BLOCK) for start in range(0, len(pixels[0]), BLOCK)]


def _is_seed(heights_yx, pixels, noise):
    seeds = np.zeros(len(pixels[0]), np.bool_)
    for block in _blocks(pixels):
        around = _around(heights_yx, pixels, block)
        height = around[:, MIDDLE]
        median = np.maximum(np.partition(around, MIDDLE, axis=1)[:, MIDDLE], 0)
        lowest = np.maximum(around[:, CROSS].min(axis=1), 0) + TOLERANCE_SIGMA * noise
        is_peak = height >= around.max(axis=1)
        is_sharp = height - median > np.maximum(MEDIAN_CONTRAST * median, SIGNIFICANCE_SIGMA * noise)
        seeds[block] = is_sharp | (is_peak & (height > SEED_CONTRAST * lowest))
    return seeds


def _is_growth(heights_yx, rays_yx, pixels, noise):
    grown = np.zeros(len(pixels[0]), np.bool_)
    for block in _blocks(pixels):
        masked = _around(rays_yx, pixels, block)
        touching = np.nonzero(masked.any(axis=1) & ~masked[:, MIDDLE])[0]
        near = (pixels[0][block][touching], pixels[1][block][touching])
        around = np.where(masked[touching], np.float32(np.inf), _around(heights_yx, near, slice(None)))
        lowest = np.maximum(around[:, CROSS].min(axis=1), 0) + TOLERANCE_SIGMA * noise
        grown[block.start + touching] = around[:, MIDDLE] > GROWTH_CONTRAST * np.where(np.isinf(lowest), 0, lowest)
    return grown


def apply_stretch(data_yx, valid_yx, stretch):
    """Levels in float64, by numpy's own asinh."""
    span = stretch.white - stretch.black
    with np.errstate(invalid="ignore", over="ignore"):
        height_yx = np.clip(np.where(valid_yx, data_yx.astype(np.float64), stretch.sky) - stretch.black, 0, span)
    if stretch.kind == "asinh":
        height_yx, span = np.arcsinh(height_yx / stretch.softening), np.arcsinh(span / stretch.softening)
    return np.rint(255 * height_yx / span).astype(np.uint8)


def count_bright(data_yx, valid_yx, sky, ceiling, threshold):
    height_yx = np.where(valid_yx, data_yx, np.float32(sky)) - np.float32(sky)
    smooth_yx = ndimage.uniform_filter(np.minimum(height_yx, np.float32(ceiling)), 3, mode="nearest")
    return int(np.count_nonzero((smooth_yx > threshold) & valid_yx))
