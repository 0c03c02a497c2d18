"""Cut images into square tiles.

An image has up to three views: its native pixels in a grid of tiles, one downsampled overview tile, and one tile around
the aim point. This module places the tiles of each view and makes the catalog record of each tile.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core import layout as paths
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sha256_bytes, sha256_file
from hubbleclip.core.layout import Layout, product_suffix
from hubbleclip.core.reasons import reason_words
from hubbleclip.core.records import Product, Tile
from hubbleclip.fits.pointing import aim_point, aim_start
from hubbleclip.images.downsample import MIN_SHRINK, downsample_image, overview_shrink
from hubbleclip.images.encode import encode_jpeg, encode_png, encode_rgb
from hubbleclip.images.normalize import PreparedImage, assess_tiles, fit_image, prepare_image, read_rows, small_object
from hubbleclip.images.preview import read_previews
from hubbleclip.images.reader import ScienceImage, iter_science_images
from hubbleclip.images.stretch import Stretch, apply_stretch
from hubbleclip.images.wcs import TileGeometry, field_geometry, tile_geometries

MAX_LEFTOVER_SHARE = 0.25
"""Maximum uncovered length along an axis, in units of a tile's side; half of this length is at each edge."""
AIM_DUPLICATE_SHARE = 0.125
"""No tile is cut around the aim point if a native tile is at most this distance away, in units of a tile's side."""

Reader = Callable[[Any, TileSettings, str | None], Iterable[ScienceImage]]
"""Function that reads the images of a file.

It takes the file's path (or a preview's bytes), the tile settings, and the name of the file in the archive. It raises
ImageError when it is called or while the images are iterated.
"""


def _read_fits(path: Path, settings: TileSettings, file_name: str | None) -> Iterator[ScienceImage]:
    """Read the images of a FITS file; see `Reader`."""
    return iter_science_images(path, settings.max_pixels, file_name)


def _read_preview(content: Path | bytes, settings: TileSettings, file_name: str | None) -> Iterable[ScienceImage]:
    """Read a JPEG preview; see `Reader`. The preview is decoded at a reduced size if only an overview is cut."""
    enough_px = settings.size_px if settings.views == ("overview",) else None
    return read_previews(content, settings.max_pixels, enough_px, mask_white_border=settings.mask_white_border)


READERS: dict[str, Reader] = {
    **dict.fromkeys((".fits", ".fits.gz", ".fit", ".fit.gz"), _read_fits),
    **dict.fromkeys((".jpg", ".jpeg"), _read_preview),
}
"""Registry of the readers, by the suffix of the product's file name."""

IN_MEMORY_SUFFIXES = frozenset({".jpg", ".jpeg"})
"""Suffixes of files whose reader accepts the file's bytes as well as its path."""

Encoder = Callable[[NDArray[np.uint8]], bytes]
"""Function that encodes the grey levels (h, w) of a tile, top row first."""
ENCODERS: dict[str, tuple[Encoder, str]] = {"png": (encode_png, ".png"), "jpeg": (encode_jpeg, ".jpg")}
"""Registry of the encoders and the suffixes of their files, by the name in the setting `tiles.format`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTile:
    """A tile in memory, with the fields of a Tile record except its product, its path and the time of the cut.

    `encoded` is the content of the PNG or JPEG file, and `suffix` gives the format. Row 0 of the original image is
    at the bottom of the picture, as in FITS viewers. `y0` and `x0` are the first pixel of the tile in the original
    image, and `shrink` is the side of a tile pixel in pixels of the original image.
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
    note: str | None = None

    @property
    def picture(self) -> Image.Image:
        """The tile as a Pillow image."""
        return Image.open(io.BytesIO(self.encoded))

    @property
    def png_sha256(self) -> str:
        """SHA-256 of `encoded`, also for a JPEG. The property is named after the catalog's column."""
        return hashlib.sha256(self.encoded).hexdigest()


SATURATED_CORE = "saturated cores have no data and are filled with the highest value beside them"
"""Note on a tile that shows a filled saturated core."""
NO_GEOMETRY: dict[str, Any] = {**dict.fromkeys(field.name for field in fields(TileGeometry)), "corners_deg": []}
"""Values of the position columns of a tile without WCS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRejection:
    """A rejected image or tile.

    `entity_id` is `sha256:chip` for an image, and `sha256:chip:y0:x0` or `sha256:chip:view` for a tile. It is the same
    in every run.
    """

    entity_id: str
    reason: str
    detail: str


Outcome = CutTile | TileRejection


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """The tiles that were cut from a product, and the rejected images and tiles of the product."""

    tiles: list[CutTile]
    rejections: list[TileRejection]


def tile_file(
    content: str | Path | bytes,
    product_sha256: str | None = None,
    settings: TileSettings | None = None,
    file_name: str | None = None,
) -> CutResult:
    """Read a FITS file or a preview and cut it into tiles.

    Parameters
    ----------
    content : str, Path or bytes
        Path of the file, or the file's bytes. Bytes are accepted only for the suffixes in `IN_MEMORY_SUFFIXES`.
    product_sha256 : str or None
        SHA-256 of the file, which is part of the tiles' identity; None to compute it.
    settings : TileSettings or None
        Settings of tiles and stretch; None for the defaults.
    file_name : str or None
        Name of the file in the archive. It is needed if `content` is bytes or a path with another name.

    Returns
    -------
    result : CutResult
        The tiles and the rejections. `cut_tiles` raises ImageError if no image of the file is usable.
    """
    content = Path(content) if isinstance(content, str) else content
    if product_sha256 is None:
        product_sha256 = sha256_bytes(content) if isinstance(content, bytes) else sha256_file(content)
    settings = settings or TileSettings()
    return cut_tiles(read_images(content, settings, file_name), product_sha256, settings)


def read_images(content: Path | bytes, settings: TileSettings, file_name: str | None = None) -> Iterable[ScienceImage]:
    """Read the images of a file one after the other, with the reader that is registered for the file's suffix."""
    name = file_name or (content.name if isinstance(content, Path) else "")
    return READERS[product_suffix(name)](content, settings, file_name)


def cut_tiles(images: Iterable[ScienceImage], product_sha256: str, settings: TileSettings) -> CutResult:
    """Cut the images of one product into tiles. Raises the first image's ImageError if no image is usable."""
    outcomes: list[Outcome] = []
    errors: list[ImageError] = []
    num_images = 0
    for image in images:
        num_images += 1
        outcomes += [to_rejection(ImageError(one.reason, one.detail), product_sha256, one.chip) for one in image.unused]
        try:
            outcomes += list(_cut_image(image, product_sha256, settings))
        except ImageError as error:
            errors.append(error)
            outcomes.append(to_rejection(error, product_sha256, image.chip))
        del image  # otherwise the image would stay in memory while the next one is read
    if len(errors) == num_images:
        counted = Counter(reason_words(error.reason) for error in errors)
        reasons = ", ".join(f"{num}: {words}" for words, num in counted.items())
        others = f" (the first of {len(errors)} images: {reasons})" if len(errors) > 1 else ""
        raise ImageError(errors[0].reason, f"{errors[0].detail}{others}")
    return to_result(outcomes)


def to_result(outcomes: Sequence[Outcome]) -> CutResult:
    """Separate tiles and rejections."""
    tiles = [one for one in outcomes if isinstance(one, CutTile)]
    return CutResult(tiles=tiles, rejections=[one for one in outcomes if isinstance(one, TileRejection)])


def plan_grid(shape_yx: tuple[int, int], size_px: int, overlap_px: int, stride_px: int = 0) -> list[tuple[int, int]]:
    """Plan the fewest tiles that cover an image; at each edge, up to an eighth of a tile's side may stay uncovered.

    Tiles overlap by at least `overlap_px`. If `stride_px` is not 0, tiles start exactly `stride_px` apart instead. The
    starts (y0, x0) are returned row by row. If an axis is shorter than a tile, it has one tile with a negative start.
    """
    starts_y, starts_x = (
        _step_axis(length, size_px, stride_px) if stride_px else _plan_axis(length, size_px, overlap_px)
        for length in shape_yx
    )
    return [(y0, x0) for y0 in starts_y for x0 in starts_x]


def _plan_axis(length: int, size: int, overlap: int) -> list[int]:
    """Return the starts of the fewest evenly spaced tiles that cover an axis; they overlap by at least `overlap` px."""
    step = max(1, size - overlap)
    # `count` tiles cover step * count + overlap pixels. `count` is the smallest number of tiles for which the uncovered
    # length is at most MAX_LEFTOVER_SHARE times the side of a tile.
    count = max(1, -(-(length - overlap - int(MAX_LEFTOVER_SHARE * size)) // step))
    covered = count * step + overlap if count > 1 else size
    if covered <= length or count == 1:
        first = (length - covered) // 2
        return [first + index * step for index in range(count)]
    # With the minimum overlap, the tiles would extend beyond the image. They are placed from edge to edge instead,
    # which increases the overlap.
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def _step_axis(length: int, size: int, stride: int) -> list[int]:
    """Return the starts of tiles along an axis: as many as fit, `stride` pixels apart, and centred on the axis."""
    steps = max(0, length - size) // stride
    first = (length - size - steps * stride) // 2
    return [first + index * stride for index in range(steps + 1)]


def _cut_image(image: ScienceImage, product_sha256: str, settings: TileSettings) -> Iterator[Outcome]:
    """Yield the tiles and rejections of each view of an image, in the order of the grid. Raises ImageError."""
    height, width = image.data_yx.shape
    if min(height, width) < settings.min_side_px:
        raise ImageError("too_small", f"{width} x {height} pixels, but the minimum side is {settings.min_side_px}")
    # the image is prepared once, because all views share its mask and stretch
    prepared = prepare_image(image, settings)
    for view in settings.views:
        try:
            shown, placements = VIEWS[view](prepared, settings)
        except ImageError as error:
            yield to_rejection(error, product_sha256, image.chip, view)
        else:
            yield from cut_view(shown, placements, [product_sha256], settings)


def to_rejection(error: ImageError, *parts: object) -> TileRejection:
    """Convert an error to the rejection of an image or tile."""
    return TileRejection(entity_id=":".join(map(str, parts)), reason=error.reason, detail=error.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlacement:
    """Position of a tile in the rendered image: `start_yx` is the tile's first pixel, and `size_px` is the tile's side.

    The rendered image of an overview is downsampled. `shrink` is the side of a rendered pixel in pixels of the file.
    `is_in_grid` is true if the tile's view may have several tiles.
    """

    view: str
    start_yx: tuple[int, int]
    size_px: int
    geometry: TileGeometry | None
    shrink: float = 1.0
    is_in_grid: bool = False

    @property
    def origin_yx(self) -> tuple[int, int]:
        """First pixel (y, x) of the tile in the original image, rounded."""
        y0, x0 = self.start_yx
        return round(y0 * self.shrink), round(x0 * self.shrink)


def cut_view(
    shown: PreparedImage,
    placements: Sequence[TilePlacement],
    sha256s: Sequence[str],
    settings: TileSettings,
    render: Callable[[int, int, int], NDArray[np.uint8]] | None = None,
) -> Iterator[Outcome]:
    """Yield the tiles and rejections at the placements, which must be sorted by row; each row is rendered as a whole.

    `sha256s` has the product's hash. For a colour tile, it has the green product's hash, followed by the hashes of red,
    green and blue. `render` takes the first row, the first column and the width w of a row of colour tiles, and returns
    its levels (size_px, w, 3); by default, the pixels are stretched to grey.
    """
    encode, suffix = (encode_rgb, ".png") if render else ENCODERS[settings.format]
    image, digest = shown.image, settings.digest()
    for (top, size), in_row in groupby(placements, key=lambda placement: (placement.start_yx[0], placement.size_px)):
        row = list(in_row)
        starts_yx = [placement.start_yx for placement in row]
        rows = read_rows(shown, starts_yx, size)
        if render:
            levels = render(top, rows.left, rows.values_yx.shape[1])
        else:
            levels = apply_stretch(rows.values_yx, rows.shown_yx, shown.stretch)
        for placement, assessment in zip(row, assess_tiles(rows, shown, starts_yx, settings), strict=True):
            if isinstance(assessment, ImageError):
                view = () if placement.view == "native" else (placement.view,)
                place = placement.origin_yx if placement.is_in_grid else ()
                yield to_rejection(assessment, sha256s[0], image.chip, *view, *place)
            else:
                column = placement.start_yx[1] - rows.left
                # The first row is at the bottom of a FITS image, but at the top of a picture.
                file = encode(levels[::-1, column : column + size]), suffix
                yield _build_tile(shown, placement, file, valid_share=assessment, sha256s=sha256s, digest=digest)
        image.release_pages(top + size)  # later tiles read these rows again only where tiles overlap


def _build_tile(
    shown: PreparedImage,
    placement: TilePlacement,
    file: tuple[bytes, str],
    *,
    valid_share: float,
    sha256s: Sequence[str],
    digest: str,
) -> CutTile:
    """Build the record of a tile from its file (content and suffix) and the image from which it was cut."""
    image, (y0, x0) = shown.image, placement.origin_yx
    # The id of a colour tile depends on the view and on the hashes of the products. `CutTile.view` is the view only.
    view = ":".join((placement.view, *sha256s[1:]))
    return CutTile(
        tile_id=paths.tile_id(sha256s[0], image.chip, y0, x0, digest, view=view),
        encoded=file[0],
        chip=image.chip,
        y0=y0,
        x0=x0,
        size_px=placement.size_px,
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
        note="; ".join(filter(None, (image.note, SATURATED_CORE if _has_core(shown, placement) else None))) or None,
    )


def _has_core(shown: PreparedImage, placement: TilePlacement) -> bool:
    """Return whether a tile shows pixels of a filled core."""
    (y0, x0), (rows, columns, _) = placement.start_yx, shown.cores
    if not rows.size:
        return False
    inside = (rows >= y0) & (rows < y0 + placement.size_px) & (columns >= x0) & (columns < x0 + placement.size_px)
    return bool(inside.any())


View = Callable[[PreparedImage, TileSettings], tuple[PreparedImage, list[TilePlacement]]]
"""Function that places the tiles of a view.

It takes the prepared image and the tile settings, and returns the image to render and the positions of its tiles, row
by row. It raises ImageError if the view cannot be made.
"""


def _native(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """Place a grid of tiles at the native pixel scale of the image, without resampling."""
    starts_yx, size_px = native_grid(prepared.image, settings), settings.size_px
    if settings.object_scale and len(starts_yx) == 1 and (window := small_object(prepared, settings)):
        starts_yx, size_px = [window[0]], window[1]
    return prepared, grid_placements(prepared.image, "native", starts_yx, size_px)


def grid_placements(
    image: ScienceImage, view: str, starts_yx: Sequence[tuple[int, int]], size_px: int
) -> list[TilePlacement]:
    """Place tiles at an image's native pixel scale."""
    # The geometries of all tiles are computed in one call, because a call of the WCS per tile is many times slower.
    found = [None] * len(starts_yx) if image.wcs is None else tile_geometries(image.wcs, starts_yx, size_px)
    return [
        TilePlacement(view=view, start_yx=start, size_px=size_px, geometry=where, is_in_grid=view != "aim")
        for start, where in zip(starts_yx, found, strict=True)
    ]


def _overview(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """Place one tile that shows the whole image, downsampled.

    The stretch is fitted to the downsampled image, which has less noise, so that fainter structures become visible.
    """
    image, shape_yx, size_px = prepared.image, prepared.good_yx.shape, settings.size_px
    shrink = overview_shrink(shape_yx, size_px)
    if shrink < MIN_SHRINK and "native" in settings.views:
        return prepared, []  # a native tile shows nearly the whole image already
    small = prepared
    if shrink > 1:
        downsampled = downsample_image(image, prepared.good_yx, shrink)
        rows, columns, values = prepared.cores
        places = (rows / shrink).astype(np.intp), (columns / shrink).astype(np.intp)
        is_hole = ~downsampled.valid_yx[places]
        cores = places[0][is_hole], places[1][is_hole], values[is_hole]
        small = replace(fit_image(downsampled, downsampled.valid_yx, settings), cores=cores)
    height, width = small.good_yx.shape
    # the tile is centred on the image; a negative start means padding
    start_yx = (height - size_px) // 2, (width - size_px) // 2
    where = None if image.wcs is None else field_geometry(image.wcs, shape_yx, shrink, start_yx)
    shrink *= image.shrink
    return small, [TilePlacement(view="overview", start_yx=start_yx, size_px=size_px, geometry=where, shrink=shrink)]


def _aim(prepared: PreparedImage, settings: TileSettings) -> tuple[PreparedImage, list[TilePlacement]]:
    """Place one tile of native pixels around the aim point, unless a tile of the native grid has nearly this position.

    Raises ImageError `no_aim` if no aim point is known and the settings do not include the native view.
    """
    image, shape_yx = prepared.image, prepared.good_yx.shape
    aim_yx = aim_point(image.aims_deg, image.wcs, shape_yx)
    if aim_yx is None and "native" in settings.views:
        return prepared, []
    if aim_yx is None:
        why = "it has no WCS" if image.wcs is None else "target, aperture and WCS reference point lie outside it"
        raise ImageError("no_aim", f"the image has no known aim point: {why}")
    start_yx = aim_start(aim_yx, shape_yx, settings.size_px)
    distances = [max(abs(y0 - start_yx[0]), abs(x0 - start_yx[1])) for y0, x0 in native_grid(image, settings)]
    if "native" in settings.views and min(distances) <= AIM_DUPLICATE_SHARE * settings.size_px:
        return prepared, []
    return prepared, grid_placements(image, "aim", [start_yx], settings.size_px)


VIEWS: dict[str, View] = {"native": _native, "overview": _overview, "aim": _aim}
"""Registry of the views, by the names in the setting `tiles.views`."""


def native_grid(image: ScienceImage, settings: TileSettings) -> list[tuple[int, int]]:
    """Plan the grid of tiles at an image's native pixel scale; see `plan_grid`."""
    height, width = image.data_yx.shape
    return plan_grid((height, width), settings.size_px, settings.overlap_px, settings.stride_px)


def to_tile_record(
    cut: CutTile, product: Product, layout: Layout, cut_at: datetime, part_uris: list[str] | None = None
) -> Tile:
    """Build the catalog record of a tile."""
    if product.sha256 is None:
        raise ImageError("not_fetched", f"{product.uri} has no sha256 yet: fetch it before its tiles are recorded")
    values = asdict(cut) | asdict(cut.stretch) | (asdict(cut.geometry) if cut.geometry else NO_GEOMETRY)
    values |= {
        "png_sha256": cut.png_sha256,
        "size_bytes": len(cut.encoded),
        "product_uri": product.uri,
        "product_sha256": product.sha256,
        "obs_id": product.obs_id,
        "proposal_id": product.proposal_id,
        "path": layout.relative(layout.tile(cut.tile_id, cut.suffix)),
        "cut_at": cut_at,
        "part_uris": part_uris,
    }
    return Tile(**{one.name: values[one.name] for one in fields(Tile)})
