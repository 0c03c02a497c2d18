"""From physical values to 8-bit levels: sky and noise by sigma clipping, then a registered stretch."""

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
from hubbleclip.images import bad_pixels, kernels, render
from hubbleclip.images.kernels import pixel_words

SAMPLE_PIXELS = 1 << 18
"""About the greatest number of pixels that are sampled for sky, noise and white."""
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 12
MIN_RANGE_SIGMA = 30.0
"""White is at least this far above black, in noise sigmas, so that an empty field stays dark."""
FLAT_SOFTENING = 0.05
"""Softening of a wholly flat object, as a share of white - sky."""
SKY_DEPTH = 0.2
"""Black is at least this far below the sky, in units of the softening."""
FILLED_RATIO = 3.0
"""A frame is filled by an object where the clipped noise exceeds the pixel noise by this factor."""
FILLED_SKY_QUANTILE = 0.05
LAG_PX = 4
"""Distance of pixels that are differenced for their noise, beyond drizzle's correlations."""
LAG_PIXELS = 1 << 16
MAD_TO_SIGMA = 1.4826
"""Sigma of a normal distribution per median absolute deviation."""
SIGMA_QUANTILES = (0.15866, 0.84134)
"""Quantiles of a normal distribution at -1 and +1 sigma."""


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
    """A curve, asinh or linear, and the rule for its (black, white) from a sorted sample, sky, noise and settings."""

    is_asinh: bool
    limits: Callable[[NDArray[np.float32], float, float, TileSettings], tuple[float, float]]


def _quantile_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    """Black a few sigmas below the sky, white at a high quantile."""
    black = sky - settings.black_sigma * noise
    return black, max(_quantile(ordered, settings.white_quantile), black + MIN_RANGE_SIGMA * noise)


def _zscale_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    """IRAF's zscale, as astropy implements it."""
    from astropy.visualization import ZScaleInterval  # noqa: PLC0415 - takes 0.3 s, and few settings need it

    black, white = ZScaleInterval().get_limits(ordered)
    return float(black), max(float(white), float(black) + noise)


STRETCHES: dict[str, StretchKind] = {
    "asinh": StretchKind(True, _quantile_limits),
    "linear": StretchKind(False, _quantile_limits),
    "zscale": StretchKind(False, _zscale_limits),
}
"""Registry of stretches, by `tiles.stretch`."""


def fit_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], settings: TileSettings) -> Stretch:
    """Fit the stretch of a whole image, so that its tiles agree where they meet.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w)
    settings : TileSettings
        `stretch`, `black_sigma`, `white_quantile` and `softening_sigma`.

    Returns
    -------
    stretch : Stretch
        In the image's unit.

    Raises
    ------
    ImageError
        `all_invalid`, or `no_signal` where all values are equal.

    Notes
    -----
    White is a high quantile, at least 30 noise sigmas above black so that an empty field stays dark. asinh (Lupton et
    al. 1999, AJ 118, 1406) softens at `softening_sigma`, or at the spread of what fills the frame. Where the bright
    part is flat (a planet's disc) the softening rises with `flatness`, or the disc would be uniformly white.
    """
    kind = _get_kind(settings.stretch)
    ordered = _sorted_sample(data_yx, valid_yx)
    sky, noise, spread = _sky_noise_spread(ordered, lagged_noise(data_yx, valid_yx))
    black, white = kind.limits(ordered, sky, noise, settings)
    # The cube leaves star fields (flatness 0.1) alone and acts on discs (0.9).
    flat = FLAT_SOFTENING * flatness(ordered, sky, white) ** 3 * (white - sky)
    softening = max(settings.softening_sigma * noise, flat, spread)
    black = min(black, sky - SKY_DEPTH * softening)  # with a large softening, keep the sky above black
    return Stretch(kind=settings.stretch, black=black, white=white, softening=softening, sky=sky, noise=noise)


def flatness(ordered: NDArray[np.float32], sky: float, white: float) -> float:
    """Share of the pixels brighter than 4 % of white that are brighter than 40 %.

    Parameters
    ----------
    ordered : float32 (n,)
        Pixel values, ascending.
    sky, white : float
        The percentages are of white - sky.

    Returns
    -------
    flatness : float
        0 to 1; about 0.9 for a disc, 0.1 for stars.
    """
    faint, bright = (_num_below(ordered, sky + share * (white - sky)) for share in (0.04, 0.4))
    return (len(ordered) - bright) / max(1, len(ordered) - faint)


def sky_and_noise(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> tuple[float, float]:
    """Estimate sky level and noise of an image from a regular sample of about 262,144 pixels at most.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w)

    Returns
    -------
    sky, noise : float
        Level and sigma, in the image's unit.

    Notes
    -----
    By sigma clipping. Where that gives three times the noise between pixels 4 columns apart, an object fills the frame
    (a planet's map, a nebula): then the sky is the fifth percentile, and the noise that between pixels.
    """
    sky, noise, _ = _sky_noise_spread(_sorted_sample(data_yx, valid_yx), lagged_noise(data_yx, valid_yx))
    return sky, noise


def _sky_noise_spread(ordered: NDArray[np.float32], pixel_noise: float) -> tuple[float, float, float]:
    """Sky, noise, and the spread of the object that fills the frame (0 for a frame that is mostly sky)."""
    sky, noise = clipped_sky(ordered)
    if 0 < FILLED_RATIO * pixel_noise < noise:
        return _quantile(ordered, FILLED_SKY_QUANTILE), pixel_noise, noise
    return sky, noise, 0.0


def lagged_noise(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> float:
    """Estimate the noise from differences of pixels 4 columns apart, which large structures hardly change.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w)

    Returns
    -------
    noise : float
        Sigma in the image's unit; 0 where there is no pair of valid pixels.
    """
    step = _sampling_step(data_yx, LAG_PIXELS)
    differences = np.sort(kernels.lagged_differences(pixel_words(data_yx), valid_yx, step, LAG_PX))
    if not differences.size:
        return 0.0
    median = (differences[(len(differences) - 1) // 2] + differences[len(differences) // 2]) / np.float32(2)
    return float(median) * MAD_TO_SIGMA / math.sqrt(2)  # a difference has twice the variance of a pixel


def apply_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], stretch: Stretch) -> NDArray[np.uint8]:
    """Render an image as levels, without repair of bad pixels.

    Parameters
    ----------
    data_yx : float32 (h, w)
        Of either byte order.
    valid_yx : bool (h, w)
        The others are displayed as sky.
    stretch : Stretch

    Returns
    -------
    levels_yx : uint8 (h, w)
        Rounded to the nearest.
    """
    levels_yx = np.empty(data_yx.shape, np.uint8)
    curve = curve_parameters(stretch, bad_pixels.NO_REPAIR)
    render.render_levels(pixel_words(data_yx), valid_yx, curve, 0, levels_yx)
    return levels_yx


def curve_parameters(stretch: Stretch, min_good: int) -> tuple[Any, ...]:
    """Convert a stretch to the `curve` argument of `render.render_levels`.

    Parameters
    ----------
    stretch : Stretch
    min_good : int
        Good pixels in the 5x5 that the repair of a bad one needs.

    Returns
    -------
    curve : tuple
        float32 numbers, a bool and an int; see `render.render_levels`.
    """
    is_asinh, span = _get_kind(stretch.kind).is_asinh, stretch.white - stretch.black
    top = math.asinh(span / stretch.softening) if is_asinh else span
    limits = (stretch.black, span, stretch.sky - stretch.black, 1 / stretch.softening, 255 / top)
    return *(np.float32(limit) for limit in limits), is_asinh, min_good


def clipped_sky(ordered: NDArray[np.float32]) -> tuple[float, float]:
    """Estimate sky and noise by sigma clipping.

    Parameters
    ----------
    ordered : float32 (n,)
        Pixel values, ascending.

    Returns
    -------
    sky, noise : float
        Median, and half the width of the central 68 %, after clipping at 3 sigma until nothing changes. Where most
        values are equal (photon counters), the noise is the standard deviation instead.

    Raises
    ------
    ImageError
        `no_signal` where all values are equal.
    """
    low, high = 0, len(ordered)  # in a sorted sample clipping only moves the ends
    for _ in range(CLIP_ROUNDS):
        clipped = ordered[low:high]
        sky = _quantile(clipped, 0.5)
        below, above = (_quantile(clipped, share) for share in SIGMA_QUANTILES)
        noise = (above - below) / 2
        limits = _num_below(ordered, sky - CLIP_SIGMA * noise), _num_below(ordered, sky + CLIP_SIGMA * noise)
        if noise <= 0 or limits == (low, high):
            break
        low, high = limits
    if noise <= 0:  # most values are equal
        noise = float(np.std(ordered, dtype=np.float64))
    if not np.isfinite(noise) or noise <= 0:
        raise ImageError("no_signal", "all valid pixels have the same value")
    return sky, noise


def _get_kind(name: str) -> StretchKind:
    """The registered stretch of a name. Raises SettingsError."""
    try:
        return STRETCHES[name]
    except KeyError:
        raise SettingsError(f"tiles.stretch {name!r} is unknown: set one of {', '.join(sorted(STRETCHES))}") from None


def _sorted_sample(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Valid pixels of a regular sample, ascending; of all pixels where the sample has none. Raises ImageError."""
    pixels = pixel_words(data_yx)
    sample: NDArray[np.float32] = kernels.sample_pixels(pixels, valid_yx, _sampling_step(data_yx, SAMPLE_PIXELS))
    if sample.size == 0:
        sample = kernels.sample_pixels(pixels, valid_yx, 1)
    if sample.size == 0:
        raise ImageError("all_invalid", "no pixel is valid")
    return np.sort(sample)


def _sampling_step(data_yx: NDArray[np.float32], max_samples: int) -> int:
    """Step between sampled rows and columns that leaves about `max_samples` pixels at most."""
    return max(1, int(np.ceil(np.sqrt(data_yx.size / max_samples))))


def _num_below(ordered: NDArray[np.float32], value: float) -> int:
    """Number of values of an ascending sample below `value`, compared in float64."""
    # Not `np.searchsorted`, which would convert the whole sample to float64.
    return bisect_left(ordered, np.float64(value))


def _quantile(ordered: NDArray[np.float32], share: float) -> float:
    """The value of the nearest rank in an ascending sample; nothing is interpolated."""
    return float(ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)])
