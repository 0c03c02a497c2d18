"""Reader of the archive's JPEG previews, whose levels are displayed unchanged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.integrity import content_name
from hubbleclip.images.reader import ScienceImage, unreadable
from hubbleclip.images.stretch import Stretch

UNIT = "display"
"""Unit of an image whose pixel values are display levels, 0 to 255."""
JPEG_START = b"\xff\xd8\xff"
WHITE = 250
"""Lowest level that counts as white; the levels of white areas in a JPEG file vary by a few."""
MIN_WHITE_SHARE = 0.001
JPEG_BYTES = 1_000_000_000
"""Maximum memory, in bytes, for decoding and cutting a preview."""
BYTES_PER_PIXEL, BYTES_PER_COEFFICIENT = 16, 2
"""Upper estimates of a decoder's memory in bytes: for each decoded pixel, and for each DCT coefficient of the file. The
file has one coefficient per pixel and colour, and a decoder may hold all of them.
"""
NOISE_LEVELS = 1.0
"""Assumed noise of a preview in levels: the step between two levels."""


def read_previews(
    content: Path | bytes, max_pixels: int, enough_px: int | None = None, *, mask_white_border: bool = False
) -> list[ScienceImage]:
    """Read a JPEG file as a list of one image, which has no WCS; see `read_luminance` for `enough_px`.

    The stretch of the image is the identity, so that a tile has the levels of the preview.
    """
    levels_yx, shrink = read_luminance(content, max_pixels, enough_px)
    outside_yx = white_border(levels_yx) if mask_white_border else np.zeros(levels_yx.shape, np.bool_)
    sky = np.median(levels_yx[~outside_yx]) if outside_yx.any() else border_level(levels_yx)
    stretch = Stretch(kind="linear", black=0, white=255, softening=1, sky=int(sky), noise=NOISE_LEVELS)
    data_yx, valid_yx = levels_yx[::-1].astype(np.float32), ~outside_yx[::-1]  # the first row of a JPEG is the top row
    return [ScienceImage(data_yx=data_yx, valid_yx=valid_yx, chip=0, unit=UNIT, stretch=stretch, shrink=shrink)]


def read_luminance(
    content: Path | bytes, max_pixels: int, enough_px: int | None = None
) -> tuple[NDArray[np.uint8], float]:
    """Return the luminance (ITU-R BT.601) of a JPEG file, top row first, and the factor by which its sides were shrunk.

    If `enough_px` is given, the decoder may shrink the image by a factor of up to 8, as long as no side becomes shorter
    than `enough_px`. Raises ImageError. An OSError whose number is in `errors.SYSTEM_ERRNOS` is raised unchanged.
    """
    try:
        data = content if isinstance(content, bytes) else content.read_bytes()
    except OSError as error:
        raise unreadable(error) from error
    try:
        image = JpegImageFile(io.BytesIO(data))  # not `Image.open`, which applies a size limit of its own
    except (OSError, SyntaxError, ValueError) as error:
        name = None if data.startswith(JPEG_START) else content_name(data[:512])
        words = f" but {name}: correct its name" if name else f": {error}"
        raise ImageError("unreadable", f"not a JPEG file{words}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("too_large", f"{width} x {height} pixels, more than {max_pixels}")
    if enough_px is not None:
        image.draft("L", (enough_px, enough_px))  # libjpeg reduces the size by averaging in the DCT domain
    needed = BYTES_PER_PIXEL * image.width * image.height + BYTES_PER_COEFFICIENT * image.layers * width * height
    if needed > JPEG_BYTES:
        raise ImageError("too_large", f"the preview needs {needed / 1e9:.1f} GB of memory")
    try:
        return np.asarray(image.convert("L")), max(width, height) / max(image.size)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("truncated", str(error)) from error


def white_border(levels_yx: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the white areas that touch the border, such as the corners outside a rotated detector.

    Areas that cover a smaller share of the image than `MIN_WHITE_SHARE` may be stars and are ignored. The result is
    empty if it would cover the whole image.
    """
    from scipy import ndimage  # noqa: PLC0415 - the import takes 0.1 s, and few settings need it

    labels_yx, _ = ndimage.label(levels_yx >= WHITE)
    on_border = np.concatenate([labels_yx[0], labels_yx[-1], labels_yx[:, 0], labels_yx[:, -1]])
    sizes = np.bincount(labels_yx.ravel())
    is_area = np.zeros(sizes.size, np.bool_)
    is_area[on_border] = True
    is_area &= sizes >= MIN_WHITE_SHARE * levels_yx.size
    is_area[0] = False  # 0 is the label of all darker pixels
    is_outside: NDArray[np.bool_] = ndimage.binary_dilation(is_area[labels_yx], np.ones((3, 3), np.bool_))
    return np.zeros_like(is_outside) if is_outside.all() else is_outside


def border_level(levels_yx: NDArray[np.uint8]) -> int:
    """Compute the grey level that fills the area outside an image.

    The level is the median of the outermost pixels or the median of all pixels, whichever is darker.
    """
    border = np.concatenate([levels_yx[0], levels_yx[-1], levels_yx[:, 0], levels_yx[:, -1]])
    level = _lower_median(border)
    # Most images have a dark border. Counting darker pixels is faster than computing the median of all pixels.
    is_darkest = np.count_nonzero(levels_yx < level) < (levels_yx.size + 1) // 2
    return level if is_darkest else _lower_median(levels_yx.ravel())


def _lower_median(levels: NDArray[np.uint8]) -> int:
    """Return the median of levels (n,); for an even n, the lower of the two middle levels."""
    middle = (levels.size - 1) // 2
    return int(np.partition(levels, middle)[middle])
