"""Conversion of pixel values to 8-bit levels: sky and noise by sigma clipping, then one of the registered stretches."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.kernels import F32, I32, compiled

SAMPLE_PIXELS = 1 << 18
"""Approximate maximum number of pixels that are sampled to estimate sky, noise and white."""
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 12
MIN_RANGE_SIGMA = 30.0
"""Minimum difference between white and black, in sigmas of the noise. This minimum keeps an empty field dark."""
FLAT_SOFTENING = 0.5
"""Softening if `flatness` is 1, in units of white - sky - `MIN_RANGE_SIGMA` * noise."""
SKY_DEPTH = 0.2
"""Minimum difference between sky and black, in units of the softening."""
FILLED_RATIOS = (1.5, 20.0)
"""Limits of the ratio of the noise from sigma clipping to the noise from pixel differences (`lagged_noise`). An object
begins to fill the frame at the first limit, and fills the whole frame at the second limit. In between, the filled share
is linear in the logarithm of the ratio.
"""
EDGE_SHARE = 0.04
"""Width of the image's edge, as a share of the image's side. The edge gives another estimate of the sky."""
MIN_EDGE_SHARE = 0.3
"""Minimum share of valid pixels in the edge. The edge of a rotated frame has fewer valid pixels, and is not used."""
MAX_TIED_SHARE = 0.5
"""If more than this share of the values are equal, the image has few photons, and quantiles are not interpolated."""
FILLED_SKY_RATE = 2.0
"""The weight of `FILLED_SKY_QUANTILE` in the sky level is min(1, this value times the filled share of the frame)."""
FILLED_SKY_QUANTILE = 0.05
"""Quantile of the pixel values that is used as the sky level if an object fills the frame."""
LAG_PX = 4
"""Distance in pixels between the two pixels whose difference gives the noise.

At this distance, the noise of the two pixels is not correlated by drizzling.
"""
LAG_PIXELS = 1 << 16
MAD_TO_SIGMA = 1.4826
"""Ratio of the sigma of a normal distribution to its median absolute deviation."""
SIGMA_QUANTILES = (0.15866, 0.5, 0.84134)
"""Cumulative probabilities of a normal distribution at -1, 0 and +1 sigma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Parameters of `level = round(255 * f(value - black) / f(white - black))`.

    `kind` is the name of the stretch, which gives the curve f. The other fields are in the image's unit.
    """

    kind: str
    black: float
    white: float
    softening: float
    sky: float
    noise: float


@dataclass(frozen=True, slots=True)
class StretchKind:
    """A kind of stretch: its curve, asinh or linear, and the function that computes black and white.

    `limits` takes the sorted pixel sample, the sky, the noise and the tile settings, and returns (black, white).
    """

    is_asinh: bool
    limits: Callable[[NDArray[np.float32], float, float, TileSettings], tuple[float, float]]


def _quantile_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    """Return (black, white): black is a few sigmas below the sky, and white is a high quantile of the pixels."""
    black = sky - settings.black_sigma * noise
    return black, max(_quantile(ordered, settings.white_quantile), black + MIN_RANGE_SIGMA * noise)


def _zscale_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    """Return (black, white) by the zscale algorithm of IRAF, as implemented by astropy."""
    from astropy.visualization import ZScaleInterval  # noqa: PLC0415 - the import takes 0.3 s, and few settings need it

    black, white = ZScaleInterval().get_limits(ordered)
    return float(black), max(float(white), float(black) + noise)


STRETCHES: dict[str, StretchKind] = {
    "asinh": StretchKind(True, _quantile_limits),
    "linear": StretchKind(False, _quantile_limits),
    "zscale": StretchKind(False, _zscale_limits),
}
"""Registry of the stretches, by the name in the setting `tiles.stretch`."""


def fit_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], settings: TileSettings) -> Stretch:
    """Fit one stretch to a whole image, so that neighbouring tiles have equal levels at their common border.

    White is a high quantile of the pixel values, but at least 30 noise sigmas above black, so that an empty field stays
    dark. The asinh curve (Lupton et al. 1999, AJ 118, 1406) changes from linear to logarithmic at the softening. The
    softening is the largest of three values: `softening_sigma` times the noise, the spread of the pixel values if an
    object fills the frame, and a value that rises with `flatness`. Without the last value, the disc of a planet would
    be uniformly white.
    """
    kind = STRETCHES[settings.stretch]
    ordered = _sorted_sample(data_yx, valid_yx)
    pixel_noise, edge_sky = lagged_noise(data_yx, valid_yx), edge_level(data_yx, valid_yx)
    sky, noise, spread = _sky_noise_spread(ordered, pixel_noise, edge_sky)
    black, white = kind.limits(ordered, sky, noise, settings)
    # The sixth power makes `flat` negligible for star fields (flatness 0.2) but not for discs (flatness 0.9).
    bright_range = max(white - sky - MIN_RANGE_SIGMA * noise, 0)  # 0 for a faint object, which stays below white
    flat = FLAT_SOFTENING * flatness(ordered, sky, white) ** 6 * bright_range
    softening = max(settings.softening_sigma * noise, flat, spread)
    black = min(black, sky - SKY_DEPTH * softening)  # keeps the sky above black if the softening is large
    if not all(map(math.isfinite, (black, white, softening, sky, noise))):
        raise ImageError("no_signal", "the range of the pixel values is not finite")
    return Stretch(kind=settings.stretch, black=black, white=white, softening=softening, sky=sky, noise=noise)


def flatness(ordered: NDArray[np.float32], sky: float, white: float) -> float:
    """Compute the number of pixels above 40 % of the range from sky to white, divided by the number above 4 %.

    It is about 0.9 for the disc of a planet and at most 0.2 for a star field. `ordered` (n,) is in ascending order.
    """
    faint, bright = (bisect_left(ordered, np.float64(sky + share * (white - sky))) for share in (0.04, 0.4))
    return (len(ordered) - bright) / max(1, len(ordered) - faint)


def _sky_noise_spread(ordered: NDArray[np.float32], pixel_noise: float, edge_sky: float) -> tuple[float, float, float]:
    """Return the sky, the noise, and the spread of the values if an object fills the frame (else 0)."""
    sky, noise = clipped_sky(ordered)
    filled = _filled_share(noise, pixel_noise)
    faint = _quantile(ordered, FILLED_SKY_QUANTILE)
    # As `filled` rises, the sky falls faster than the spread grows. The faint parts of a nebula are then not black.
    sky = min(sky + min(FILLED_SKY_RATE * filled, 1) * (faint - sky), edge_sky)
    return sky, noise * (pixel_noise / noise) ** filled if filled else noise, filled * noise


def _filled_share(noise: float, pixel_noise: float) -> float:
    """Estimate the share of the frame that an object fills, from `noise` / `pixel_noise`; see `FILLED_RATIOS`."""
    low, high = FILLED_RATIOS
    if pixel_noise <= 0 or noise / pixel_noise <= 0:  # the ratio is 0 if the differences of the pixels are infinite
        return 0.0
    return min(max(math.log(noise / pixel_noise / low) / math.log(high / low), 0.0), 1.0)


def edge_level(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> float:
    """Estimate the sky by the median of an image's edge; infinity if less than 30 % of the edge is valid.

    The edge is darker than the rest if an object fills the frame.
    """
    rim_y, rim_x = (max(1, round(EDGE_SHARE * side)) for side in data_yx.shape)
    step = _sampling_step(data_yx, SAMPLE_PIXELS)
    rows = np.s_[:rim_y:step, ::step], np.s_[-rim_y::step, ::step]
    columns = np.s_[::step, :rim_x:step], np.s_[::step, -rim_x::step]
    samples = [(data_yx[rim], valid_yx[rim]) for rim in rows + columns]
    values = np.concatenate([part_yx[is_valid_yx] for part_yx, is_valid_yx in samples])
    num_edge = sum(is_valid_yx.size for _, is_valid_yx in samples)
    return float(np.median(values)) if values.size > MIN_EDGE_SHARE * num_edge else math.inf


def lagged_noise(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> float:
    """Estimate the sigma of the noise from the differences of pixels 4 columns apart; 0 without a valid pair."""
    step, last = _sampling_step(data_yx, LAG_PIXELS), max(data_yx.shape[1] - LAG_PX, 0)
    left, right = np.s_[::step, :last:step], np.s_[::step, LAG_PX::step]
    are_valid_yx = valid_yx[left] & valid_yx[right]
    with np.errstate(over="ignore"):
        differences = np.sort(np.abs(data_yx[right][are_valid_yx] - data_yx[left][are_valid_yx]).astype(np.float32))
    if not differences.size:
        return 0.0
    # A difference has twice the variance of a pixel.
    return _spread_quantile(differences, 0.5) * MAD_TO_SIGMA / math.sqrt(2)


def apply_stretch(values_yx: NDArray[np.float32], shown_yx: NDArray[np.bool_], stretch: Stretch) -> NDArray[np.uint8]:
    """Convert pixel values to display levels, 0 to 255; pixels where `shown_yx` is false get the level of the sky."""
    is_asinh, span = STRETCHES[stretch.kind].is_asinh, stretch.white - stretch.black
    top = math.asinh(span / stretch.softening) if is_asinh else span
    curve = (stretch.black, span, stretch.sky - stretch.black, 1 / stretch.softening, 255 / top)
    values_yx = np.ascontiguousarray(values_yx, np.float32)
    levels_yx: NDArray[np.uint8] = _to_levels(values_yx, shown_yx, (*map(np.float32, curve), is_asinh))
    return levels_yx


@compiled
def _to_levels(values_yx: Any, shown_yx: Any, curve: Any) -> Any:
    """Convert pixel values, float32 (h, w), to levels, uint8 (h, w); pixels with false `shown_yx` get the sky's level.

    `curve` holds the parameters that `apply_stretch` computes.
    """
    black, span, sky_height, per_softening, scale, is_asinh = curve
    levels_yx, heights = np.empty(values_yx.shape, np.uint8), np.empty(values_yx.shape[1], F32)
    for y in range(levels_yx.shape[0]):
        values, shown, levels = values_yx[y], shown_yx[y], levels_yx[y]
        # three short loops take two thirds of the time of one long loop
        for x in range(heights.size):
            heights[x] = min(max(F32(values[x] - black) if shown[x] else sky_height, F32(0)), span)
        if is_asinh:
            for x in range(heights.size):
                ratio = F32(heights[x] * per_softening)
                # asinh(ratio) is the natural logarithm of ratio + sqrt(ratio^2 + 1)
                heights[x] = _natural_log(F32(ratio + np.sqrt(ratio * ratio + F32(1))))
        for x in range(heights.size):  # the cast truncates, so + 0.5 rounds
            levels[x] = np.uint8(min(F32(heights[x] * scale), F32(255)) + F32(0.5))
    return levels_yx


@compiled
def _natural_log(value: Any) -> Any:
    """Compute the natural logarithm; the error is at most 5e-7 or two units in the last place, whichever is larger.

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


def clipped_sky(ordered: NDArray[np.float32]) -> tuple[float, float]:
    """Estimate sky (median) and noise (half the central 68 % range) of ascending values by sigma clipping."""
    low, high = 0, len(ordered)  # the values are sorted, so clipping only moves the two ends
    for _ in range(CLIP_ROUNDS):
        clipped = ordered[low:high]
        below, sky, above = (_spread_quantile(clipped, share) for share in SIGMA_QUANTILES)
        noise = (above - below) / 2
        # `np.searchsorted` would convert the whole sample to float64
        first, end = (bisect_left(ordered, np.float64(sky + side * noise)) for side in (-CLIP_SIGMA, CLIP_SIGMA))
        if noise <= 0 or (first, end) == (low, high) or first == end:
            break
        low, high = first, end
    if noise <= 0:  # the width of the central 68 % is 0 if most values are equal
        noise = float(np.std(ordered, dtype=np.float64))
    if not np.isfinite(noise) or noise <= 0:
        raise ImageError("no_signal", "all valid pixels have the same value")
    return sky, noise


def _sorted_sample(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return, in ascending order, the valid pixels of a regular sample, or all valid pixels if the sample has none.

    Raises ImageError `all_invalid` if no pixel of the image is valid.
    """
    for step in (_sampling_step(data_yx, SAMPLE_PIXELS), 1):
        sample = data_yx[::step, ::step][valid_yx[::step, ::step]].astype(np.float32)
        if sample.size:
            return np.sort(sample + np.float32(0))  # the addition turns -0 into 0
    raise ImageError("all_invalid", "no pixel is valid")


def _sampling_step(data_yx: NDArray[np.float32], max_samples: int) -> int:
    """Return the step between sampled rows and columns; `max_samples` is the approximate maximum number of pixels."""
    return max(1, int(np.ceil(np.sqrt(data_yx.size / max_samples))))


def _quantile(ordered: NDArray[np.float32], share: float) -> float:
    """Return the quantile `share` of an ascending sample: the value of the nearest rank, without interpolation."""
    return float(ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)])


def _spread_quantile(ordered: NDArray[np.float32], share: float) -> float:
    """Return the quantile `share` of an ascending sample, computed as if equal values were spread over an interval.

    The interval ends halfway to the next smaller and the next larger value. Without the spread, the quantiles of whole
    numbers would be whole numbers, and a noise of 0.8 counts would be measured as 0.5.
    """
    value = _quantile(ordered, share)
    first, end = bisect_left(ordered, value), bisect_right(ordered, value)
    if end - first > MAX_TIED_SHARE * len(ordered) or first == 0 or end == len(ordered):
        return value
    low, high = (float(ordered[first - 1]) + value) / 2, (value + float(ordered[end])) / 2
    return low + (high - low) * (share * len(ordered) - first) / (end - first)
