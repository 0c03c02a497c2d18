"""Slow and obvious references in NumPy and SciPy, which the compiled kernels must equal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hubbleclip.images.background import MIDMEAN_TO_SIGMA, background_at
from hubbleclip.images.bad_pixels import MIN_GOOD
from hubbleclip.images.cosmic_rays import (
    LOCAL_FACTOR,
    LOCAL_TOLERANCE,
    MAX_HIGH,
    MAX_RISE,
    MAX_SHARE,
    PEAK_FACTOR,
    ROUNDS,
    SIGNIFICANCE_SIGMA,
    TOLERANCE_SIGMA,
    WING,
)
from hubbleclip.images.masks import BORDER_MIN_SHARE

REPAIR_REACH_PX = 2
OFFSETS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
CROSS = [1, 3, 5, 7]


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
    y, x = np.nonzero(~valid_yx & (around_yx >= MIN_GOOD))
    shown_yx, repaired_yx = valid_yx.copy(), data_yx.copy()
    repaired_yx[y, x] = _medians_around(data_yx, valid_yx, y, x)
    shown_yx[y, x] = True
    return repaired_yx, shown_yx


def _medians_around(data_yx, valid_yx, y, x):
    height, width = data_yx.shape
    offsets = np.arange(-REPAIR_REACH_PX, REPAIR_REACH_PX + 1)
    rows = (y[:, None] + offsets).clip(0, height - 1)[:, :, None]
    columns = (x[:, None] + offsets).clip(0, width - 1)[:, None, :]
    values = np.where(valid_yx[rows, columns], data_yx[rows, columns], np.nan).reshape(len(y), -1)
    return np.nanmedian(values, axis=1)


def block_background(data_yx, valid_yx):
    """Midmeans of every second pixel of each block, and of their second differences."""
    shape_yx = [-(-side // 16) for side in data_yx.shape]
    levels_yx, noises_yx = np.full(shape_yx, np.nan, np.float32), np.full(shape_yx, np.nan, np.float32)
    known_yx = np.where(valid_yx, data_yx, np.float32(np.inf))
    padded_yx = np.pad(known_yx, ((0, 0), (1, 1)), constant_values=np.inf)
    with np.errstate(invalid="ignore"):
        second_yx = np.abs(known_yx - np.float32(0.5) * (padded_yx[:, :-2] + padded_yx[:, 2:]))
    for row, column in np.ndindex(*shape_yx):
        block = slice(row * 16, row * 16 + 16, 2), slice(column * 16, column * 16 + 16, 2)
        levels_yx[row, column] = _midmean(known_yx[block])
        noise = _midmean(second_yx[block])
        noises_yx[row, column] = noise * np.float32(MIDMEAN_TO_SIGMA) if noise > 0 else np.nan
    noises_yx = _fill_gaps(noises_yx)
    around = [slice(max(k - 1, 0), k + 2) for k in range(max(shape_yx))]
    smooth = [[noises_yx[around[y], around[x]].mean() for x in range(shape_yx[1])] for y in range(shape_yx[0])]
    return _fill_gaps(levels_yx), np.array(smooth, np.float32)


def _midmean(values):
    ordered = np.sort(values[np.isfinite(values)])
    first = len(ordered) // 4
    middle = ordered[first : len(ordered) - first]
    return np.float32(np.cumsum(middle)[-1]) / np.float32(len(middle)) if len(ordered) >= 12 else np.nan


def _fill_gaps(blocks_yx):
    for lines in (blocks_yx, blocks_yx.T):
        for line in lines:
            known = np.nonzero(~np.isnan(line))[0]
            if known.size:
                nearest = np.maximum(np.searchsorted(known, np.arange(line.size), side="right") - 1, 0)
                line[:] = line[known[nearest]]
    return blocks_yx


def find_cosmic_rays(data_yx, valid_yx, contrast):
    height, width = data_yx.shape
    background = block_background(data_yx, valid_yx)
    level_yx, noise_yx = np.array(
        [[background_at(background, y, x) for x in range(width)] for y in range(height)]
    ).transpose(2, 0, 1)
    contrasts = np.float32(contrast), LOCAL_FACTOR * np.float32(contrast)
    rays_yx = np.zeros_like(valid_yx)
    fresh_yx = np.any(
        [
            _are_sharp(data_yx, valid_yx, base, noise_yx, limit)
            for base, limit in zip(_bases(data_yx, valid_yx, level_yx, noise_yx), contrasts, strict=True)
        ],
        axis=0,
    )
    for limits in (*ROUNDS, (np.inf, np.inf)):
        rays_yx |= fresh_yx
        near_yx = rays_yx if limits == WING else fresh_yx
        free_yx = valid_yx & ~rays_yx
        touching_yx = ndimage.binary_dilation(near_yx, np.ones((3, 3))) & free_yx
        ray_yx = _near(np.where(rays_yx, data_yx, -np.inf), OFFSETS, -np.inf).max(axis=0)
        bases = _bases(data_yx, free_yx, level_yx, noise_yx)
        fresh_yx = touching_yx & np.any(
            [_are_growth(data_yx, free_yx, base_yx, noise_yx, ray_yx, limits) for base_yx, _ in bases], axis=0
        )
    return rays_yx if np.count_nonzero(rays_yx) <= MAX_SHARE * data_yx.size else np.zeros_like(rays_yx)


def _bases(data_yx, known_yx, level_yx, noise_yx):
    """The two levels above which a pixel is judged, each with the tolerance of a neighbour's height."""
    values_yx, beyond = np.where(known_yx, data_yx, np.float32(np.inf)), np.float32(np.inf)
    lines = [_near(values_yx, ((2 * dy, 2 * dx), (-2 * dy, -2 * dx)), beyond).sum(axis=0) for dy, dx in OFFSETS[:4]]
    around_yx = np.float32(0.25) * np.sum(np.sort(lines, axis=0)[1:3], axis=0)
    tolerance_yx = TOLERANCE_SIGMA * noise_yx
    excess_yx = LOCAL_TOLERANCE * np.maximum(around_yx - level_yx, np.float32(0))
    return (np.minimum(level_yx, around_yx), tolerance_yx), (around_yx, tolerance_yx + excess_yx)


def _near(values_yx, offsets, beyond):
    """The values at each offset from a pixel, (n, h, w)."""
    padded_yx, (height, width) = np.pad(values_yx, 2, constant_values=beyond), values_yx.shape
    return np.array([padded_yx[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in offsets])


def _are_sharp(data_yx, valid_yx, base, noise_yx, contrast):
    base_yx, tolerance_yx = base
    with np.errstate(invalid="ignore"):
        height_yx = np.where(valid_yx & np.isfinite(base_yx), data_yx - base_yx, 0)
        known_yx = np.where(valid_yx, data_yx, np.float32(np.inf))
        near_nyx = np.maximum(_near(known_yx, OFFSETS, np.float32(np.inf)) - base_yx, 0)
        is_sharp = np.count_nonzero(height_yx > contrast * (near_nyx + tolerance_yx), axis=0) >= 5
        limit_yx = PEAK_FACTOR * contrast * (near_nyx[CROSS].min(axis=0) + tolerance_yx)
        num_high = np.count_nonzero(_near(known_yx, OFFSETS, np.float32(np.inf)) >= data_yx, axis=0)
        is_peak = (num_high == 1) & (height_yx > limit_yx)
        lowest = np.float32(-np.inf)
        num_higher = np.count_nonzero(_near(np.where(valid_yx, data_yx, lowest), OFFSETS, lowest) >= data_yx, axis=0)
        is_bright = (height_yx > SIGNIFICANCE_SIGMA * noise_yx) & (num_higher <= MAX_HIGH)
        return valid_yx & is_bright & (is_sharp | is_peak)


def _are_growth(data_yx, free_yx, base_yx, noise_yx, ray_yx, limits):
    (sigma, ratio), tolerance_yx = limits, TOLERANCE_SIGMA * noise_yx
    near_nyx = _near(np.where(free_yx, data_yx, np.float32(np.nan)), OFFSETS, np.float32(np.nan))
    height_yx = data_yx - base_yx
    with np.errstate(invalid="ignore"):
        lowest_yx = np.fmin.reduce(near_nyx[CROSS])
        floor_yx = np.where(np.isnan(lowest_yx), 0, np.maximum(lowest_yx - base_yx, np.float32(0)) + tolerance_yx)
        is_downhill = height_yx <= MAX_RISE * (ray_yx.astype(np.float32) - base_yx)
        return (height_yx > sigma * noise_yx) & (height_yx > ratio * floor_yx) & is_downhill


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
