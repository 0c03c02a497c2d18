"""An image ready to be shown: what of it is sound, how it is stretched, and whether a tile of it is worth keeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images import render as levels
from hubbleclip.images.bad_pixels import REPAIR_MIN_VALID
from hubbleclip.images.cosmic_rays import NO_RAYS, Rays, take_out_rays
from hubbleclip.images.flux import fix_limits
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch, apply_stretch, fit_stretch, level_curve, sky_and_noise


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image ready to be shown: the mask of its valid pixels without cosmic rays, its stretch, its sky's level, and
    where the rays are.
    """

    image: ScienceImage
    sound_yx: NDArray[np.bool_]
    stretch: Stretch
    sky_level: int
    rays: Rays = NO_RAYS


def prepare(image: ScienceImage, settings: TileSettings) -> Prepared:
    """Find what to repair in an image and fit its stretch, unless it comes with one.

    Cosmic rays of an uncombined exposure are taken out before the stretch is fitted, lest they set its white. The
    image's mask is taken over for that: another one would be a quarter of the image.
    """
    rays = NO_RAYS
    if image.may_hold_rays:
        sky, noise = sky_and_noise(image.data_yx, image.valid_yx)
        rays = take_out_rays(image.data_yx, image.valid_yx, sky, noise)
    return fit(image, image.valid_yx, settings, rays)


def fit(image: ScienceImage, sound_yx: NDArray[np.bool_], settings: TileSettings, rays: Rays = NO_RAYS) -> Prepared:
    """Fit the stretch, or set it by the scale of flux."""
    stretch = image.stretch or fit_stretch(image.data_yx, sound_yx, settings)
    if settings.limits == "flux":
        stretch = fix_limits(stretch, image, settings)
    sky_level = apply_stretch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_), stretch)
    return Prepared(image, sound_yx, stretch, int(sky_level[0, 0]), rays)


def levels_of_band(prepared: Prepared, y0: int, size_px: int) -> NDArray[np.uint8]:
    """Levels of the image's rows that tiles at `y0` hold, over its whole width: (at most size_px, width)."""
    height, width = prepared.image.data_yx.shape
    top, bottom = max(y0, 0), min(y0 + size_px, height)
    if _shows_levels(prepared):
        return (prepared.image.data_yx[top:bottom] + np.float32(0.5)).astype(np.uint8)
    band_yx = np.empty((bottom - top, width), np.uint8)
    curve = level_curve(prepared.stretch, REPAIR_MIN_VALID)
    levels.levels_of_rows(pixel_words(prepared.image.data_yx), prepared.sound_yx, curve, top, band_yx)
    return band_yx


def _shows_levels(prepared: Prepared) -> bool:
    """Whether all of an image is levels already, made for the eye, that are shown as they are."""
    stretch = prepared.stretch
    is_line = (stretch.kind, stretch.black, stretch.white) == ("linear", 0, 255)
    return is_line and stretch is prepared.image.stretch and bool(prepared.sound_yx.all())


def band_of_tiles(prepared: Prepared, starts_yx: Sequence[tuple[int, int]], size_px: int) -> NDArray[np.uint8]:
    """Levels of the rows that a row of tiles holds, from the column of the first tile on, padded with the sky's level
    where the tiles leave the image: (size_px, at least what they hold).
    """
    (y0, first), (_, last) = starts_yx[0], starts_yx[-1]
    band_yx = levels_of_band(prepared, y0, size_px)[:, max(first, 0) :]
    above, before = max(-y0, 0), max(-first, 0)
    below, behind = size_px - above - len(band_yx), max(last - first + size_px - before - band_yx.shape[1], 0)
    if not (above or below or before or behind):
        return band_yx
    return np.pad(band_yx, ((above, below), (before, behind)), constant_values=prepared.sky_level)


def worth_of(
    prepared: Prepared, starts_yx: Sequence[tuple[int, int]], settings: TileSettings
) -> list[float | ImageError]:
    """Share of each tile's pixels inside the image that are valid.

    Where a tile is not worth keeping, ImageError `too_little_valid` in its place, or `no_signal` where a 3x3 mean rises
    above the sky almost nowhere.
    """
    image, stretch, size = prepared.image, prepared.stretch, settings.size_px
    masks, places = (prepared.sound_yx, *prepared.rays), (np.array(starts_yx, np.int64), size)
    threshold = settings.signal_sigma * stretch.noise
    limits = (np.float32(stretch.sky), np.float32(10 * threshold), np.float32(threshold), REPAIR_MIN_VALID)
    counts = levels.count_worth(pixel_words(image.data_yx), masks, places, limits, settings.min_signal_share)
    height, width = prepared.sound_yx.shape
    return [
        _worth(num_valid, num_bright, _overlap(y0, size, height) * _overlap(x0, size, width), settings)
        for (y0, x0), num_valid, num_bright in zip(starts_yx, *(numbers.tolist() for numbers in counts), strict=True)
    ]


def _overlap(start: int, size: int, length: int) -> int:
    """How much of a side lies inside the image."""
    return min(start + size, length) - max(start, 0)


def _worth(num_valid: int, num_bright: int, num_inside: int, settings: TileSettings) -> float | ImageError:
    valid_share = num_valid / num_inside
    if valid_share < settings.min_valid_share:
        return ImageError("too_little_valid", f"{valid_share:.1%} of the pixels, needs {settings.min_valid_share:.0%}")
    share = num_bright / max(1, num_valid)
    if share < settings.min_signal_share:
        needed = f"needs {settings.min_signal_share:.3%}"
        return ImageError("no_signal", f"{share:.3%} of the pixels rise above the sky, {needed}")
    return valid_share
