"""Square tiles from images: the views of an image, the positions of its tiles, and the catalog's record of a tile."""

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
from hubbleclip.images.downsample import MIN_SHRINK, downsample_image, overview_shrink
from hubbleclip.images.encode import encode_jpeg_row, encode_png_row
from hubbleclip.images.normalize import PreparedImage, assess_tiles, fit_image, prepare_image, render_tile_row
from hubbleclip.images.preview import read_previews
from hubbleclip.images.reader import ScienceImage, iter_science_images
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.wcs import TileGeometry, field_geometry, tile_geometries

MAX_LEFTOVER_SHARE = 0.25
"""Part of a tile's side that the grid may leave uncovered along an axis, half of it at either edge."""
AIM_DUPLICATE_SHARE = 0.125
"""A tile at the aim point that is no further than this from a native tile, in sides of a tile, would repeat it."""

Reader = Callable[[Any, TileSettings, str | None], Iterable[ScienceImage]]
"""Reads a file (or a preview's bytes), given the settings and the archive's name of the file.

Raises ImageError, at the call or during the iteration.
"""


def _read_fits(path: Path, settings: TileSettings, file_name: str | None) -> Iterator[ScienceImage]:
    """A `Reader` of FITS files."""
    return iter_science_images(path, settings.max_pixels, file_name)


def _read_preview(content: Path | bytes, settings: TileSettings, file_name: str | None) -> Iterable[ScienceImage]:
    """A `Reader` of JPEG previews; for an overview alone the preview is decoded at a reduced size."""
    return read_previews(content, settings.max_pixels, settings.size_px if settings.views == ("overview",) else None)


READERS: dict[str, Reader] = {
    **dict.fromkeys((".fits", ".fits.gz", ".fit", ".fit.gz"), _read_fits),
    **dict.fromkeys((".jpg", ".jpeg"), _read_preview),
}
"""Registry of readers, by the suffix of the product."""

IN_MEMORY_SUFFIXES = frozenset({".jpg", ".jpeg"})
"""Suffixes whose reader also accepts bytes."""

Encoder = Callable[[NDArray[np.uint8], Sequence[int], int], list[bytes]]
"""Encodes tiles, given the levels of their rows, the first column of each tile in them, and the side of a tile."""

ENCODERS: dict[str, tuple[Encoder, str]] = {"png": (encode_png_row, ".png"), "jpeg": (encode_jpeg_row, ".jpg")}
"""Registry of encoders with the suffix of their files, by `tiles.format`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTile:
    """A tile in memory: the fields of a Tile record except those of its product, its path and the time.

    `encoded` is the file, PNG or JPEG by `suffix`, with the image's row 0 at the bottom as FITS viewers show it.
    `y0` and `x0` are the tile's first pixel in the image, `shrink` the image pixels per side of a tile pixel.
    """

    tile_id: str
    encoded: bytes
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
        """SHA-256 of `encoded`, of either format; the name is that of the catalog's column."""
        return hashlib.sha256(self.encoded).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRejection:
    """A rejected image or tile.

    `entity_id` is `sha256:chip`, `sha256:chip:y0:x0` or `sha256:chip:view`, the same in every run.
    """

    entity_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """The tiles of a product, and its rejected images and tiles."""

    tiles: list[CutTile]
    rejections: list[TileRejection]


def tile_file(
    content: Path | bytes, product_sha256: str, settings: TileSettings, file_name: str | None = None
) -> CutResult:
    """Read a FITS file or a preview and cut it into tiles.

    Parameters
    ----------
    content : Path or bytes
        Bytes only of a suffix in `IN_MEMORY_SUFFIXES`.
    product_sha256 : str
        SHA-256 of the file, part of the tiles' identity.
    settings : TileSettings
    file_name : str or None
        The archive's name of the file, where the path has another; needed for bytes.

    Returns
    -------
    result : CutResult
        Raises ImageError where no image of the file is usable.
    """
    return cut_tiles(read_images(content, settings, file_name), product_sha256, settings)


def read_images(content: Path | bytes, settings: TileSettings, file_name: str | None = None) -> Iterable[ScienceImage]:
    """Read the images of a file, one after the other, with the reader of its suffix.

    Parameters
    ----------
    content, settings, file_name
        As for `tile_file`.

    Returns
    -------
    images : iterable of ScienceImage
        Raises ImageError, at the call or during the iteration.
    """
    name = file_name or (content.name if isinstance(content, Path) else "")
    return READERS[product_suffix(name)](content, settings, file_name)


def cut_tiles(images: Iterable[ScienceImage], product_sha256: str, settings: TileSettings) -> CutResult:
    """Cut the images of one product into tiles.

    Parameters
    ----------
    images : iterable of ScienceImage
        Consumed one at a time, so that only one is in memory.
    product_sha256 : str
        Part of the tiles' identity.
    settings : TileSettings

    Returns
    -------
    result : CutResult

    Raises
    ------
    ImageError
        With the first image's reason, where no image is usable.
    """
    tiles: list[CutTile] = []
    rejections: list[TileRejection] = []
    errors: list[ImageError] = []
    num_images = 0
    for image in images:
        num_images += 1
        try:
            outcomes = list(_cut_image(image, product_sha256, settings))
        except ImageError as error:
            errors.append(error)
            outcomes = [to_rejection(error, product_sha256, image.chip)]
        tiles += [outcome for outcome in outcomes if isinstance(outcome, CutTile)]
        rejections += [outcome for outcome in outcomes if isinstance(outcome, TileRejection)]
        del image  # or it stays in memory while the next is read
    if len(errors) == num_images:
        others = f" (the first of {len(errors)} images)" if len(errors) > 1 else ""
        raise ImageError(errors[0].reason, f"{errors[0].detail}{others}")
    return CutResult(tiles=tiles, rejections=rejections)


def plan_grid(shape_yx: tuple[int, int], size_px: int, overlap_px: int, stride_px: int = 0) -> list[tuple[int, int]]:
    """Plan the fewest tiles that cover an image, except for at most an eighth of a tile at each edge.

    Parameters
    ----------
    shape_yx : (int, int)
        Of the image, px.
    size_px : int
        Side of a tile.
    overlap_px : int
        Least number of pixels that neighbours share; the tiles are spread evenly and centred.
    stride_px : int
        Exact distance between tiles, of which as many as fit are centred; 0 to use the overlap instead.

    Returns
    -------
    starts_yx : list of (y0, x0)
        First pixels, row by row. An image smaller than a tile gets one with a negative start, which is padded.
    """
    starts_y, starts_x = (
        _step_axis(length, size_px, stride_px) if stride_px else _plan_axis(length, size_px, overlap_px)
        for length in shape_yx
    )
    return [(y0, x0) for y0 in starts_y for x0 in starts_x]


def _plan_axis(length: int, size: int, overlap: int) -> list[int]:
    """Starts along an axis: the fewest tiles, spread evenly, that overlap by at least `overlap`."""
    step = max(1, size - overlap)
    # `count` tiles cover step * count + overlap; the least that leaves no more than the leftover uncovered.
    count = max(1, -(-(length - overlap - int(MAX_LEFTOVER_SHARE * size)) // step))
    covered = count * step + overlap if count > 1 else size
    if covered <= length or count == 1:
        first = (length - covered) // 2
        return [first + index * step for index in range(count)]
    # That many tiles are wider than the image: from edge to edge, with a larger overlap.
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def _step_axis(length: int, size: int, stride: int) -> list[int]:
    """Starts along an axis at multiples of the stride, centred."""
    steps = max(0, length - size) // stride
    first = (length - size - steps * stride) // 2
    return [first + index * stride for index in range(steps + 1)]


def _cut_image(image: ScienceImage, product_sha256: str, settings: TileSettings) -> Iterator[CutTile | TileRejection]:
    """Tiles and rejections of each view in turn, in the order of the grid. Raises ImageError."""
    height, width = image.data_yx.shape
    if min(height, width) < settings.min_side_px:
        raise ImageError("too_small", f"{width} x {height} pixels, the shorter side must have {settings.min_side_px}")
    prepared = prepare_image(image, settings)  # once: all views share mask and stretch
    for view in settings.views:
        try:
            shown, placements = VIEWS[view](prepared, settings)
        except ImageError as error:
            yield to_rejection(error, product_sha256, image.chip, view)
        else:
            yield from _cut_view(shown, placements, product_sha256, settings)


def to_rejection(error: ImageError, *parts: object) -> TileRejection:
    """Convert an error to the rejection of an image or tile.

    Parameters
    ----------
    error : ImageError
        Gives reason and detail.
    *parts : object
        Parts of the entity id: product SHA-256, chip, and where there is one the tile's start or view.

    Returns
    -------
    rejection : TileRejection
    """
    return TileRejection(entity_id=":".join(map(str, parts)), reason=error.reason, detail=error.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlacement:
    """Position of a tile: its first pixel in the rendered image, which an overview has downsampled by `shrink`."""

    view: str
    start_yx: tuple[int, int]
    geometry: TileGeometry | None
    shrink: float = 1.0

    @property
    def origin_yx(self) -> tuple[int, int]:
        """First pixel in the original image, rounded."""
        y0, x0 = self.start_yx
        return round(y0 * self.shrink), round(x0 * self.shrink)


def _cut_view(
    shown: PreparedImage, placements: Sequence[TilePlacement], product_sha256: str, settings: TileSettings
) -> Iterator[CutTile | TileRejection]:
    """Tiles at the placements, which are sorted by row: a row of tiles is rendered and encoded at once."""
    image, size, (encode, suffix) = shown.image, settings.size_px, ENCODERS[settings.format]
    for top, in_row in groupby(placements, key=lambda placement: placement.start_yx[0]):
        row = list(in_row)
        starts_yx = [placement.start_yx for placement in row]
        band_yx, assessments = render_tile_row(shown, starts_yx, size), assess_tiles(shown, starts_yx, settings)
        columns = [x0 - starts_yx[0][1] for _, x0 in starts_yx]  # the band begins at the first tile
        accepted = [column for column, share in zip(columns, assessments, strict=True) if isinstance(share, float)]
        files = iter(encode(band_yx, accepted, size))
        for placement, assessment in zip(row, assessments, strict=True):
            if isinstance(assessment, ImageError):
                where = placement.origin_yx if placement.view == "native" else (placement.view,)
                yield to_rejection(assessment, product_sha256, image.chip, *where)
                continue
            yield build_tile(
                shown, placement, (next(files), suffix),
                valid_share=assessment, product_sha256=product_sha256, settings=settings,
            )  # fmt: skip
        image.release_pages(top + size)  # the grid does not return to these rows, except for an overlap


def build_tile(
    shown: PreparedImage,
    placement: TilePlacement,
    file: tuple[bytes, str],
    *,
    valid_share: float,
    product_sha256: str,
    settings: TileSettings,
    part_sha256s: Sequence[str] = (),
) -> CutTile:
    """Assemble a tile from its file and the image that it shows.

    Parameters
    ----------
    shown : PreparedImage
        The rendered image.
    placement : TilePlacement
    file : (bytes, str)
        The encoded tile and its suffix.
    valid_share : float
        Of the pixels inside the image, 0 to 1.
    product_sha256 : str
        Part of the tile's identity.
    settings : TileSettings
        Their digest is part of the tile's identity.
    part_sha256s : sequence of str
        Of every product of a colour tile, part of its identity too.

    Returns
    -------
    tile : CutTile
    """
    image, (y0, x0), digest = shown.image, placement.origin_yx, settings.digest()
    # The products of a colour tile are part of its view in the id; `CutTile.view` stays plain.
    view = ":".join((placement.view, *part_sha256s))
    return CutTile(
        tile_id=paths.tile_id(product_sha256, image.chip, y0, x0, digest, view=view),
        encoded=file[0],
        chip=image.chip,
        y0=y0,
        x0=x0,
        size_px=settings.size_px,
        instrument=image.instrument,
        filter=image.filter,
        unit=image.unit,
        geometry=placement.geometry,
        valid_share=valid_share,
        stretch=shown.stretch,
        settings_digest=digest,
        view=placement.view,
        shrink=placement.shrink,
        suffix=file[1],
    )


View = Callable[[PreparedImage, TileSettings], tuple[PreparedImage, list[TilePlacement]]]
"""Gives the rendered image of a view and the placements of its tiles, row by row; raises ImageError."""


def _native(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """A grid of tiles of the image's own pixels."""
    starts_yx = native_grid(prepared.image, settings)
    # All geometries at once: a call of the WCS per tile would be many times slower.
    return prepared, [
        TilePlacement(view="native", start_yx=start, geometry=where)
        for start, where in zip(starts_yx, native_geometries(prepared.image, starts_yx, settings), strict=True)
    ]


def _overview(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """One tile of the whole image, downsampled.

    The stretch is fitted again, because the means have less noise and so show fainter structures.
    """
    image, shape_yx = prepared.image, prepared.good_yx.shape
    shrink = overview_shrink(shape_yx, settings.size_px)
    if shrink < MIN_SHRINK and "native" in settings.views:
        return prepared, []  # a native tile shows nearly the whole image already
    small = prepared
    if shrink > 1:
        downsampled = downsample_image(image, prepared.good_yx, shrink)
        small = fit_image(downsampled, downsampled.valid_yx, settings)
    height, width = small.good_yx.shape
    start_yx = (height - settings.size_px) // 2, (width - settings.size_px) // 2  # centred; negative: padded
    where = None if image.wcs is None else field_geometry(image.wcs, shape_yx, shrink, start_yx)
    placement = TilePlacement(view="overview", start_yx=start_yx, geometry=where, shrink=shrink * image.shrink)
    return small, [placement]


def _aim(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """One tile of native pixels around the aim point, unless a native tile shows nearly the same.

    Raises ImageError `no_aim` where no aim point is known and no native tiles are cut instead.
    """
    image, shape_yx = prepared.image, prepared.good_yx.shape
    aim_yx = aim_point(image.aims_deg, image.wcs, shape_yx)
    if aim_yx is None and "native" in settings.views:
        return prepared, []
    if aim_yx is None:
        why = "it has no WCS" if image.wcs is None else "target, aperture and reference of the WCS lie outside"
        raise ImageError("no_aim", f"the aim point in the image is not known: {why}")
    start_yx = aim_start(aim_yx, shape_yx, settings.size_px)
    distances = [max(abs(y0 - start_yx[0]), abs(x0 - start_yx[1])) for y0, x0 in native_grid(image, settings)]
    if "native" in settings.views and min(distances) <= AIM_DUPLICATE_SHARE * settings.size_px:
        return prepared, []
    (where,) = native_geometries(image, [start_yx], settings)
    return prepared, [TilePlacement(view="aim", start_yx=start_yx, geometry=where)]


VIEWS: dict[str, View] = {"native": _native, "overview": _overview, "aim": _aim}
"""Registry of views, by `tiles.views`."""


def native_grid(image: ScienceImage, settings: TileSettings) -> list[tuple[int, int]]:
    """Plan the tiles of native pixels of an image.

    Parameters
    ----------
    image : ScienceImage
    settings : TileSettings
        `size_px`, `overlap_px` and `stride_px`.

    Returns
    -------
    starts_yx : list of (y0, x0)
        First pixels; see `plan_grid`.
    """
    height, width = image.data_yx.shape
    return plan_grid((height, width), settings.size_px, settings.overlap_px, settings.stride_px)


def native_geometries(
    image: ScienceImage, starts_yx: Sequence[tuple[int, int]], settings: TileSettings
) -> Sequence[TileGeometry | None]:
    """Positions on the sky of tiles of native pixels.

    Parameters
    ----------
    image : ScienceImage
    starts_yx : sequence of (y0, x0)
        First pixels of the tiles.
    settings : TileSettings
        `size_px`.

    Returns
    -------
    geometries : sequence of TileGeometry or None
        One per tile; None where the image has no WCS, or it gives no finite position.
    """
    return [None] * len(starts_yx) if image.wcs is None else tile_geometries(image.wcs, starts_yx, settings.size_px)


def to_tile_record(
    cut: CutTile, product: Product, layout: Layout, cut_at: datetime, part_uris: list[str] | None = None
) -> Tile:
    """Build the catalog's record of a tile.

    Parameters
    ----------
    cut : CutTile
    product : Product
        The file that the tile is from.
    layout : Layout
        Gives the tile's path.
    cut_at : datetime
        UTC.
    part_uris : list of str or None
        URIs of the products of a colour tile, red first.

    Returns
    -------
    tile : Tile

    Raises
    ------
    ImageError
        `not_fetched` where the product has no SHA-256 yet.
    """
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
        size_bytes=len(cut.encoded),
    )
