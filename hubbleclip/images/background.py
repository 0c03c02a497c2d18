"""Local background and noise of an image, by blocks of 16 x 16 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.kernels import F32, compiled, to_float32

BLOCK_PX = 16
SAMPLE_STEP_PX = 2
NUM_SAMPLES = (BLOCK_PX // SAMPLE_STEP_PX) ** 2
MIN_SAMPLES = 12
"""Minimum number of valid samples of a block; the values of a neighbour are used for a block with fewer."""
LAG_PX = 2
"""Distance of the pixels from which the noise is computed.

Second differences are used, so that a gradient is no noise. At a distance of 1, the noise is correlated by drizzling.
"""
MIDMEAN_TO_SIGMA = 1 / (0.6934 * 1.5**0.5)
"""Sigma of a normal distribution, divided by the midmean of absolute values of v[x] - (v[x - lag] + v[x + lag]) / 2."""


@compiled
def block_background(pixels: Any, valid_yx: Any) -> Any:
    """Estimate level and noise of the background in each block."""
    height, width = valid_yx.shape
    shape_yx = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    levels_yx, noises_yx = np.empty(shape_yx, F32), np.empty(shape_yx, F32)
    samples = np.empty((NUM_SAMPLES, shape_yx[1]), F32)  # one column per block, so that the sort is vectorised
    differences = np.empty((NUM_SAMPLES, shape_yx[1]), F32)
    for row in range(shape_yx[0]):
        _read_samples(pixels, valid_yx, row * BLOCK_PX, samples, differences)
        _midmeans(samples, levels_yx[row])
        _midmeans(differences, noises_yx[row])
    # A noise of 0 is that of single photons. As NaN, it is not used, and no pixel exceeds a threshold of NaN.
    noises_yx = np.where(noises_yx > F32(0), noises_yx * F32(MIDMEAN_TO_SIGMA), F32(np.nan))
    for blocks_yx in (levels_yx, noises_yx):
        _fill_gaps(blocks_yx)
        _fill_gaps(blocks_yx.T)  # for rows of blocks without any value
    return levels_yx, _mean_3x3(noises_yx)


@compiled
def background_at(background: Any, y: Any, x: Any) -> Any:
    """Interpolate level and noise (bilinear) at a pixel."""
    num_y, num_x = background[0].shape
    at_y = min(max((F32(y) - F32(7.5)) * F32(1 / BLOCK_PX), F32(0)), F32(num_y - 1))
    at_x = min(max((F32(x) - F32(7.5)) * F32(1 / BLOCK_PX), F32(0)), F32(num_x - 1))
    top, left = np.int32(at_y), np.int32(at_x)
    rows, columns = (top, min(top + 1, num_y - 1)), (left, min(left + 1, num_x - 1))
    shares = F32(at_y - F32(top)), F32(at_x - F32(left))
    return _bilinear(background[0], rows, columns, shares), _bilinear(background[1], rows, columns, shares)


@compiled
def _bilinear(blocks_yx: Any, rows: Any, columns: Any, shares: Any) -> Any:
    """Interpolate between four blocks, at these shares of the way to the second row and the second column."""
    (top, below), (left, right), (share_y, share_x) = rows, columns, shares
    upper = blocks_yx[top, left] + share_x * (blocks_yx[top, right] - blocks_yx[top, left])
    lower = blocks_yx[below, left] + share_x * (blocks_yx[below, right] - blocks_yx[below, left])
    return F32(upper + share_y * (lower - upper))


@compiled
def lowest_thresholds(background: Any, sigma: Any) -> Any:
    """Compute a lower limit of level + sigma * noise in each block, for a fast search of bright pixels."""
    thresholds_yx = background[0] + sigma * background[1]
    lowest_yx = np.empty_like(thresholds_yx)
    for y in range(lowest_yx.shape[0]):
        for x in range(lowest_yx.shape[1]):
            lowest_yx[y, x] = thresholds_yx[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].min()
    return lowest_yx


@compiled
def _read_samples(pixels: Any, valid_yx: Any, top: Any, samples: Any, differences: Any) -> None:
    """Write the samples of a row of blocks and their second differences, float32 (64, n); +infinity where invalid."""
    (words_yx, swapped), (height, width) = pixels, valid_yx.shape
    per_row = BLOCK_PX // SAMPLE_STEP_PX
    samples[:], differences[:] = F32(np.inf), F32(np.inf)
    for k in range(NUM_SAMPLES):
        y = top + k // per_row * SAMPLE_STEP_PX
        if y >= height:
            break
        words, valid = words_yx[y], valid_yx[y]
        for block in range(samples.shape[1]):
            x = block * BLOCK_PX + k % per_row * SAMPLE_STEP_PX
            if x < width and valid[x]:
                value = to_float32(words[x], swapped)
                samples[k, block] = value
                if LAG_PX <= x < width - LAG_PX and valid[x - LAG_PX] and valid[x + LAG_PX]:
                    before, after = to_float32(words[x - LAG_PX], swapped), to_float32(words[x + LAG_PX], swapped)
                    differences[k, block] = abs(value - F32(0.5) * (before + after))


@compiled
def _midmeans(samples: Any, means: Any) -> None:
    """Write the midmean of the finite values of each column to `means`; NaN if it has too few. Sorts the samples."""
    num_sorted = NUM_SAMPLES * 3 // 4
    for k in range(num_sorted):  # a selection sort, whose comparisons do not depend on the data
        for other in range(k + 1, NUM_SAMPLES):
            for block in range(means.size):
                low, high = samples[k, block], samples[other, block]
                samples[k, block], samples[other, block] = min(low, high), max(low, high)
    for block in range(means.size):
        num = 0
        for k in range(NUM_SAMPLES):
            num += samples[k, block] < F32(np.inf)
        first, total = num // 4, F32(0)
        for k in range(first, num - first):
            total += samples[k, block]
        means[block] = total / F32(num - 2 * first) if num >= MIN_SAMPLES else F32(np.nan)


@compiled
def _mean_3x3(blocks_yx: Any) -> Any:
    """Return the mean of the 3x3 blocks around each block; fewer at the edge of the image."""
    means_yx = np.empty_like(blocks_yx)
    for y in range(blocks_yx.shape[0]):
        for x in range(blocks_yx.shape[1]):
            means_yx[y, x] = blocks_yx[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean()
    return means_yx


@compiled
def _fill_gaps(lines: Any) -> None:
    """Replace each NaN by the nearest earlier value of its line, or else by the nearest later one."""
    for line in lines:
        for index in range(1, line.size):
            line[index] = line[index - 1] if np.isnan(line[index]) else line[index]
        for index in range(line.size - 2, -1, -1):
            line[index] = line[index + 1] if np.isnan(line[index]) else line[index]
