"""Preparation of an image for display: cosmic rays, stretch, flux scale, levels, and which tiles have enough signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images import render
from hubbleclip.images.bad_pixels import REPAIR_MIN_VALID
from hubbleclip.images.cosmic_rays import NO_RAYS, RayPixels, reject_cosmic_rays
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch, apply_stretch, curve_parameters, fit_stretch, sky_and_noise
from hubbleclip.images.wcs import pixel_area_deg2

ARCSEC2_PER_DEG2 = 3600.0**2
COUNTS = ("COUNTS", "COUNT", "DN", "ADU", "CTS")
ELECTRONS = ("ELECTRONS", "ELECTRON", "E-")


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready for display.

    `good_yx`, bool (h, w), are the valid pixels without cosmic rays; `sky_level` is the level, 0 to 255, of the sky,
    which pads tiles; `rays` are the pixels of cosmic rays.
    """

    image: ScienceImage
    good_yx: NDArray[np.bool_]
    stretch: Stretch
    sky_level: int
    rays: RayPixels = NO_RAYS


def prepare_image(image: ScienceImage, settings: TileSettings) -> PreparedImage:
    """Reject the cosmic rays of a single exposure and fit the stretch.

    RayPixels are rejected before the fit, because they would set its white level.

    Parameters
    ----------
    image : ScienceImage
        Its mask is changed in place and reused: a copy would take a quarter of the image's memory.
    settings : TileSettings
        The fields of the stretch.

    Returns
    -------
    prepared : PreparedImage
    """
    rays = NO_RAYS
    if image.may_have_cosmic_rays:
        sky, noise = sky_and_noise(image.data_yx, image.valid_yx)
        rays = reject_cosmic_rays(image.data_yx, image.valid_yx, sky, noise)
    return fit_image(image, image.valid_yx, settings, rays)


def fit_image(
    image: ScienceImage, good_yx: NDArray[np.bool_], settings: TileSettings, rays: RayPixels = NO_RAYS
) -> PreparedImage:
    """Fit the stretch of an image, or set its limits on the flux scale.

    Parameters
    ----------
    image : ScienceImage
        A stretch of its own, as a preview has, is used as it is.
    good_yx : bool (h, w)
    settings : TileSettings
        The fields of the stretch; `limits` chooses between the fit and the flux scale.
    rays : (rows, columns)
        Pixels of cosmic rays.

    Returns
    -------
    prepared : PreparedImage
    """
    stretch = image.stretch or fit_stretch(image.data_yx, good_yx, settings)
    if settings.limits == "flux":
        stretch = apply_flux_limits(stretch, image, settings)
    # A pixel that is not valid is displayed as sky.
    sky_level = apply_stretch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_), stretch)
    return PreparedImage(image, good_yx, stretch, int(sky_level[0, 0]), rays)


def apply_flux_limits(stretch: Stretch, image: ScienceImage, settings: TileSettings) -> Stretch:
    """Replace the limits of a stretch by fixed fluxes above the sky, the same for all images.

    Parameters
    ----------
    stretch : Stretch
        Its sky is the zero of the flux scale.
    image : ScienceImage
        Gives unit, gain, exposure time and pixel area.
    settings : TileSettings
        `flux_black`, `flux_white` and `flux_softening`, in electrons / s / arcsec2.

    Returns
    -------
    stretch : Stretch
        In the image's unit.
    """
    unit = 1 / flux_per_unit(image)  # image units per electron / s / arcsec2
    return replace(
        stretch,
        black=stretch.sky + settings.flux_black * unit,
        white=stretch.sky + settings.flux_white * unit,
        softening=settings.flux_softening * unit,
    )


def flux_per_unit(image: ScienceImage) -> float:
    """Flux of a pixel value of 1, from unit, gain, exposure time and pixel area.

    Parameters
    ----------
    image : ScienceImage

    Returns
    -------
    flux : float
        In electrons / s / arcsec2.

    Raises
    ------
    ImageError
        `no_flux_scale` where the unit is not known or the header lacks what it needs.
    """
    unit = (image.unit or "").upper().replace(" ", "")
    quantity, _, time = unit.replace("CPS", "COUNTS/S").partition("/")
    if quantity not in COUNTS + ELECTRONS or time not in {"", "S", "SEC", "SECOND"}:
        raise ImageError(
            "no_flux_scale", f"the unit is {image.unit!r}, not electrons or counts, in total or per second"
        )
    # A total is divided by the exposure time, a count multiplied by the gain.
    electrons = 1.0 if quantity in ELECTRONS else image.gain
    seconds = 1.0 if time else image.exposure_s
    if not electrons or not seconds or seconds <= 0:
        raise ImageError("no_flux_scale", "the header has no gain or no exposure time")
    if image.wcs is None:
        raise ImageError("no_flux_scale", "the pixel area is not known without a WCS")
    return electrons / seconds / (pixel_area_deg2(image.wcs) * ARCSEC2_PER_DEG2)


def render_rows(prepared: PreparedImage, y0: int, size_px: int) -> NDArray[np.uint8]:
    """Levels of the image rows of tiles that begin at `y0`, over the image's whole width.

    Parameters
    ----------
    prepared : PreparedImage
        Of (h, w).
    y0 : int
        First row of the tiles; may be negative.
    size_px : int
        Side of a tile.

    Returns
    -------
    band_yx : uint8 (n, w)
        The rows inside the image, at most `size_px`.
    """
    height, width = prepared.image.data_yx.shape
    top, bottom = max(y0, 0), min(y0 + size_px, height)
    if _is_rendered(prepared):  # a preview's levels: no stretch, and no bad pixels
        return (prepared.image.data_yx[top:bottom] + np.float32(0.5)).astype(np.uint8)
    band_yx = np.empty((bottom - top, width), np.uint8)
    curve = curve_parameters(prepared.stretch, REPAIR_MIN_VALID)
    render.render_levels(pixel_words(prepared.image.data_yx), prepared.good_yx, curve, top, band_yx)
    return band_yx


def _is_rendered(prepared: PreparedImage) -> bool:
    """Whether the image consists of display levels already (a preview), which are used unchanged."""
    stretch = prepared.stretch
    is_identity = (stretch.kind, stretch.black, stretch.white) == ("linear", 0, 255)
    return is_identity and stretch is prepared.image.stretch and bool(prepared.good_yx.all())


def render_tile_row(prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], size_px: int) -> NDArray[np.uint8]:
    """Levels of a row of tiles in one array, padded with the sky's level where the tiles extend beyond the image.

    Parameters
    ----------
    prepared : PreparedImage
    starts_yx : sequence of (y0, x0)
        First pixels of the tiles, with one y0, in ascending order of x0.
    size_px : int
        Side of a tile.

    Returns
    -------
    band_yx : uint8 (size_px, n)
        From the first column of the first tile to at least the last column of the last.
    """
    (y0, first), (_, last) = starts_yx[0], starts_yx[-1]
    # Rows are still lowest first here: `above` means before the first row of the array.
    band_yx = render_rows(prepared, y0, size_px)[:, max(first, 0) :]
    above, before = max(-y0, 0), max(-first, 0)
    below, behind = size_px - above - len(band_yx), max(last - first + size_px - before - band_yx.shape[1], 0)
    if not (above or below or before or behind):
        return band_yx
    return np.pad(band_yx, ((above, below), (before, behind)), constant_values=prepared.sky_level)


def assess_tiles(
    prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], settings: TileSettings
) -> list[float | ImageError]:
    """Decide which tiles have enough valid pixels and enough signal.

    Parameters
    ----------
    prepared : PreparedImage
    starts_yx : sequence of (y0, x0)
        First pixels of the tiles.
    settings : TileSettings
        `min_valid_share`, `min_signal_share`, `signal_sigma` and `size_px`.

    Returns
    -------
    assessments : list of float or ImageError
        Per tile, the valid share of its pixels inside the image, or the reason to reject it: `too_little_valid`, or
        `no_signal` where the 3x3 mean is above the sky in too few pixels.
    """
    image, stretch, size = prepared.image, prepared.stretch, settings.size_px
    masks, places = (prepared.good_yx, *prepared.rays), (np.array(starts_yx, np.int64), size)
    threshold = settings.signal_sigma * stretch.noise
    # Heights are capped at 10 thresholds: extreme values must not overflow or dominate the float32 sums.
    limits = (np.float32(stretch.sky), np.float32(10 * threshold), np.float32(threshold), REPAIR_MIN_VALID)
    counts = render.count_signal(pixel_words(image.data_yx), masks, places, limits, settings.min_signal_share)
    height, width = prepared.good_yx.shape
    return [
        _assess_tile(num_valid, num_bright, _overlap(y0, size, height) * _overlap(x0, size, width), settings)
        for (y0, x0), num_valid, num_bright in zip(starts_yx, *(numbers.tolist() for numbers in counts), strict=True)
    ]


def _overlap(start: int, size: int, length: int) -> int:
    """Pixels of a tile's side that are inside the image."""
    return min(start + size, length) - max(start, 0)


def _assess_tile(num_valid: int, num_bright: int, num_inside: int, settings: TileSettings) -> float | ImageError:
    """Valid share of a tile, or the reason to reject it."""
    valid_share = num_valid / num_inside
    if valid_share < settings.min_valid_share:
        return ImageError("too_little_valid", f"{valid_share:.1%} of the pixels, needs {settings.min_valid_share:.0%}")
    share = num_bright / max(1, num_valid)  # `min_valid_share` may be 0
    if share < settings.min_signal_share:
        needed = f"needs {settings.min_signal_share:.3%}"
        return ImageError("no_signal", f"{share:.3%} of the pixels rise above the sky, {needed}")
    return valid_share
