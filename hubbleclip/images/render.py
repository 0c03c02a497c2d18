"""Compiled loops that render the rows of an image as 8-bit levels, and count the bright pixels of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.kernels import F32, I32, compiled


@compiled
def to_levels(values_yx: Any, shown_yx: Any, curve: Any) -> Any:
    """Convert pixel values, float32 (h, w), to display levels, uint8 (h, w); the sky's level where `shown_yx` is false.

    `curve` holds the parameters that `stretch.apply_stretch` computes.
    """
    black, span, sky_height, per_softening, scale, is_asinh = curve
    levels_yx = np.empty(values_yx.shape, np.uint8)
    for y in range(levels_yx.shape[0]):
        values, shown, levels = values_yx[y], shown_yx[y], levels_yx[y]
        for x in range(levels.size):
            height = min(max(F32(values[x] - black) if shown[x] else sky_height, F32(0)), span)
            ratio = F32(height * per_softening)
            # asinh(ratio) is the natural logarithm of ratio + sqrt(ratio^2 + 1)
            curved = natural_log(F32(ratio + np.sqrt(ratio * ratio + F32(1)))) if is_asinh else height
            levels[x] = np.uint8(min(F32(curved * scale), F32(255)) + F32(0.5))  # the cast truncates, so + 0.5 rounds
    return levels_yx


@compiled
def natural_log(value: Any) -> Any:
    """Compute the natural logarithm with an error of at most 5e-7 or two units in the last place.

    The exponent is read from the bits, and a minimax polynomial approximates the logarithm of the mantissa. The
    function consists of additions and multiplications only. Unlike libm, it therefore gives the same bits on every
    machine, and the compiler can vectorise loops that call it.
    """
    bits = I32(F32(value).view(I32))
    power = I32(I32(bits - I32(0x3F3504F3)) >> I32(23))  # 0x3F3504F3 is sqrt(1/2), so the mantissa is in [0.71, 1.41)
    rest = I32(bits - I32(power << I32(23))).view(F32) - F32(1)
    log = F32(0.11827471852302551) * rest + F32(-0.18901976943016052)  # Horner's scheme, highest power first
    log = log * rest + F32(0.20604674518108368)
    log = log * rest + F32(-0.24881339073181152)
    log = log * rest + F32(0.3330329954624176)
    log = log * rest + F32(-0.5000196695327759)
    log = log * rest + F32(1.0000032186508179)
    return log * rest + F32(power) * F32(0.6931471805599453)


@compiled
def count_bright(values_yx: Any, valid_yx: Any, x0: Any, limits: Any, enough: Any) -> Any:
    """Count the valid pixels of a tile whose 3x3 mean height is above a threshold; the count may stop at `enough`.

    The arrays contain a row of tiles, (side, w), and `x0` is the first column of the tile. `limits`, float32 in the
    image's unit, are the sky, the value to which heights above the sky are limited, and the threshold of the mean
    height. The height of a pixel that is not valid is 0.
    """
    side, (sky, ceiling, threshold) = len(values_yx), limits
    heights_yx, sums = np.empty((side, side), F32), np.empty(side + 2, F32)
    num_read = num_bright = 0
    for y in range(side):
        while num_read < min(y + 2, side):  # rows are read as needed, because few are enough for most tiles
            values, valid, heights = values_yx[num_read, x0:], valid_yx[num_read, x0:], heights_yx[num_read]
            for x in range(side):
                heights[x] = min(F32(values[x] - sky), ceiling) if valid[x] else F32(0)
            num_read += 1
        above, middle, below = heights_yx[max(y - 1, 0)], heights_yx[y], heights_yx[min(y + 1, side - 1)]
        for x in range(side):
            sums[x + 1] = above[x] + middle[x] + below[x]
        sums[0], sums[side + 1] = sums[1], sums[side]  # the outermost columns are repeated
        valid = valid_yx[y, x0:]
        for x in range(side):
            num_bright += ((sums[x] + sums[x + 1] + sums[x + 2]) * F32(1 / 9) > threshold) & valid[x]
        if num_bright >= enough:
            break
    return num_bright
