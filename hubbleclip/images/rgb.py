"""Colour tiles. The images of a visit in three filters are aligned on the sky and combined.

The filter with the longest wavelength is red. All bands share one black level and one scale in f_nu, so that a source
of equal f_nu in the three bands is white. On the display scale of this module, 0 is black and 1 is white.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError, needing
from hubbleclip.images.cosmic_rays import NO_RAYS
from hubbleclip.images.normalize import ARCSEC2_PER_DEG2, PreparedImage, prepare_image, read_rows
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import CutResult, Outcome, cut_view, grid_placements, native_grid, to_result
from hubbleclip.images.wcs import pixel_area_deg2

VIEW = "colour"
NUM_PARTS = 3


def pick_parts(wavelengths_nm: Mapping[str, float]) -> tuple[str, ...]:
    """Choose the filters of red, green and blue; () if there are fewer than three different wavelengths."""
    # The names are sorted, so that the choice between two filters of the same wavelength is reproducible.
    by_wavelength = {wavelength: name for name, wavelength in sorted(wavelengths_nm.items())}
    if len(by_wavelength) < NUM_PARTS:
        return ()
    blue, *between, red = sorted(by_wavelength)
    # Green is the filter nearest to the geometric mean of blue and red. The square of this mean is blue * red.
    middle = min(between, key=lambda wavelength: abs(wavelength**2 - blue * red))
    return by_wavelength[red], by_wavelength[middle], by_wavelength[blue]


def cut_colour(
    parts: Sequence[Iterable[ScienceImage]], product_sha256s: Sequence[str], settings: TileSettings
) -> CutResult:
    """Cut colour tiles from the images of three products (red, green, blue), on the native grid of each green image."""
    outcomes: list[Outcome] = []
    errors: list[ImageError] = []
    red, middle, blue = (_prepare_all(images, settings) for images in parts)
    for shown in middle:
        try:
            scale = _common_scale((red[0], shown, blue[0]), settings)
            layers = (_align(red, shown), _above_sky(shown), _align(blue, shown))
            heights_yxc = (np.stack(layers, axis=-1) - np.float32(scale.black)) / np.float32(scale.white - scale.black)
            outcomes += _cut_image(shown, heights_yxc, scale, product_sha256s, settings)
        except ImageError as error:
            errors.append(error)
    if not outcomes and errors:
        raise errors[0]
    return to_result(outcomes)


def _prepare_all(images: Iterable[ScienceImage], settings: TileSettings) -> list[PreparedImage]:
    """Prepare the images that have a WCS. If no image can be prepared, the ImageError of the first image is raised."""
    placed = [image for image in images if image.wcs is not None]
    if not placed:
        raise ImageError("no_wcs", "no image has a WCS, so none can be aligned with another")
    prepared: list[PreparedImage] = []
    errors: list[ImageError] = []
    for image in placed:
        try:
            prepared.append(prepare_image(image, settings))
        except ImageError as error:
            errors.append(error)
    if not prepared:
        raise errors[0]
    return prepared


class ColourScale(NamedTuple):
    """Display scale of all bands of an image in Jy / arcsec2; `black` and `white` are relative to each band's sky."""

    black: float
    white: float
    softening: float


def _common_scale(bands: Sequence[PreparedImage], settings: TileSettings) -> ColourScale:
    """Return one scale for all bands. Raises ImageError where only some of the bands have a flux calibration."""
    if len({band.image.flux_density is None for band in bands}) > 1:
        raise ImageError("no_flux_scale", "only some of the three bands have PHOTFLAM and PHOTPLAM")
    units = [(band.stretch, _flux_per_unit(band)) for band in bands]
    return ColourScale(
        black=-settings.black_sigma * max(stretch.noise * unit for stretch, unit in units),
        white=max((stretch.white - stretch.sky) * unit for stretch, unit in units),
        softening=sum(stretch.softening * unit for stretch, unit in units) / len(units),
    )


def _flux_per_unit(shown: PreparedImage) -> float:
    """Return the f_nu in Jy / arcsec2 that gives a pixel value of 1.

    Returns 1 if the image has no WCS or no flux calibration, for example if its unit is a surface brightness already.
    """
    image = shown.image
    if image.flux_density is None or image.wcs is None:
        return 1.0
    is_rate = (image.unit or "").upper().replace(" ", "").endswith(("/S", "/SEC", "/SECOND", "CPS"))
    seconds = 1.0 if is_rate else image.exposure_s or 1.0
    return image.flux_density / seconds / (pixel_area_deg2(image.wcs) * ARCSEC2_PER_DEG2)


def _above_sky(shown: PreparedImage) -> NDArray[np.float32]:
    """Return the displayed pixel values minus the sky, in Jy / arcsec2; NaN where a pixel is not displayed."""
    height, width = shown.good_yx.shape
    rows = read_rows(shown, [(0, 0)], height)
    flux_yx = (rows.values_yx - np.float32(shown.stretch.sky)) * np.float32(_flux_per_unit(shown))
    flux_yx[~rows.shown_yx] = np.nan
    return flux_yx[:, :width]


def _align(sources: Sequence[PreparedImage], target: PreparedImage) -> NDArray[np.float32]:
    """Resample sky-subtracted values to the pixels of `target` (bicubic); NaN where no source image has a value."""
    with needing("colour", "tiles.colour"):
        from reproject import reproject_interp  # noqa: PLC0415 - reproject is optional, and slow to import
    place = {"output_projection": target.image.wcs, "shape_out": target.good_yx.shape, "return_footprint": False}
    aligned_yx: NDArray[np.float32] = np.full(target.good_yx.shape, np.nan, np.float32)
    for source in sources:
        flux_yx, wcs = _above_sky(source), source.image.wcs
        # Bicubic, because bilinear interpolation lowers the peaks of stars. Bicubic would spread NaN, so the mask
        # is resampled separately.
        laid_yx = reproject_interp((np.nan_to_num(flux_yx), wcs), **place, order="bicubic")
        seen_yx = reproject_interp((np.isfinite(flux_yx).astype(np.float32), wcs), **place, order="nearest-neighbor")
        # Each pixel is taken from the first source that covers it, because the chips of a camera hardly overlap.
        aligned_yx = np.where(np.isnan(aligned_yx) & (seen_yx > 0), laid_yx, aligned_yx)
    return aligned_yx


def _cut_image(
    shown: PreparedImage,
    heights_yxc: NDArray[np.float32],
    scale: ColourScale,
    product_sha256s: Sequence[str],
    settings: TileSettings,
) -> Iterator[Outcome]:
    """Yield the colour tiles and the rejections of one image of the green product."""
    image, size, span = shown.image, settings.size_px, scale.white - scale.black
    sky, softening = np.float32(-scale.black / span), scale.softening / span
    seen_yx: NDArray[np.bool_] = np.asarray(np.isfinite(heights_yxc).all(axis=-1))
    seen_yx[shown.cores[:2]] = False
    # the image is padded with sky, because tiles may extend beyond it
    filled_yxc = _grey_where_missing(heights_yxc, sky)
    padded_yxc = np.pad(filled_yxc, ((size, size), (size, size), (0, 0)), constant_values=sky)

    def render(top: int, left: int, width: int) -> NDArray[np.uint8]:
        return blend(padded_yxc[top + size : top + 2 * size, left + size : left + size + width], softening)

    # A pixel is valid if all three colours are valid, but the signal of a tile is judged in green alone.
    common = replace(shown, image=replace(image, valid_yx=seen_yx), good_yx=seen_yx, rays=NO_RAYS)
    placements = grid_placements(image, VIEW, native_grid(image, settings), size)
    yield from cut_view(common, placements, [product_sha256s[1], *product_sha256s], settings, render)


def _grey_where_missing(heights_yxc: NDArray[np.float32], sky: np.float32) -> NDArray[np.float32]:
    """Set all colours of a pixel that lacks a colour to the mean of its known colours, or to the sky if it has none."""
    is_known = np.isfinite(heights_yxc)
    num_known = is_known.sum(axis=-1, keepdims=True)
    means_yxc = np.where(is_known, heights_yxc, 0).sum(axis=-1, keepdims=True) / np.maximum(num_known, 1)
    filled_yxc = np.where(num_known > 0, means_yxc, sky)
    return np.where(num_known == NUM_PARTS, heights_yxc, filled_yxc).astype(np.float32)


def blend(heights_yxc: NDArray[np.float32], softening: float) -> NDArray[np.uint8]:
    """Combine three colours, float32 (h, w, 3) with black at 0 and white at 1, to RGB levels.

    The method is that of Lupton et al. 2004 (PASP 116, 133). The asinh stretch is applied to the mean of the three
    values, and the ratios of the three are preserved. A pixel that would exceed white in one colour is scaled down in
    all three.
    """
    filled_yxc = np.maximum(heights_yxc, 0)  # negative values are noise, and their ratios have no meaning
    mean_yx = filled_yxc.mean(axis=-1, keepdims=True)
    curved_yx = np.arcsinh(mean_yx / softening) / np.arcsinh(1 / softening)
    shown_yxc = filled_yxc * np.divide(curved_yx, mean_yx, out=np.zeros_like(mean_yx), where=mean_yx > 0)
    shown_yxc /= np.maximum(shown_yxc.max(axis=-1, keepdims=True), 1)
    levels_yxc: NDArray[np.uint8] = np.rint(255 * shown_yxc).astype(np.uint8)
    return levels_yxc
