"""From physical values to 8-bit levels: sky and noise by sigma clipping, then a registered curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray

from hubbleclip.errors import ImageError, SettingsError
from hubbleclip.images.fits import ScienceImage
from hubbleclip.settings import TileSettings

SAMPLE_PIXELS = 1 << 18
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 12
MIN_RANGE_SIGMA = 30.0
EXTENDED_QUANTILE = 0.98
EXTENDED_RATIO = 30.0
SIGMA_QUANTILES = (0.15866, 0.84134)

Curve = Callable[[NDArray[np.float32], float], NDArray[np.float32]]
"""Takes value - black and the softening, both in the image's unit; grows with the value and is 0 at 0."""


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
    """A curve, and the rule for its (black, white) from a sorted sample, the sky, the noise and the settings."""

    curve: Curve
    limits: Callable[[NDArray[np.float32], float, float, TileSettings], tuple[float, float]]


def _asinh(height: NDArray[np.float32], softening: float) -> NDArray[np.float32]:
    return np.arcsinh(height / np.float32(softening))


def _linear(height: NDArray[np.float32], softening: float) -> NDArray[np.float32]:
    return height


def _quantile_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    black = sky - settings.black_sigma * noise
    return black, max(_quantile(ordered, settings.white_quantile), black + MIN_RANGE_SIGMA * noise)


def _zscale_limits(
    ordered: NDArray[np.float32], sky: float, noise: float, settings: TileSettings
) -> tuple[float, float]:
    black, white = ZScaleInterval().get_limits(ordered)
    return float(black), max(float(white), float(black) + noise)


STRETCHES: dict[str, StretchKind] = {
    "asinh": StretchKind(_asinh, _quantile_limits),
    "linear": StretchKind(_linear, _quantile_limits),
    "zscale": StretchKind(_linear, _zscale_limits),
}


def fit_stretch(image: ScienceImage, settings: TileSettings) -> Stretch:
    """The stretch of a whole image, so that its tiles agree where they meet.

    Sky and noise come from sigma clipping every n-th row and column that leaves at most 262,144 pixels. White is a high
    quantile, at least 30 noise sigmas above black so that an empty field stays dark. asinh (Lupton et al. 1999, AJ 118,
    1406) softens at `softening_sigma`, or, where 2 % of the image is far brighter (a planet, a nucleus), at a thirtieth
    of that brightness, lest the disc become one white blob. Raises ImageError `all_invalid` or `no_signal` (constant).
    """
    kind = _kind(settings.stretch)
    ordered = _ordered_sample(image.data_yx, image.valid_yx)
    sky, noise = clipped_sky(ordered)
    black, white = kind.limits(ordered, sky, noise, settings)
    extended = (_quantile(ordered, EXTENDED_QUANTILE) - sky) / EXTENDED_RATIO
    softening = max(settings.softening_sigma * noise, extended)
    return Stretch(kind=settings.stretch, black=black, white=white, softening=softening, sky=sky, noise=noise)


def apply_stretch(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], stretch: Stretch) -> NDArray[np.uint8]:
    """Levels 0 to 255, rounded to the nearest; what is not valid is set to the sky before the cast."""
    curve = _kind(stretch.kind).curve
    span = np.float32(stretch.white - stretch.black)
    with np.errstate(invalid="ignore", over="ignore"):
        height_yx = np.where(valid_yx, data_yx, np.float32(stretch.sky)) - np.float32(stretch.black)
        height_yx = np.clip(height_yx, 0, span)
    top = curve(np.array([span], np.float32), stretch.softening)[0]
    levels_yx = curve(height_yx, stretch.softening) * (np.float32(255) / top)
    return np.rint(np.clip(levels_yx, 0, 255)).astype(np.uint8)


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
        clipped = tuple(np.searchsorted(ordered, [sky - CLIP_SIGMA * noise, sky + CLIP_SIGMA * noise]))
        if noise <= 0 or clipped == (low, high):
            break
        low, high = int(clipped[0]), int(clipped[1])
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
    step = max(1, int(np.ceil(np.sqrt(data_yx.size / SAMPLE_PIXELS))))
    sample = data_yx[::step, ::step][valid_yx[::step, ::step]]
    if sample.size == 0:
        sample = data_yx[valid_yx]
    if sample.size == 0:
        raise ImageError("all_invalid", "no pixel is valid")
    return np.sort(sample)


def _quantile(ordered: NDArray[np.float32], share: float) -> float:
    return float(ordered[min(round(share * (len(ordered) - 1)), len(ordered) - 1)])
