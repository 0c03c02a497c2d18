"""Reader of the archive's JPEG previews: images whose levels are displayed unchanged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hubbleclip.core.errors import SYSTEM_ERRNOS, ImageError
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch

UNIT = "display"
"""Unit of an image whose values are levels, 0 to 255."""
NOISE_LEVELS = 1.0
"""Assumed noise of a preview: the step between its levels."""


def read_previews(content: Path | bytes, max_pixels: int, enough_px: int | None = None) -> list[ScienceImage]:
    """Read a JPEG file as a list of its one image, all valid, without a WCS.

    Its stretch is the identity, so that the pixels of a tile are those of the preview.

    Parameters
    ----------
    content : Path or bytes
        The file, or what it contains.
    max_pixels : int
        Limit on the size that the header claims.
    enough_px : int or None
        Side that is enough: the image may be decoded smaller, see `read_luminance`.

    Returns
    -------
    images : list of ScienceImage
        Luminance from 0 to 255, the lowest row first as in FITS.

    Raises
    ------
    ImageError
        `unreadable`, `truncated` or `too_large`.
    """
    levels_yx, shrink = read_luminance(content, max_pixels, enough_px)
    stretch = Stretch(kind="linear", black=0, white=255, softening=1, sky=border_level(levels_yx), noise=NOISE_LEVELS)
    image = ScienceImage(
        data_yx=levels_yx[::-1].astype(np.float32),  # a JPEG's first row is the top one
        valid_yx=np.ones(levels_yx.shape, np.bool_),
        wcs=None,
        chip=0,
        unit=UNIT,
        instrument=None,
        filter=None,
        target=None,
        exposure_s=None,
        stretch=stretch,
        shrink=shrink,
    )
    return [image]


def read_luminance(
    content: Path | bytes, max_pixels: int, enough_px: int | None = None
) -> tuple[NDArray[np.uint8], float]:
    """Read the luminance (ITU-R BT.601) of a JPEG file, grey or in colours.

    Parameters
    ----------
    content : Path or bytes
        The file, or what it contains.
    max_pixels : int
        Limit on the size that the header claims; checked before memory is allocated.
    enough_px : int or None
        Where given, the decoder returns an image up to 8 times smaller, no side below this.

    Returns
    -------
    levels_yx : uint8 (h, w)
        Top row first.
    shrink : float
        Pixels of the file per side of a returned pixel.

    Raises
    ------
    ImageError
        `unreadable`, `truncated` or `too_large`.
    """
    with _open_jpeg(content, max_pixels) as image:
        full_side_px = max(image.size)
        if enough_px is not None:
            image.draft("L", (enough_px, enough_px))  # libjpeg scales in the DCT domain: each level is a mean
        return _decode(image, "L"), full_side_px / max(image.size)


def _read(path: Path) -> bytes:
    """The bytes of a file. Raises ImageError where the file is at fault, OSError where the machine is."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in SYSTEM_ERRNOS:
            raise
        raise ImageError("unreadable", str(error)) from error


@contextmanager
def _open_jpeg(content: Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open a JPEG file whose header is intact and claims at most `max_pixels`. Raises ImageError."""
    file = io.BytesIO(content if isinstance(content, bytes) else _read(content))
    try:
        # Not `Image.open`, which would apply Pillow's own limit on the size.
        with JpegImageFile(file) as image:
            if image.width * image.height > max_pixels:
                raise ImageError("too_large", f"{image.width} x {image.height} pixels, more than {max_pixels}")
            yield image
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", f"not a JPEG image: {error}") from error


def _decode(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    """Pixels in the given mode of Pillow. Raises ImageError `truncated`."""
    try:
        return np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("truncated", str(error)) from error


def border_level(levels_yx: NDArray[np.uint8]) -> int:
    """Level that continues an image beyond its border: the median of its outermost pixels, or of all if darker.

    Parameters
    ----------
    levels_yx : uint8 (h, w)

    Returns
    -------
    level : int
        From 0 to 255.
    """
    level = _lower_median(np.concatenate([levels_yx[0], levels_yx[-1], levels_yx[:, 0], levels_yx[:, -1]]))
    num_darker = np.count_nonzero(levels_yx < level)
    return level if num_darker < (levels_yx.size + 1) // 2 else _lower_median(levels_yx.ravel())


def _lower_median(levels: NDArray[np.uint8]) -> int:
    """The lower of the two middle values where the number of values is even."""
    middle = (levels.size - 1) // 2
    return int(np.partition(levels, middle)[middle])


def read_rgb(content: Path | bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Read a JPEG file in colour.

    Parameters
    ----------
    content : Path or bytes
        The file, or what it contains.
    max_pixels : int
        Limit on the size that the header claims; checked before memory is allocated.

    Returns
    -------
    levels_yxc : uint8 (h, w, 3)
        Red, green and blue, the top row first; all equal for a grey file.

    Raises
    ------
    ImageError
        `unreadable`, `truncated` or `too_large`.
    """
    with _open_jpeg(content, max_pixels) as image:
        return _decode(image, "RGB")
