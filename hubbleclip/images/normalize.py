"""Preparation of an image for display: reject cosmic rays, fit the stretch, render levels, and judge tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.fits.pointing import aim_start
from hubbleclip.images import render
from hubbleclip.images.bad_pixels import REPAIR_MIN_VALID
from hubbleclip.images.cosmic_rays import NO_RAYS, RayPixels, reject_cosmic_rays
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch, apply_stretch, curve_parameters, fit_stretch
from hubbleclip.images.wcs import pixel_area_deg2

ARCSEC2_PER_DEG2 = 3600.0**2
COUNTS = ("COUNTS", "COUNT", "DN", "ADU", "CTS")
ELECTRONS = ("ELECTRONS", "ELECTRON", "E-")
MAX_OBJECT_SHARE = 0.2
"""Share of a tile's area that a small object does not fill; see `small_object`."""
OBJECT_QUANTILES = (0.05, 0.95)
"""Quantiles of the rows and of the columns of bright pixels of an object's extent; few far pixels do not count."""
OBJECT_MARGIN = 1.5
"""Side of the tile around a small object, in units of the longer extent; a disc is 1.2 times as large as its extent."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is ready to be rendered.

    `good_yx`, bool (h, w), is the mask of the valid pixels that no cosmic ray has hit. `sky_level` is the display level
    of the sky, 0 to 255, with which tiles are padded. `rays` are the pixels that cosmic rays have hit.
    """

    image: ScienceImage
    good_yx: NDArray[np.bool_]
    stretch: Stretch
    sky_level: int
    rays: RayPixels = NO_RAYS


def prepare_image(image: ScienceImage, settings: TileSettings) -> PreparedImage:
    """Reject the cosmic rays of a single exposure and fit the stretch.

    Cosmic rays are rejected before the fit, because their high values would determine the white level.
    """
    rays = NO_RAYS
    if image.may_have_cosmic_rays:
        rays = reject_cosmic_rays(image.data_yx, image.valid_yx, image.star_contrast)
    return fit_image(image, image.valid_yx, settings, rays)


def fit_image(
    image: ScienceImage, good_yx: NDArray[np.bool_], settings: TileSettings, rays: RayPixels = NO_RAYS
) -> PreparedImage:
    """Fit the stretch of an image. If the settings ask for fixed fluxes, use these as the limits of the stretch."""
    stretch = image.stretch or fit_stretch(image.data_yx, good_yx, settings)
    if settings.limits == "flux":
        stretch = apply_flux_limits(stretch, image, settings)
    # The level of the sky is obtained by rendering one invalid pixel, because invalid pixels are displayed as sky.
    sky_level = apply_stretch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_), stretch)
    return PreparedImage(image, good_yx, stretch, int(sky_level[0, 0]), rays)


def apply_flux_limits(stretch: Stretch, image: ScienceImage, settings: TileSettings) -> Stretch:
    """Replace the limits of a stretch by fixed fluxes above the sky, which are the same for all images."""
    unit = 1 / flux_per_unit(image)  # value in the image's unit of 1 electron / s / arcsec2
    return replace(
        stretch,
        black=stretch.sky + settings.flux_black * unit,
        white=stretch.sky + settings.flux_white * unit,
        softening=settings.flux_softening * unit,
    )


def flux_per_unit(image: ScienceImage) -> float:
    """Compute the flux that a pixel value of 1 means, from the image's unit, gain, exposure time and pixel area."""
    unit = (image.unit or "").upper().replace(" ", "")
    quantity, _, time = unit.replace("CPS", "COUNTS/S").partition("/")
    if quantity not in COUNTS + ELECTRONS or time not in {"", "S", "SEC", "SECOND"}:
        raise ImageError(
            "no_flux_scale", f"the unit is {image.unit!r}, but must be electrons or counts, in total or per second"
        )
    # Totals are divided by the exposure time, and counts are multiplied by the gain.
    electrons = 1.0 if quantity in ELECTRONS else image.gain
    seconds = 1.0 if time else image.exposure_s
    if not electrons or not seconds or seconds <= 0:
        raise ImageError("no_flux_scale", "the header lacks the gain or the exposure time")
    if image.wcs is None:
        raise ImageError("no_flux_scale", "the image has no WCS, so its pixel area is unknown")
    return electrons / seconds / (pixel_area_deg2(image.wcs) * ARCSEC2_PER_DEG2)


def render_rows(prepared: PreparedImage, y0: int, size_px: int) -> NDArray[np.uint8]:
    """Render the image rows that a row of tiles covers, over the whole width of the image."""
    height, width = prepared.image.data_yx.shape
    top, bottom = max(y0, 0), min(y0 + size_px, height)
    if _is_rendered(prepared):  # a preview contains levels already and has no bad pixels
        return (prepared.image.data_yx[top:bottom] + np.float32(0.5)).astype(np.uint8)
    band_yx = np.empty((bottom - top, width), np.uint8)
    curve = curve_parameters(prepared.stretch, REPAIR_MIN_VALID)
    render.render_levels(pixel_words(prepared.image.data_yx), prepared.good_yx, curve, top, band_yx)
    return band_yx


def _is_rendered(prepared: PreparedImage) -> bool:
    """Return whether the pixels are display levels already, as in a preview; such levels are used unchanged."""
    stretch = prepared.stretch
    is_identity = (stretch.kind, stretch.black, stretch.white) == ("linear", 0, 255)
    return is_identity and stretch is prepared.image.stretch and bool(prepared.good_yx.all())


def render_tile_row(prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], size_px: int) -> NDArray[np.uint8]:
    """Render a row of tiles in one array, padded with the sky level where the tiles extend beyond the image."""
    (y0, first), (_, last) = starts_yx[0], starts_yx[-1]
    # The rows are in the order of FITS, lowest first, so `above` is the padding before the first row of the array.
    band_yx = render_rows(prepared, y0, size_px)[:, max(first, 0) :]
    above, before = max(-y0, 0), max(-first, 0)
    below, behind = size_px - above - len(band_yx), max(last - first + size_px - before - band_yx.shape[1], 0)
    if not (above or below or before or behind):
        return band_yx
    return np.pad(band_yx, ((above, below), (before, behind)), constant_values=prepared.sky_level)


def assess_tiles(
    prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], size_px: int, settings: TileSettings
) -> list[float | ImageError]:
    """Decide which tiles have enough valid pixels and enough signal."""
    image, stretch = prepared.image, prepared.stretch
    masks, places = (prepared.good_yx, *prepared.rays), (np.array(starts_yx, np.int64), size_px)
    threshold = settings.signal_sigma * stretch.noise
    # Values above the sky are limited to 10 times the threshold, so that extreme values neither overflow nor dominate
    # the float32 sums.
    limits = (np.float32(stretch.sky), np.float32(10 * threshold), np.float32(threshold), REPAIR_MIN_VALID)
    counts = render.count_signal(pixel_words(image.data_yx), masks, places, limits, settings.min_signal_share)
    height, width = prepared.good_yx.shape
    return [
        _assess_tile(num_valid, num_bright, _overlap(y0, size_px, height) * _overlap(x0, size_px, width), settings)
        for (y0, x0), num_valid, num_bright in zip(starts_yx, *(numbers.tolist() for numbers in counts), strict=True)
    ]


def small_object(prepared: PreparedImage, settings: TileSettings) -> tuple[tuple[int, int], int] | None:
    """Find a small tile around the object of an image, if the object fills less than 20 % of a tile."""
    from scipy.ndimage import uniform_filter  # noqa: PLC0415 - the import takes 0.1 s, and few settings need it

    stretch, shape_yx = prepared.stretch, prepared.good_yx.shape
    heights_yx = np.where(prepared.good_yx, prepared.image.data_yx - np.float32(stretch.sky), 0)
    bright = np.nonzero(uniform_filter(heights_yx, 3) > settings.signal_sigma * stretch.noise)
    if not bright[0].size:
        return None
    first_yx, last_yx = np.quantile(bright, OBJECT_QUANTILES, axis=1)
    extent_yx = last_yx - first_yx + 1
    size_px = max(min(round(OBJECT_MARGIN * extent_yx.max()), max(shape_yx)), settings.min_side_px)
    if extent_yx.prod() >= MAX_OBJECT_SHARE * settings.size_px**2 or size_px >= settings.size_px:
        return None
    centre_y, centre_x = (first_yx + last_yx) / 2
    return aim_start((centre_y, centre_x), shape_yx, size_px), size_px


def _overlap(start: int, size: int, length: int) -> int:
    """Return the number of pixels along a tile's side that are inside the image."""
    return min(start + size, length) - max(start, 0)


def _assess_tile(num_valid: int, num_bright: int, num_inside: int, settings: TileSettings) -> float | ImageError:
    """Return the share of valid pixels of a tile, or the reason to reject the tile."""
    valid_share = num_valid / num_inside
    if valid_share < settings.min_valid_share:
        return ImageError(
            "too_little_valid", f"{valid_share:.1%} of the pixels are valid, needs {settings.min_valid_share:.0%}"
        )
    share = num_bright / max(1, num_valid)  # `num_valid` is 0 only if `min_valid_share` is 0
    if share < settings.min_signal_share:
        needed = f"needs {settings.min_signal_share:.3%}"
        return ImageError("no_signal", f"{share:.3%} of the pixels rise above the sky, {needed}")
    return valid_share
