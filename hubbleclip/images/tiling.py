"""Square tiles from images: what they show, where they lie, and everything that the catalog keeps of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core import layout as paths
from hubbleclip.core.errors import ImageError
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.records import Product, Tile
from hubbleclip.fits.pointing import aim_point, aim_start
from hubbleclip.images.downsample import LEAST_SHRINK, shrink_image, shrink_of
from hubbleclip.images.jpeg import encode_jpegs
from hubbleclip.images.normalize import Prepared, band_of_tiles, fit, prepare, worth_of
from hubbleclip.images.png import encode_pngs
from hubbleclip.images.preview import read_previews
from hubbleclip.images.reader import ScienceImage, science_images
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.wcs import TileGeometry, field_geometry, tile_geometries

MAX_LEFTOVER_SHARE = 0.25
NEARLY_SAME_SHARE = 0.125
"""A tile about the aim point no further than this from one of the grid, in sides of a tile, would repeat it."""

Reader = Callable[[Any, TileSettings, str | None], Iterable[ScienceImage]]
"""Takes a file (a preview may be in memory), the settings, and the archive's name for the file; raises
ImageError, maybe as an image is asked for."""


def _read_fits(path: Path, settings: TileSettings, file_name: str | None) -> Iterator[ScienceImage]:
    return science_images(path, settings.max_pixels, file_name)


def _read_preview(content: Path | bytes, settings: TileSettings, file_name: str | None) -> Iterable[ScienceImage]:
    """Where it is only to be seen whole, a preview need not be decoded whole."""
    return read_previews(content, settings.max_pixels, settings.size_px if settings.views == ("overview",) else None)


READERS: dict[str, Reader] = {
    **dict.fromkeys((".fits", ".fits.gz", ".fit", ".fit.gz"), _read_fits),
    **dict.fromkeys((".jpg", ".jpeg"), _read_preview),
}
"""Who reads a product, by its suffix."""

FROM_MEMORY = frozenset({".jpg", ".jpeg"})
"""Suffixes of what is also read from bytes."""

Encoder = Callable[[NDArray[np.uint8], Sequence[int], int], list[bytes]]
"""Takes a band of rows, the first column of each tile, and its side."""

ENCODERS: dict[str, tuple[Encoder, str]] = {"png": (encode_pngs, ".png"), "jpeg": (encode_jpegs, ".jpg")}
"""Who writes tiles, by `tiles.format`, and the suffix of their files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTile:
    """A tile in memory: what a Tile row needs but for its product's names, its path and the time.

    `png` is the picture as stored, of whatever format `suffix` says, with the image's row 0 at the bottom as FITS
    displays show it.
    """

    tile_id: str
    png: bytes
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
    view: str
    shrink: float
    suffix: str

    @property
    def png_sha256(self) -> str:
        """Hash of `png`, made when it is asked for: the catalog's row needs it, a picture does not."""
        return hashlib.sha256(self.png).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRejection:
    """An image or tile left out. `entity_id` is `sha256:chip`, `sha256:chip:y0:x0` or `sha256:chip:view`, the
    same in every run.
    """

    entity_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """What a product gave."""

    tiles: list[CutTile]
    rejections: list[TileRejection]


def tile_file(
    content: Path | bytes, product_sha256: str, settings: TileSettings, file_name: str | None = None
) -> CutResult:
    """Read a FITS file or a preview and cut it. `file_name` is the archive's name for it, where a path has another;
    bytes, of a kind in FROM_MEMORY, have no other.

    Raises ImageError, with the reason, where the file as a whole gives nothing; see the READERS.
    """
    return cut_tiles(read_images(content, settings, file_name), product_sha256, settings)


def read_images(content: Path | bytes, settings: TileSettings, file_name: str | None = None) -> Iterable[ScienceImage]:
    """The images of a file by who reads it, one after the other; see READERS. Raises ImageError."""
    name = file_name or (content.name if isinstance(content, Path) else "")
    return READERS[product_suffix(name)](content, settings, file_name)


def cut_tiles(images: Iterable[ScienceImage], product_sha256: str, settings: TileSettings) -> CutResult:
    """Tiles of the images of one product. Raises ImageError with the first image's reason where no image is usable."""
    tiles: list[CutTile] = []
    rejections: list[TileRejection] = []
    refused: list[ImageError] = []
    num_images = 0
    for image in images:
        num_images += 1
        try:
            outcomes = list(_cut_image(image, product_sha256, settings))
        except ImageError as error:
            refused.append(error)
            outcomes = [left_out(error, product_sha256, image.chip)]
        tiles += [outcome for outcome in outcomes if isinstance(outcome, CutTile)]
        rejections += [outcome for outcome in outcomes if isinstance(outcome, TileRejection)]
        del image  # lest it stay in memory while the next is read
    if len(refused) == num_images:
        others = f" (the first of {len(refused)} images)" if len(refused) > 1 else ""
        raise ImageError(refused[0].reason, f"{refused[0].detail}{others}")
    return CutResult(tiles=tiles, rejections=rejections)


def plan_grid(shape_yx: tuple[int, int], size_px: int, overlap_px: int, stride_px: int = 0) -> list[tuple[int, int]]:
    """First pixels (y0, x0) of the fewest tiles that cover an image but for at most an eighth of a tile at each edge.

    Neighbours share at least `overlap_px`. Tiles are spread evenly and centred; an image smaller than a tile gets one
    with a negative start, which is padded. With a stride they stand exactly so far apart instead, as many as fit.
    """
    starts_y, starts_x = (
        _step_axis(length, size_px, stride_px) if stride_px else _plan_axis(length, size_px, overlap_px)
        for length in shape_yx
    )
    return [(y0, x0) for y0 in starts_y for x0 in starts_x]


def _plan_axis(length: int, size: int, overlap: int) -> list[int]:
    step = max(1, size - overlap)
    count = max(1, -(-(length - overlap - int(MAX_LEFTOVER_SHARE * size)) // step))
    covered = count * step + overlap if count > 1 else size
    if covered <= length or count == 1:
        first = (length - covered) // 2
        return [first + index * step for index in range(count)]
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def _step_axis(length: int, size: int, stride: int) -> list[int]:
    steps = max(0, length - size) // stride
    first = (length - size - steps * stride) // 2
    return [first + index * stride for index in range(steps + 1)]


def _cut_image(image: ScienceImage, product_sha256: str, settings: TileSettings) -> Iterator[CutTile | TileRejection]:
    """Tiles and rejections of each view in turn, a grid's in its order."""
    height, width = image.data_yx.shape
    if min(height, width) < settings.min_side_px:
        raise ImageError("too_small", f"{width} x {height} pixels, the shorter side must have {settings.min_side_px}")
    prepared = prepare(image, settings)
    for view in settings.views:
        try:
            shown, places = VIEWS[view](prepared, settings)
        except ImageError as error:
            yield left_out(error, product_sha256, image.chip, view)
        else:
            yield from _cut_view(shown, places, product_sha256, settings)


def left_out(error: ImageError, *parts: object) -> TileRejection:
    """The rejection of what `parts` name."""
    return TileRejection(entity_id=":".join(map(str, parts)), reason=error.reason, detail=error.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a tile lies: its first pixel in what is shown, and in the image itself where that is shrunk."""

    view: str
    start_yx: tuple[int, int]
    geometry: TileGeometry | None
    shrink: float = 1.0

    @property
    def origin_yx(self) -> tuple[int, int]:
        """First pixel in the image; in a padded overview the nearest to it."""
        y0, x0 = self.start_yx
        return round(y0 * self.shrink), round(x0 * self.shrink)


def _cut_view(
    shown: Prepared, places: Sequence[Place], product_sha256: str, settings: TileSettings
) -> Iterator[CutTile | TileRejection]:
    """Tiles at `places`, which are in order of rows: those of a row are made at once."""
    image, size, (encode, suffix) = shown.image, settings.size_px, ENCODERS[settings.format]
    for top, in_row in groupby(places, key=lambda place: place.start_yx[0]):
        row = list(in_row)
        starts_yx = [place.start_yx for place in row]
        band_yx, worths = band_of_tiles(shown, starts_yx, size), worth_of(shown, starts_yx, settings)
        columns = [x0 - starts_yx[0][1] for _, x0 in starts_yx]
        kept = [column for column, worth in zip(columns, worths, strict=True) if isinstance(worth, float)]
        pictures = iter(encode(band_yx, kept, size))
        for place, worth in zip(row, worths, strict=True):
            if isinstance(worth, ImageError):
                where = place.origin_yx if place.view == "native" else (place.view,)
                yield left_out(worth, product_sha256, image.chip, *where)
                continue
            yield make_tile(
                shown, place, (next(pictures), suffix),
                valid_share=worth, product_sha256=product_sha256, settings=settings,
            )  # fmt: skip
        image.let_go(top + size)


def make_tile(
    shown: Prepared,
    place: Place,
    picture: tuple[bytes, str],
    *,
    valid_share: float,
    product_sha256: str,
    settings: TileSettings,
    part_sha256s: Sequence[str] = (),
) -> CutTile:
    """The tile that shows an image at a place by a picture (its bytes and suffix). Where it is made of several products
    the sha256 of each is part of its identity.
    """
    image, (y0, x0), digest = shown.image, place.origin_yx, settings.digest()
    view = ":".join((place.view, *part_sha256s))
    return CutTile(
        tile_id=paths.tile_id(product_sha256, image.chip, y0, x0, digest, view=view),
        png=picture[0],
        chip=image.chip,
        y0=y0,
        x0=x0,
        size_px=settings.size_px,
        instrument=image.instrument,
        filter=image.filter,
        unit=image.unit,
        geometry=place.geometry,
        valid_share=valid_share,
        stretch=shown.stretch,
        settings_digest=digest,
        view=place.view,
        shrink=place.shrink,
        suffix=picture[1],
    )


View = Callable[[Prepared, TileSettings], tuple[Prepared, list[Place]]]
"""What is shown of an image, and the places of its tiles, row by row; raises ImageError."""


def _native(prepared: Prepared, settings: TileSettings) -> tuple[Prepared, list[Place]]:
    """The image's own pixels, in a grid."""
    starts_yx = grid_of(prepared.image, settings)
    return prepared, [
        Place(view="native", start_yx=start, geometry=where)
        for start, where in zip(starts_yx, geometries_of(prepared.image, starts_yx, settings), strict=True)
    ]


def _overview(prepared: Prepared, settings: TileSettings) -> tuple[Prepared, list[Place]]:
    """The whole image, shrunk and fitted anew: what its mean pixels show is fainter than what one pixel does."""
    image, shape_yx = prepared.image, prepared.sound_yx.shape
    shrink = shrink_of(shape_yx, settings.size_px)
    if shrink < LEAST_SHRINK and "native" in settings.views:
        return prepared, []
    small = prepared
    if shrink > 1:
        shrunk = shrink_image(image, prepared.sound_yx, shrink)
        small = fit(shrunk, shrunk.valid_yx, settings)
    height, width = small.sound_yx.shape
    start_yx = (height - settings.size_px) // 2, (width - settings.size_px) // 2
    where = None if image.wcs is None else field_geometry(image.wcs, shape_yx, shrink, start_yx)
    place = Place(view="overview", start_yx=start_yx, geometry=where, shrink=shrink * image.shrunk)
    return small, [place]


def _aim(prepared: Prepared, settings: TileSettings) -> tuple[Prepared, list[Place]]:
    """The image's own pixels about the aim point, unless a tile of the grid shows nearly the same. Raises ImageError
    `no_aim` where there is no such point in the image and no grid that shows it all the same.
    """
    image, shape_yx = prepared.image, prepared.sound_yx.shape
    aim_yx = aim_point(image.aims_deg, image.wcs, shape_yx)
    if aim_yx is None and "native" in settings.views:
        return prepared, []
    if aim_yx is None:
        why = "it has no WCS" if image.wcs is None else "target, aperture and reference of the WCS lie outside"
        raise ImageError("no_aim", f"nothing tells which part of the image it was aimed at: {why}")
    start_yx = aim_start(aim_yx, shape_yx, settings.size_px)
    apart = [max(abs(y0 - start_yx[0]), abs(x0 - start_yx[1])) for y0, x0 in grid_of(image, settings)]
    if "native" in settings.views and min(apart) <= NEARLY_SAME_SHARE * settings.size_px:
        return prepared, []
    (where,) = geometries_of(image, [start_yx], settings)
    return prepared, [Place(view="aim", start_yx=start_yx, geometry=where)]


VIEWS: dict[str, View] = {"native": _native, "overview": _overview, "aim": _aim}
"""What an image can give, by `tiles.views`."""


def grid_of(image: ScienceImage, settings: TileSettings) -> list[tuple[int, int]]:
    """First pixels of the native tiles of an image."""
    height, width = image.data_yx.shape
    return plan_grid((height, width), settings.size_px, settings.overlap_px, settings.stride_px)


def geometries_of(
    image: ScienceImage, starts_yx: Sequence[tuple[int, int]], settings: TileSettings
) -> Sequence[TileGeometry | None]:
    """Where tiles of native pixels lie on the sky."""
    return [None] * len(starts_yx) if image.wcs is None else tile_geometries(image.wcs, starts_yx, settings.size_px)


def to_tile_record(
    cut: CutTile, product: Product, layout: Layout, cut_at: datetime, part_uris: list[str] | None = None
) -> Tile:
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
        path=layout.relative(layout.tile(cut.tile_id, cut.suffix)),
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
        view=cut.view,
        shrink=cut.shrink,
        part_uris=part_uris,
        size_bytes=len(cut.png),
    )
