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
from hubbleclip.images.normalize import Prepared, prepare, worth_of
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.tiling import (
    CutResult,
    CutTile,
    Place,
    TileRejection,
    geometries_of,
    grid_of,
    left_out,
    make_tile,
)

VIEW = "colour"
NUM_PARTS = 3


def pick_parts(wavelengths_nm: Mapping[str, float]) -> tuple[str, ...]:
    """Names of three filters, red first: the longest, the shortest, and the one nearest to their geometric mean; ()
    where there are fewer than three wavelengths.
    """
    by_wavelength = {wavelength: name for name, wavelength in sorted(wavelengths_nm.items())}
    if len(by_wavelength) < NUM_PARTS:
        return ()
    blue, *between, red = sorted(by_wavelength)
    middle = min(between, key=lambda wavelength: abs(wavelength**2 - blue * red))
    return by_wavelength[red], by_wavelength[middle], by_wavelength[blue]


def cut_colour(
    parts: Sequence[Iterable[ScienceImage]], product_sha256s: Sequence[str], settings: TileSettings
) -> CutResult:
    """Colour tiles of three products, red first, on the grid of native tiles of the middle one, on whose pixels the
    others are laid. Raises ImageError with the first reason where no image gives any.
    """
    outcomes: list[CutTile | TileRejection] = []
    refused: list[ImageError] = []
    red, middle, blue = (_prepare_all(images, settings) for images in parts)
    for shown in middle:
        heights_yxc = np.stack([_align(red, shown), _scaled(shown), _align(blue, shown)], axis=-1)
        skies_c = np.array([_sky(red[0]), _sky(shown), _sky(blue[0])])
        try:
            outcomes += _cut_image(shown, heights_yxc, skies_c, product_sha256s, settings)
        except ImageError as error:
            refused.append(error)
    tiles = [outcome for outcome in outcomes if isinstance(outcome, CutTile)]
    if not outcomes and refused:
        raise refused[0]
    return CutResult(tiles=tiles, rejections=[outcome for outcome in outcomes if isinstance(outcome, TileRejection)])


def _prepare_all(images: Iterable[ScienceImage], settings: TileSettings) -> list[Prepared]:
    """The images that can be shown and placed. Raises ImageError with the first one's reason where none can."""
    placed = [image for image in images if image.wcs is not None]
    if not placed:
        raise ImageError("no_wcs", "without a WCS no image can be laid on another")
    prepared: list[Prepared] = []
    refused: list[ImageError] = []
    for image in placed:
        try:
            prepared.append(prepare(image, settings))
        except ImageError as error:
            refused.append(error)
    if not prepared:
        raise refused[0]
    return prepared


def _scaled(shown: Prepared) -> NDArray[np.float32]:
    """Heights above black, white being 1; NaN where nothing was measured, but for repaired pinholes."""
    data_yx, shown_yx = repair_pinholes(shown.image.data_yx, shown.sound_yx)
    heights_yx = (data_yx.astype(np.float32) - np.float32(shown.stretch.black)) / _span(shown)
    heights_yx[~shown_yx] = np.nan
    return heights_yx


def _span(shown: Prepared) -> np.float32:
    return np.float32(shown.stretch.white - shown.stretch.black)


def _sky(shown: Prepared) -> np.float32:
    return np.float32(shown.stretch.sky - shown.stretch.black) / _span(shown)


def _align(sources: Sequence[Prepared], target: Prepared) -> NDArray[np.float32]:
    """What `sources` show on the pixels of `target`, bilinear; NaN where they show nothing."""
    try:
        from reproject import reproject_interp  # noqa: PLC0415 - optional, and takes a second
    except ImportError as error:
        raise SettingsError("tiles.colour needs reproject: pip install 'hubbleclip[colour]'") from error
    shape_yx = target.sound_yx.shape
    aligned_yx: NDArray[np.float32] = np.full(shape_yx, np.nan, np.float32)
    for source in sources:
        layer = (_scaled(source), source.image.wcs)
        laid_yx = reproject_interp(layer, target.image.wcs, shape_out=shape_yx, return_footprint=False)
        aligned_yx = np.where(np.isnan(aligned_yx), laid_yx, aligned_yx)
    return aligned_yx


def _cut_image(
    shown: Prepared,
    heights_yxc: NDArray[np.float32],
    skies_c: NDArray[np.float32],
    product_sha256s: Sequence[str],
    settings: TileSettings,
) -> Iterator[CutTile | TileRejection]:
    image, size, sha256 = shown.image, settings.size_px, product_sha256s[1]
    softening = float(shown.stretch.softening / _span(shown))
    seen_yx: NDArray[np.bool_] = np.asarray(np.isfinite(heights_yxc).all(axis=-1))
    heights_yxc = np.where(np.isnan(heights_yxc), skies_c, heights_yxc)
    common = Prepared(replace(image, valid_yx=seen_yx), seen_yx, shown.stretch, shown.sky_level)
    starts_yx = grid_of(image, settings)
    geometries, worths = geometries_of(image, starts_yx, settings), worth_of(common, starts_yx, settings)
    for (y0, x0), where, worth in zip(starts_yx, geometries, worths, strict=True):
        if isinstance(worth, ImageError):
            yield left_out(worth, sha256, image.chip, VIEW, y0, x0)
            continue
        picture = encode_rgb(blend(_window(heights_yxc, (y0, x0), size, skies_c), softening)[::-1])
        place = Place(view=VIEW, start_yx=(y0, x0), geometry=where)
        yield make_tile(
            shown, place, (picture, ".png"),
            valid_share=worth, product_sha256=sha256, settings=settings, part_sha256s=product_sha256s,
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
    """RGB levels by Lupton et al. 2004 (PASP 116, 133): asinh of the mean of the three, their ratios kept, and what is
    too bright brought down without a change of colour. White is 1, black 0, and `softening` where asinh bends.
    """
    filled_yxc = np.maximum(heights_yxc, 0)
    mean_yx = filled_yxc.mean(axis=-1, keepdims=True)
    curved_yx = np.arcsinh(mean_yx / softening) / np.arcsinh(1 / softening)
    shown_yxc = filled_yxc * np.divide(curved_yx, mean_yx, out=np.zeros_like(mean_yx), where=mean_yx > 0)
    shown_yxc /= np.maximum(shown_yxc.max(axis=-1, keepdims=True), 1)
    levels_yxc: NDArray[np.uint8] = np.rint(255 * shown_yxc).astype(np.uint8)
    return levels_yxc


def encode_rgb(levels_yxc: NDArray[np.uint8]) -> bytes:
    """PNG of RGB levels."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels_yxc)).save(buffer, "PNG")
    return buffer.getvalue()
