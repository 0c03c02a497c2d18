"""Colour tiles: three filters of a visit, aligned on the sky, red the longest wavelength."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError, SettingsError
from hubbleclip.images.masks import repair_pinholes
from hubbleclip.images.normalize import PreparedImage, assess_tiles, prepare_image
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import (
    CutResult,
    CutTile,
    TilePlacement,
    TileRejection,
    build_tile,
    native_geometries,
    native_grid,
    to_rejection,
)

VIEW = "colour"
NUM_PARTS = 3


def pick_parts(wavelengths_nm: Mapping[str, float]) -> tuple[str, ...]:
    """Choose the three filters of a colour tile.

    Parameters
    ----------
    wavelengths_nm : mapping of str to float
        By filter name.

    Returns
    -------
    names : tuple of str
        Red, green and blue: the longest, the one nearest to the geometric mean of the other two, and the shortest.
        Empty where there are fewer than three wavelengths.
    """
    # Sorted names, so that of two filters with the same wavelength the choice is reproducible.
    by_wavelength = {wavelength: name for name, wavelength in sorted(wavelengths_nm.items())}
    if len(by_wavelength) < NUM_PARTS:
        return ()
    blue, *between, red = sorted(by_wavelength)
    # The geometric mean is the middle in log wavelength: |w^2 - blue * red| is least there.
    middle = min(between, key=lambda wavelength: abs(wavelength**2 - blue * red))
    return by_wavelength[red], by_wavelength[middle], by_wavelength[blue]


def cut_colour(
    parts: Sequence[Iterable[ScienceImage]], product_sha256s: Sequence[str], settings: TileSettings
) -> CutResult:
    """Cut colour tiles from three products, on the native grid of the middle one, to which the others are aligned.

    Parameters
    ----------
    parts : sequence of three iterables of ScienceImage
        The images of each product, red first.
    product_sha256s : sequence of str
        SHA-256 of each product, in the same order.
    settings : TileSettings

    Returns
    -------
    result : CutResult
        Raises ImageError with the first reason where no image is usable.
    """
    outcomes: list[CutTile | TileRejection] = []
    errors: list[ImageError] = []
    red, middle, blue = (_prepare_all(images, settings) for images in parts)
    for shown in middle:
        heights_yxc = np.stack([_align(red, shown), _scaled(shown), _align(blue, shown)], axis=-1)
        skies_c = np.array([_sky(red[0]), _sky(shown), _sky(blue[0])])
        try:
            outcomes += _cut_image(shown, heights_yxc, skies_c, product_sha256s, settings)
        except ImageError as error:
            errors.append(error)
    tiles = [outcome for outcome in outcomes if isinstance(outcome, CutTile)]
    if not outcomes and errors:
        raise errors[0]
    return CutResult(tiles=tiles, rejections=[outcome for outcome in outcomes if isinstance(outcome, TileRejection)])


def _prepare_all(images: Iterable[ScienceImage], settings: TileSettings) -> list[PreparedImage]:
    """The images that have a WCS and can be rendered. Raises ImageError with the first reason where none can."""
    placed = [image for image in images if image.wcs is not None]
    if not placed:
        raise ImageError("no_wcs", "no image can be aligned with another without a WCS")
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


def _scaled(shown: PreparedImage) -> NDArray[np.float32]:
    """Pixels scaled to 0 at black and 1 at white; NaN where bad and not repaired."""
    data_yx, shown_yx = repair_pinholes(shown.image.data_yx, shown.good_yx)
    heights_yx = (data_yx.astype(np.float32) - np.float32(shown.stretch.black)) / _span(shown)
    heights_yx[~shown_yx] = np.nan
    return heights_yx


def _span(shown: PreparedImage) -> np.float32:
    """White - black, in the image's unit."""
    return np.float32(shown.stretch.white - shown.stretch.black)


def _sky(shown: PreparedImage) -> np.float32:
    """The sky on the scale of `_scaled`."""
    return np.float32(shown.stretch.sky - shown.stretch.black) / _span(shown)


def _align(sources: Sequence[PreparedImage], target: PreparedImage) -> NDArray[np.float32]:
    """Scaled pixels of `sources` resampled (bilinear) to the pixels of `target`; NaN where no source has any."""
    try:
        from reproject import reproject_interp  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise SettingsError("tiles.colour needs reproject: pip install 'hubbleclip[colour]'") from error
    shape_yx = target.good_yx.shape
    aligned_yx: NDArray[np.float32] = np.full(shape_yx, np.nan, np.float32)
    for source in sources:
        layer = (_scaled(source), source.image.wcs)
        laid_yx = reproject_interp(layer, target.image.wcs, shape_out=shape_yx, return_footprint=False)
        # The first source that covers a pixel wins; the chips of a camera hardly overlap.
        aligned_yx = np.where(np.isnan(aligned_yx), laid_yx, aligned_yx)
    return aligned_yx


def _cut_image(
    shown: PreparedImage,
    heights_yxc: NDArray[np.float32],
    skies_c: NDArray[np.float32],
    product_sha256s: Sequence[str],
    settings: TileSettings,
) -> Iterator[CutTile | TileRejection]:
    """Colour tiles and rejections of one image of the middle product.

    Parameters
    ----------
    shown : PreparedImage
        The middle image.
    heights_yxc : float32 (h, w, 3)
        From `_scaled`, red first, on its pixels.
    skies_c : float32 (3,)
        Sky of each colour on the same scale, which replaces missing pixels.
    product_sha256s : sequence of str
        Red first.
    settings : TileSettings
    """
    image, size, sha256 = shown.image, settings.size_px, product_sha256s[1]
    softening = float(shown.stretch.softening / _span(shown))
    seen_yx: NDArray[np.bool_] = np.asarray(np.isfinite(heights_yxc).all(axis=-1))
    heights_yxc = np.where(np.isnan(heights_yxc), skies_c, heights_yxc)
    # A pixel is valid where all three colours are, but signal is judged in the middle colour alone.
    common = PreparedImage(replace(image, valid_yx=seen_yx), seen_yx, shown.stretch, shown.sky_level)
    starts_yx = native_grid(image, settings)
    geometries, assessments = native_geometries(image, starts_yx, settings), assess_tiles(common, starts_yx, settings)
    for (y0, x0), where, assessment in zip(starts_yx, geometries, assessments, strict=True):
        if isinstance(assessment, ImageError):
            yield to_rejection(assessment, sha256, image.chip, VIEW, y0, x0)
            continue
        picture = encode_rgb(blend(_window(heights_yxc, (y0, x0), size, skies_c), softening)[::-1])
        placement = TilePlacement(view=VIEW, start_yx=(y0, x0), geometry=where)
        yield build_tile(
            shown, placement, (picture, ".png"),
            valid_share=assessment, product_sha256=sha256, settings=settings, part_sha256s=product_sha256s,
        )  # fmt: skip


def _window(
    heights_yxc: NDArray[np.float32], start_yx: tuple[int, int], size_px: int, skies_c: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Heights of a tile, padded with the skies outside the image."""
    y0, x0 = start_yx
    window_yxc = np.tile(skies_c, (size_px, size_px, 1))
    inside_yxc = heights_yxc[max(y0, 0) : y0 + size_px, max(x0, 0) : x0 + size_px]
    top, left = max(-y0, 0), max(-x0, 0)
    window_yxc[top : top + inside_yxc.shape[0], left : left + inside_yxc.shape[1]] = inside_yxc
    return window_yxc


def blend(heights_yxc: NDArray[np.float32], softening: float) -> NDArray[np.uint8]:
    """Combine three colours into RGB levels.

    Parameters
    ----------
    heights_yxc : float32 (h, w, 3)
        Red, green and blue on a scale of black 0 and white 1.
    softening : float
        Softening of the asinh on the same scale.

    Returns
    -------
    levels_yxc : uint8 (h, w, 3)

    Notes
    -----
    Lupton et al. 2004 (PASP 116, 133): asinh of the mean of the three with their ratios preserved; a pixel brighter
    than white is scaled down without a change of colour.
    """
    filled_yxc = np.maximum(heights_yxc, 0)  # ratios of negative values mean nothing
    mean_yx = filled_yxc.mean(axis=-1, keepdims=True)
    curved_yx = np.arcsinh(mean_yx / softening) / np.arcsinh(1 / softening)
    shown_yxc = filled_yxc * np.divide(curved_yx, mean_yx, out=np.zeros_like(mean_yx), where=mean_yx > 0)
    shown_yxc /= np.maximum(shown_yxc.max(axis=-1, keepdims=True), 1)
    levels_yxc: NDArray[np.uint8] = np.rint(255 * shown_yxc).astype(np.uint8)
    return levels_yxc


def encode_rgb(levels_yxc: NDArray[np.uint8]) -> bytes:
    """Encode RGB levels as PNG.

    Parameters
    ----------
    levels_yxc : uint8 (h, w, 3)
        Top row first.

    Returns
    -------
    data : bytes
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels_yxc)).save(buffer, "PNG")
    return buffer.getvalue()
