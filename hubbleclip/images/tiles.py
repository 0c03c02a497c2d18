"""Square tiles from images: where they lie, their pixels, and everything that the catalog keeps of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hubbleclip import paths
from hubbleclip.errors import ImageError
from hubbleclip.images import kernels
from hubbleclip.images.cosmic import find_cosmic_rays
from hubbleclip.images.fits import ScienceImage, read_science_images
from hubbleclip.images.geometry import TileGeometry, tile_geometries
from hubbleclip.images.kernels import pixel_words
from hubbleclip.images.masks import REPAIR_MIN_VALID
from hubbleclip.images.png import encode_png
from hubbleclip.images.preview import read_previews
from hubbleclip.images.stretch import Stretch, apply_stretch, fit_stretch, level_curve, sky_and_noise
from hubbleclip.paths import Layout, product_suffix
from hubbleclip.records import Product, Tile
from hubbleclip.settings import TileSettings

MAX_LEFTOVER_SHARE = 0.25

Reader = Callable[[Path, int, str | None], list[ScienceImage]]
"""Takes a file, the most pixels of an image, and the archive's name for the file; raises ImageError."""

READERS: dict[str, Reader] = {
    **dict.fromkeys((".fits", ".fits.gz", ".fit", ".fit.gz"), read_science_images),
    **dict.fromkeys((".jpg", ".jpeg"), read_previews),
}
"""Who reads a product, by its suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTile:
    """A tile in memory: what a Tile row needs but for its product's names, its path and the time."""

    tile_id: str
    png: bytes
    png_sha256: str
    chip: int
    y0: int
    x0: int
    size_px: int
    instrument: str | None
    filter: str | None
    unit: str | None
    geometry: TileGeometry | None
    valid_share: float
    stretch: Stretch
    settings_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRejection:
    """An image or tile left out. `entity_id` is `sha256:chip` or `sha256:chip:y0:x0`, the same in every run."""

    entity_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """What a product gave."""

    tiles: list[CutTile]
    rejections: list[TileRejection]


def tile_file(path: Path, product_sha256: str, settings: TileSettings, file_name: str | None = None) -> CutResult:
    """Read a FITS file or a preview and cut it. `file_name` is the archive's name for it, where `path` has another.

    Raises ImageError, with the reason, where the file as a whole gives nothing; see the READERS.
    """
    read = READERS[product_suffix(file_name or path.name)]
    return cut_tiles(read(path, settings.max_pixels, file_name), product_sha256, settings)


def cut_tiles(images: Sequence[ScienceImage], product_sha256: str, settings: TileSettings) -> CutResult:
    """Tiles of the images of one product. Raises ImageError with the first image's reason where no image is usable."""
    tiles: list[CutTile] = []
    rejections: list[TileRejection] = []
    refused: list[ImageError] = []
    for image in images:
        try:
            outcomes = list(_cut_image(image, product_sha256, settings))
        except ImageError as error:
            refused.append(error)
            entity_id = f"{product_sha256}:{image.chip}"
            rejections.append(TileRejection(entity_id=entity_id, reason=error.reason, detail=error.detail))
            continue
        tiles += [outcome for outcome in outcomes if isinstance(outcome, CutTile)]
        rejections += [outcome for outcome in outcomes if isinstance(outcome, TileRejection)]
    if len(refused) == len(images):
        others = f" (the first of {len(refused)} images)" if len(refused) > 1 else ""
        raise ImageError(refused[0].reason, f"{refused[0].detail}{others}")
    return CutResult(tiles=tiles, rejections=rejections)


def plan_grid(shape_yx: tuple[int, int], size_px: int, overlap_px: int) -> list[tuple[int, int]]:
    """First pixels (y0, x0) of the fewest tiles that cover an image but for at most an eighth of a tile at each edge.

    Neighbours share at least `overlap_px`. Tiles are spread evenly and centred; an image smaller than a tile gets one
    with a negative start, which is padded.
    """
    starts_y, starts_x = (_plan_axis(length, size_px, overlap_px) for length in shape_yx)
    return [(y0, x0) for y0 in starts_y for x0 in starts_x]


def _plan_axis(length: int, size: int, overlap: int) -> list[int]:
    step = max(1, size - overlap)
    count = max(1, -(-(length - overlap - int(MAX_LEFTOVER_SHARE * size)) // step))
    covered = count * step + overlap if count > 1 else size
    if covered <= length or count == 1:
        first = (length - covered) // 2
        return [first + index * step for index in range(count)]
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def _cut_image(image: ScienceImage, product_sha256: str, settings: TileSettings) -> Iterator[CutTile | TileRejection]:
    """Tiles and rejections in the grid's order: the levels of a row of tiles are made at once, then cut apart."""
    height, width = image.data_yx.shape
    if min(height, width) < settings.min_side_px:
        raise ImageError("too_small", f"{width} x {height} pixels, the shorter side must have {settings.min_side_px}")
    prepared, digest = _prepare(image, settings), settings.digest()
    starts_yx = plan_grid((height, width), settings.size_px, settings.overlap_px)
    places = [None] * len(starts_yx) if image.wcs is None else tile_geometries(image.wcs, starts_yx, settings.size_px)
    for y0, row in groupby(zip(starts_yx, places, strict=True), key=lambda tile: tile[0][0]):
        band_yx = _levels_of_band(prepared, y0, settings.size_px)
        for (_, x0), place in row:
            try:
                valid_share = _check_worth(prepared, (y0, x0), settings)
            except ImageError as error:
                entity_id = f"{product_sha256}:{image.chip}:{y0}:{x0}"
                yield TileRejection(entity_id=entity_id, reason=error.reason, detail=error.detail)
                continue
            png = encode_png(_square(band_yx, (y0, x0), settings.size_px, prepared.sky_level))
            yield CutTile(
                tile_id=paths.tile_id(product_sha256, image.chip, y0, x0, digest),
                png=png,
                png_sha256=hashlib.sha256(png).hexdigest(),
                chip=image.chip,
                y0=y0,
                x0=x0,
                size_px=settings.size_px,
                instrument=image.instrument,
                filter=image.filter,
                unit=image.unit,
                geometry=place,
                valid_share=valid_share,
                stretch=prepared.stretch,
                settings_digest=digest,
            )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An image ready to be shown: the mask of its valid pixels without cosmic rays, its stretch, its sky's level."""

    image: ScienceImage
    sound_yx: NDArray[np.bool_]
    stretch: Stretch
    sky_level: int


def _prepare(image: ScienceImage, settings: TileSettings) -> _Prepared:
    """Find what to repair in an image and fit its stretch, unless it comes with one.

    Cosmic rays of an uncombined exposure are taken out before the stretch is fitted, lest they set its white.
    """
    sound_yx = image.valid_yx
    if image.may_hold_rays:
        sky, noise = sky_and_noise(image.data_yx, image.valid_yx)
        rays_yx = find_cosmic_rays(image.data_yx, image.valid_yx, sky, noise)
        sound_yx = np.greater(image.valid_yx, rays_yx, out=rays_yx)
    stretch = image.stretch or fit_stretch(image.data_yx, sound_yx, settings)
    sky_level = apply_stretch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.bool_), stretch)
    return _Prepared(image, sound_yx, stretch, int(sky_level[0, 0]))


def _levels_of_band(prepared: _Prepared, y0: int, size_px: int) -> NDArray[np.uint8]:
    """Levels of the image's rows that tiles at `y0` hold, over its whole width: (at most size_px, width)."""
    height, width = prepared.image.data_yx.shape
    top = max(y0, 0)
    band_yx = np.empty((min(y0 + size_px, height) - top, width), np.uint8)
    curve = level_curve(prepared.stretch, REPAIR_MIN_VALID)
    kernels.levels_of_rows(pixel_words(prepared.image.data_yx), prepared.sound_yx, curve, top, band_yx)
    return band_yx


def _square(band_yx: NDArray[np.uint8], start_yx: tuple[int, int], size_px: int, sky_level: int) -> NDArray[np.uint8]:
    """The tile of a band, padded with the sky's level where it leaves the image."""
    y0, x0 = start_yx
    inside_yx = band_yx[:, max(x0, 0) : x0 + size_px]
    if inside_yx.shape == (size_px, size_px):
        return inside_yx
    padded_yx = np.full((size_px, size_px), sky_level, np.uint8)
    top, left = max(-y0, 0), max(-x0, 0)
    padded_yx[top : top + inside_yx.shape[0], left : left + inside_yx.shape[1]] = inside_yx
    return padded_yx


def _check_worth(prepared: _Prepared, start_yx: tuple[int, int], settings: TileSettings) -> float:
    """Share of a tile's pixels inside the image that are valid.

    Raises ImageError `too_little_valid`, or `no_signal` where a 3x3 mean rises above the sky almost nowhere.
    """
    image, stretch, (y0, x0), size = prepared.image, prepared.stretch, start_yx, settings.size_px
    valid_yx = image.valid_yx[max(y0, 0) : y0 + size, max(x0, 0) : x0 + size]
    num_valid = int(np.count_nonzero(valid_yx))
    valid_share = num_valid / valid_yx.size
    if valid_share < settings.min_valid_share:
        raise ImageError("too_little_valid", f"{valid_share:.1%} of the pixels, needs {settings.min_valid_share:.0%}")
    threshold = settings.signal_sigma * stretch.noise
    limits = (np.float32(stretch.sky), np.float32(10 * threshold), np.float32(threshold), REPAIR_MIN_VALID)
    masks, window = (image.valid_yx, prepared.sound_yx), (y0, x0, size)
    enough = int(settings.min_signal_share * num_valid) + 1
    bright = kernels.count_bright(pixel_words(image.data_yx), masks, window, limits, enough)
    share = bright / max(1, num_valid)
    if share < settings.min_signal_share:
        raise ImageError(
            "no_signal", f"{share:.3%} of the pixels rise above the sky, needs {settings.min_signal_share:.3%}"
        )
    return valid_share


def to_tile_record(cut: CutTile, product: Product, layout: Layout, cut_at: datetime) -> Tile:
    """Make the catalog's row of a tile of `product`; `product.sha256` must be set."""
    if product.sha256 is None:
        raise ImageError("not_fetched", f"{product.uri} has no sha256 yet: fetch it before its tiles are recorded")
    where, stretch = cut.geometry, cut.stretch
    return Tile(
        tile_id=cut.tile_id,
        product_uri=product.uri,
        product_sha256=product.sha256,
        obs_id=product.obs_id,
        proposal_id=product.proposal_id,
        path=layout.relative(layout.tile(cut.tile_id)),
        png_sha256=cut.png_sha256,
        chip=cut.chip,
        y0=cut.y0,
        x0=cut.x0,
        size_px=cut.size_px,
        instrument=cut.instrument,
        filter=cut.filter,
        unit=cut.unit,
        ra_deg=where.ra_deg if where else None,
        dec_deg=where.dec_deg if where else None,
        corners_deg=where.corners_deg if where else [],
        pixel_scale_arcsec=where.pixel_scale_arcsec if where else None,
        wcs=where.wcs if where else None,
        valid_share=cut.valid_share,
        sky=stretch.sky,
        noise=stretch.noise,
        black=stretch.black,
        white=stretch.white,
        softening=stretch.softening,
        settings_digest=cut.settings_digest,
        cut_at=cut_at,
    )
