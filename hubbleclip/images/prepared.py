"""An image ready to be shown: what of it is sound, how it is stretched, and whether a tile of it is worth keeping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hubbleclip.errors import ImageError
from hubbleclip.images import levels
from hubbleclip.images.cosmic import NO_RAYS, Rays, take_out_rays
from hubbleclip.images.fits import ScienceImage
from hubbleclip.images.flux import fix_limits
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.masks import REPAIR_MIN_VALID
from hubbleclip.images.stretch import Stretch, apply_stretch, fit_stretch, level_curve, sky_and_noise
from hubbleclip.tile_settings import TileSettings


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


def square(band_yx: NDArray[np.uint8], start_yx: tuple[int, int], size_px: int, sky_level: int) -> NDArray[np.uint8]:
    """The tile of a band, padded with the sky's level where it leaves the image."""
    y0, x0 = start_yx
    inside_yx = band_yx[:, max(x0, 0) : x0 + size_px]
    if inside_yx.shape == (size_px, size_px):
        return inside_yx
    padded_yx = np.full((size_px, size_px), sky_level, np.uint8)
    top, left = max(-y0, 0), max(-x0, 0)
    padded_yx[top : top + inside_yx.shape[0], left : left + inside_yx.shape[1]] = inside_yx
    return padded_yx


def check_worth(prepared: Prepared, start_yx: tuple[int, int], settings: TileSettings) -> float:
    """Share of a tile's pixels inside the image that are valid.

    Raises ImageError `too_little_valid`, or `no_signal` where a 3x3 mean rises above the sky almost nowhere.
    """
    image, stretch, (y0, x0), size = prepared.image, prepared.stretch, start_yx, settings.size_px
    masks, window = (prepared.sound_yx, *prepared.rays), (y0, x0, size)
    threshold = settings.signal_sigma * stretch.noise
    limits = (np.float32(stretch.sky), np.float32(10 * threshold), np.float32(threshold), REPAIR_MIN_VALID)
    pixels = pixel_words(image.data_yx)
    num_valid, bright = levels.count_worth(pixels, masks, window, limits, settings.min_signal_share)
    valid_share: float = num_valid / prepared.sound_yx[max(y0, 0) : y0 + size, max(x0, 0) : x0 + size].size
    if valid_share < settings.min_valid_share:
        raise ImageError("too_little_valid", f"{valid_share:.1%} of the pixels, needs {settings.min_valid_share:.0%}")
    share = bright / max(1, num_valid)
    if share < settings.min_signal_share:
        raise ImageError(
            "no_signal", f"{share:.3%} of the pixels rise above the sky, needs {settings.min_signal_share:.3%}"
        )
    return valid_share
