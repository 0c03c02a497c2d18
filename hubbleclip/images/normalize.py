"""Preparation of an image for display: reject cosmic rays, fit the stretch, read rows of tiles, and judge tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import FLUX_BLACK, FLUX_SOFTENING, FLUX_WHITE, MIN_SIGNAL_SHARE, TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.fits.pointing import aim_start
from hubbleclip.images.background import STEP_PX
from hubbleclip.images.bad_pixels import NO_CORES, FilledPixels, fill_cores, repair_rows
from hubbleclip.images.cosmic_rays import NO_RAYS, RayPixels, reject_cosmic_rays
from hubbleclip.images.kernels import F32, compiled
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch, fit_stretch
from hubbleclip.images.wcs import pixel_area_deg2

ARCSEC2_PER_DEG2 = 3600.0**2
COUNTS = ("COUNTS", "COUNT", "DN", "ADU", "CTS")
ELECTRONS = ("ELECTRONS", "ELECTRON", "E-")
MAX_OBJECT_SHARE = 0.2
"""An object is small if its height times its width is below this share of a tile's area; see `small_object`."""
OBJECT_QUANTILES = (0.05, 0.95)
"""An object extends between these quantiles of the rows and columns of the bright pixels, which excludes outliers."""
OBJECT_MARGIN = 1.5
"""Side of the tile around a small object, in units of the object's longer extent between the `OBJECT_QUANTILES`.

A disc is 1.2 times as wide as this extent.
"""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is ready to be rendered.

    `good_yx`, bool (h, w), is the mask of the valid pixels that no cosmic ray has hit; `rays` are the pixels that were
    hit. `cores` are pixels without data in the saturated cores of stars. They are displayed with a filled-in value, but
    they are not valid, and do not count as signal.
    """

    image: ScienceImage
    good_yx: NDArray[np.bool_]
    stretch: Stretch
    rays: RayPixels = NO_RAYS
    cores: FilledPixels = NO_CORES


def prepare_image(image: ScienceImage, settings: TileSettings) -> PreparedImage:
    """Reject the cosmic rays of a single exposure, fit the stretch, and fill the saturated cores that have no data.

    Cosmic rays are rejected before the fit, because their high values would determine the white level.
    """
    rays = NO_RAYS
    if image.may_have_cosmic_rays:
        lag_px = STEP_PX if image.is_drizzled else 1
        rays = reject_cosmic_rays(image.data_yx, image.valid_yx, image.star_contrast, image.saturated, lag_px)
    prepared = fit_image(image, image.valid_yx, settings, rays)
    # in a single CCD exposure and in a preview, saturated pixels are valid, so no core lacks data
    if image.may_have_cosmic_rays or image.stretch is not None:
        return prepared
    stretch = prepared.stretch
    return replace(prepared, cores=fill_cores(image.data_yx, image.valid_yx, stretch.sky, stretch.noise))


def fit_image(
    image: ScienceImage, good_yx: NDArray[np.bool_], settings: TileSettings, rays: RayPixels = NO_RAYS
) -> PreparedImage:
    """Fit the stretch of an image. If the setting `limits` is "flux", the limits of the stretch are fixed fluxes."""
    stretch = image.stretch or fit_stretch(image.data_yx, good_yx, settings)
    if settings.limits == "flux":
        stretch = apply_flux_limits(stretch, image)
    return PreparedImage(image, good_yx, stretch, rays)


def apply_flux_limits(stretch: Stretch, image: ScienceImage) -> Stretch:
    """Replace the limits of a stretch by fixed fluxes above the sky, which are the same for all images."""
    unit = 1 / flux_per_unit(image)  # 1 electron / s / arcsec2, converted to the image's unit
    black, white = (stretch.sky + flux * unit for flux in (FLUX_BLACK, FLUX_WHITE))
    return replace(stretch, black=black, white=white, softening=FLUX_SOFTENING * unit)


def flux_per_unit(image: ScienceImage) -> float:
    """Compute the flux in electrons / s / arcsec2 of a pixel value of 1. Raises ImageError `no_flux_scale`."""
    unit = (image.unit or "").upper().replace(" ", "")
    quantity, _, time = unit.replace("CPS", "COUNTS/S").partition("/")
    if quantity not in COUNTS + ELECTRONS or time not in {"", "S", "SEC", "SECOND"}:
        words = f"the unit is {image.unit!r}, not electrons or counts, in total or per second"
        raise ImageError("no_flux_scale", words)
    # A total (a unit without a time) is divided by the exposure time, and counts are multiplied by the gain.
    electrons = 1.0 if quantity in ELECTRONS else image.gain
    seconds = 1.0 if time else image.exposure_s
    if not electrons or not seconds or seconds <= 0:
        raise ImageError("no_flux_scale", "the header lacks the gain or the exposure time")
    if image.wcs is None:
        raise ImageError("no_flux_scale", "the image has no WCS, so its pixel area is unknown")
    return electrons / seconds / (pixel_area_deg2(image.wcs) * ARCSEC2_PER_DEG2)


@dataclass(frozen=True, slots=True)
class TileRows:
    """The pixels of a row of tiles, as arrays (size_px, w).

    The arrays are as wide as the image, plus padding where tiles extend beyond the image. `values_yx` are the pixel
    values with isolated bad pixels repaired, `shown_yx` is the mask of the good and the repaired pixels, and `valid_yx`
    is the mask of the valid pixels. `left` is the column of the image at which the arrays begin; it is at most 0.
    """

    values_yx: NDArray[np.float32]
    shown_yx: NDArray[np.bool_]
    valid_yx: NDArray[np.bool_]
    left: int


def read_rows(prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], size_px: int) -> TileRows:
    """Read the pixels of a row of tiles. Pixels outside the image are neither shown nor valid."""
    (height, width), (y0, first), (_, last) = prepared.good_yx.shape, starts_yx[0], starts_yx[-1]
    top, bottom = max(y0, 0), min(y0 + size_px, height)
    values_yx, shown_yx = repair_rows(prepared.image.data_yx, prepared.good_yx, top, bottom)
    core_rows, core_columns, core_values = prepared.cores
    inside = slice(*np.searchsorted(core_rows, (top, bottom)))
    values_yx[core_rows[inside] - top, core_columns[inside]] = core_values[inside]
    shown_yx[core_rows[inside] - top, core_columns[inside]] = True
    valid_yx, (ray_rows, ray_columns) = prepared.good_yx[top:bottom], prepared.rays
    if ray_rows.size:
        valid_yx, hit = valid_yx.copy(), slice(*np.searchsorted(ray_rows, (top, bottom)))  # rays are sorted by row
        valid_yx[ray_rows[hit] - top, ray_columns[hit]] = True
    rows = (values_yx, shown_yx, valid_yx)
    # The rows are in the order of FITS, lowest first, so that the first padding is below the picture.
    padding = ((top - y0, y0 + size_px - bottom), (max(-first, 0), max(last + size_px - width, 0)))
    if np.any(padding):
        rows = tuple(np.pad(part_yx, padding) for part_yx in rows)  # type: ignore[assignment]
    return TileRows(*rows, left=min(first, 0))


def assess_tiles(
    rows: TileRows, prepared: PreparedImage, starts_yx: Sequence[tuple[int, int]], settings: TileSettings
) -> Iterator[float | ImageError]:
    """Yield the share of valid pixels of each tile of a row, or the reason to reject the tile."""
    (height, width), size_px, sky = prepared.good_yx.shape, len(rows.values_yx), prepared.stretch.sky
    threshold = settings.signal_sigma * prepared.stretch.noise
    # Heights above the sky are limited to 10 times the threshold, so that extreme values neither overflow nor dominate
    # the float32 sums.
    limits = (np.float32(sky), np.float32(10 * threshold), np.float32(threshold))
    for y0, x0 in starts_yx:
        column = x0 - rows.left
        num_valid = int(np.count_nonzero(rows.valid_yx[:, column : column + size_px]))
        enough = int(MIN_SIGNAL_SHARE * num_valid) + 1
        num_bright = count_bright(rows.values_yx, rows.valid_yx, column, limits, enough)
        num_inside = _overlap(y0, size_px, height) * _overlap(x0, size_px, width)
        valid_share = num_valid / num_inside
        bright_share = num_bright / max(1, num_valid)  # `num_valid` may be 0 if `min_valid_share` is 0
        if valid_share < settings.min_valid_share:
            words = f"{valid_share:.1%} of the pixels are valid, minimum {settings.min_valid_share:.0%}"
            yield ImageError("too_little_valid", words)
        elif bright_share < MIN_SIGNAL_SHARE:
            words = f"{bright_share:.3%} of the pixels rise above the sky, minimum {MIN_SIGNAL_SHARE:.3%}"
            yield ImageError("no_signal", words)
        else:
            yield valid_share


@compiled
def count_bright(values_yx: Any, valid_yx: Any, x0: Any, limits: Any, enough: Any) -> Any:
    """Count the valid pixels of a tile whose 3x3 mean height is above a threshold; the count may stop at `enough`.

    The arrays contain a row of tiles, (side, w), and `x0` is the first column of the tile. `limits`, float32 in the
    image's unit, are the sky, the maximum height above the sky, and the threshold of the mean height. Greater heights
    are set to the maximum, and the height of an invalid pixel is 0.
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


def small_object(prepared: PreparedImage, settings: TileSettings) -> tuple[tuple[int, int], int] | None:
    """Find the start and the side of a tile around an object that fills less than 20 % of a tile, or return None."""
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
