"""From physical values to 8-bit levels: sky and noise by sigma clipping, then a registered curve."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError, SettingsError
from hubbleclip.images import bad_pixels as holes
from hubbleclip.images import kernels
from hubbleclip.images import render as levels
from hubbleclip.images.kernels import pixel_words

SAMPLE_PIXELS = 1 << 18
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 12
MIN_RANGE_SIGMA = 30.0
FLAT_SOFTENING = 0.05
SKY_DEPTH = 0.2
FILLED_RATIO = 3.0
FILLED_SKY_QUANTILE = 0.05
LAG_PX = 4
LAG_PIXELS = 1 << 16
MAD_TO_SIGMA = 1.4826
SIGMA_QUANTILES = (0.15866, 0.84134)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """`level = round(255 * f(value - black) / f(white - black))`; all but `kind` in the image's unit."""

    kind: str
    black: float
    white: float
    softening: float
    sky: float
    noise: float


@dataclass(frozen=True, slots=True)
class StretchKind:
    """A curve, asinh or a line, and the rule for its (black, white) from a sorted sample, sky, noise and settings."""

    is_asinh: bool
    limits: Callable[[NDArray[np.float32], float, float, TileSettings], tuple[float, float]]


def _quantile_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    black = sky - settings.black_sigma * noise
    return black, max(_quantile(ordered, settings.white_quantile), black + MIN_RANGE_SIGMA * noise)


def _zscale_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    from astropy.visualization import ZScaleInterval  # noqa: PLC0415 - takes a third of a second, and few need it

    black, white = ZScaleInterval().get_limits(ordered)
    return float(black), max(float(white), float(black) + noise)


STRETCHES: dict[str, StretchKind] = {
    "asinh": StretchKind(True, _quantile_limits),
    "linear": StretchKind(False, _quantile_limits),
    "zscale": StretchKind(False, _zscale_limits),
}


def fit_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], settings: TileSettings) -> Stretch:
    """Fit the stretch of a whole image, so that its tiles agree where they meet.

    White is a high quantile, at least 30 noise sigmas above black so that an empty field stays dark. asinh (Lupton et
    al. 1999, AJ 118, 1406) softens at `softening_sigma`, or at the spread of what fills the frame; where the bright
    part is flat (a planet's disc) softening rises with it, lest the disc become one white blob. Raises ImageError
    `all_invalid` or `no_signal` (constant).
    """
    kind = _kind(settings.stretch)
    ordered = _ordered_sample(data_yx, valid_yx)
    sky, noise, spread = _sky_noise_spread(ordered, lagged_noise(data_yx, valid_yx))
    black, white = kind.limits(ordered, sky, noise, settings)
    flat = FLAT_SOFTENING * flatness(ordered, sky, white) ** 3 * (white - sky)
    softening = max(settings.softening_sigma * noise, flat, spread)
    black = min(black, sky - SKY_DEPTH * softening)
    return Stretch(kind=settings.stretch, black=black, white=white, softening=softening, sky=sky, noise=noise)


def flatness(ordered: NDArray[np.float32], sky: float, white: float) -> float:
    """How much of what is brighter than 4 % of white is brighter than 40 %: 0.9 for a disc, 0.1 for stars."""
    faint, bright = (_num_below(ordered, sky + share * (white - sky)) for share in (0.04, 0.4))
    return (len(ordered) - bright) / max(1, len(ordered) - faint)


def sky_and_noise(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> tuple[float, float]:
    """Sky level and noise sigma of an image, from every n-th row and column that leaves at most 262,144 pixels.

    By sigma clipping; where that finds three times the noise that pixels 4 apart have between them, the frame is filled
    (a planet's map, a nebula): then the sky is its fifth percentile and the noise that of the pixels.
    """
    sky, noise, _ = _sky_noise_spread(_ordered_sample(data_yx, valid_yx), lagged_noise(data_yx, valid_yx))
    return sky, noise


def _sky_noise_spread(ordered: NDArray[np.float32], noise_of_pixels: float) -> tuple[float, float, float]:
    """Sky, noise, and the spread of what fills the frame (0 for a frame that is mostly sky)."""
    sky, noise = clipped_sky(ordered)
    if 0 < FILLED_RATIO * noise_of_pixels < noise:
        return _quantile(ordered, FILLED_SKY_QUANTILE), noise_of_pixels, noise
    return sky, noise, 0.0


def lagged_noise(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> float:
    """Noise sigma from differences of pixels 4 columns apart, beyond drizzle's correlations; 0 without any."""
    step = _step(data_yx, LAG_PIXELS)
    steps = np.sort(kernels.steps_of(pixel_words(data_yx), valid_yx, step, LAG_PX))
    if not steps.size:
        return 0.0
    median = (steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / np.float32(2)
    return float(median) * MAD_TO_SIGMA / math.sqrt(2)


def apply_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], stretch: Stretch) -> NDArray[np.uint8]:
    """Levels 0 to 255, rounded to the nearest; what is not valid is set to the sky before the cast."""
    levels_yx = np.empty(data_yx.shape, np.uint8)
    levels.levels_of_rows(pixel_words(data_yx), valid_yx, level_curve(stretch, holes.NEVER), 0, levels_yx)
    return levels_yx


def level_curve(stretch: Stretch, least: int) -> tuple[Any, ...]:
    """A stretch as `levels.levels_of_rows` takes it; `least` sound pixels in 5x5 repair one that is not."""
    is_asinh, span = _kind(stretch.kind).is_asinh, stretch.white - stretch.black
    top = math.asinh(span / stretch.softening) if is_asinh else span
    limits = (stretch.black, span, stretch.sky - stretch.black, 1 / stretch.softening, 255 / top)
    return *(np.float32(limit) for limit in limits), is_asinh, least


def clipped_sky(ordered: NDArray[np.float32]) -> tuple[float, float]:
    """Sky and noise of an ascending sample: median and half the central 68 %, clipped at 3 sigma until it rests.

    Where most values are equal (photon counters), the noise is the standard deviation instead. Raises ImageError
    `no_signal` if all values are equal.
    """
    low, high = 0, len(ordered)
    for _ in range(CLIP_ROUNDS):
        kept = ordered[low:high]
        sky = _quantile(kept, 0.5)
        below, above = (_quantile(kept, share) for share in SIGMA_QUANTILES)
        noise = (above - below) / 2
        clipped = _num_below(ordered, sky - CLIP_SIGMA * noise), _num_below(ordered, sky + CLIP_SIGMA * noise)
        if noise <= 0 or clipped == (low, high):
            break
        low, high = clipped
    if noise <= 0:
        noise = float(np.std(ordered, dtype=np.float64))
    if not np.isfinite(noise) or noise <= 0:
        raise ImageError("no_signal", "all valid pixels have the same value")
    return sky, noise


def _kind(name: str) -> StretchKind:
    try:
        return STRETCHES[name]
    except KeyError:
        raise SettingsError(f"tiles.stretch {name!r} is unknown: set one of {', '.join(sorted(STRETCHES))}") from None


def _ordered_sample(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> NDArray[np.float32]:
    pixels = pixel_words(data_yx)
    sample: NDArray[np.float32] = kernels.sample_of(pixels, valid_yx, _step(data_yx, SAMPLE_PIXELS))
    if sample.size == 0:
        sample = kernels.sample_of(pixels, valid_yx, 1)
    if sample.size == 0:
        raise ImageError("all_invalid", "no pixel is valid")
    return np.sort(sample)


def _step(data_yx: NDArray[np.float32], most: int) -> int:
    """Which rows and columns leave at most so many pixels."""
    return max(1, int(np.ceil(np.sqrt(data_yx.size / most))))


def _num_below(ordered: NDArray[np.float32], value: float) -> int:
    """How many of an ascending sample are below a value, not rounded to float32. `np.searchsorted` would turn the whole
    sample into float64.
    """
    return bisect_left(ordered, np.float64(value))


def _quantile(ordered: NDArray[np.float32], share: float) -> float:
    return float(ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)])
