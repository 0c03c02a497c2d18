"""The only JPEG reader: an archive's preview as an image whose levels are shown as they are."""

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
NOISE_LEVELS = 1.0
"""Stands for the noise that a preview does not tell: the step of its levels."""


def read_previews(content: Path | bytes, max_pixels: int, enough_px: int | None = None) -> list[ScienceImage]:
    """A JPEG file, or its bytes, as a list of its one image: luminance from 0 to 255, the lowest row first as in FITS.

    All of it is valid. It has no WCS, and its stretch is the identity, so that a tile's pixels are the preview's own.
    With `enough_px` it may come `shrunk`, see `read_levels`. Raises ImageError with reason `unreadable`,
    `truncated` or `too_large`.
    """
    levels_yx, shrunk = read_levels(content, max_pixels, enough_px)
    stretch = Stretch(kind="linear", black=0, white=255, softening=1, sky=border_level(levels_yx), noise=NOISE_LEVELS)
    image = ScienceImage(
        data_yx=levels_yx[::-1].astype(np.float32),
        valid_yx=np.ones(levels_yx.shape, np.bool_),
        wcs=None,
        chip=0,
        unit=UNIT,
        instrument=None,
        filter=None,
        target=None,
        exposure_s=None,
        stretch=stretch,
        shrunk=shrunk,
    )
    return [image]


def read_levels(
    content: Path | bytes, max_pixels: int, enough_px: int | None = None
) -> tuple[NDArray[np.uint8], float]:
    """Luminance (ITU-R 601) of a JPEG file of any colours, and how many times smaller it is than the file's.

    Its size is judged by the header before memory is taken. Where an image of `enough_px` a side is enough, the decoder
    skips what only a larger one needs: the answer is up to 8 times smaller (each level a mean of the larger image's),
    no side below `enough_px`. Raises ImageError.
    """
    with _opened(content, max_pixels) as image:
        whole_px = max(image.size)
        if enough_px is not None:
            image.draft("L", (enough_px, enough_px))
        return _converted(image, "L"), whole_px / max(image.size)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in SYSTEM_ERRNOS:
            raise
        raise ImageError("unreadable", str(error)) from error


@contextmanager
def _opened(content: Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """A JPEG file whose header is sound and names no more than `max_pixels`. Raises ImageError.

    Pillow's reader of JPEG is asked itself: `Image.open` would judge the size by a limit of its own.
    """
    file = io.BytesIO(content if isinstance(content, bytes) else _read(content))
    try:
        with JpegImageFile(file) as image:
            if image.width * image.height > max_pixels:
                raise ImageError("too_large", f"{image.width} x {image.height} pixels, more than {max_pixels}")
            yield image
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", f"no JPEG image: {error}") from error


def _converted(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError("truncated", str(error)) from error


def border_level(levels_yx: NDArray[np.uint8]) -> int:
    """The level that continues an image: the median of its outermost pixels, or of all where that is darker."""
    level = _lower_median(np.concatenate([levels_yx[0], levels_yx[-1], levels_yx[:, 0], levels_yx[:, -1]]))
    num_darker = np.count_nonzero(levels_yx < level)
    return level if num_darker < (levels_yx.size + 1) // 2 else _lower_median(levels_yx.ravel())


def _lower_median(levels: NDArray[np.uint8]) -> int:
    """The least level that half of all do not exceed."""
    middle = (levels.size - 1) // 2
    return int(np.partition(levels, middle)[middle])


def read_colours(content: Path | bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Red, green and blue (h, w, 3) of a JPEG file, the top row first; a grey one has three equal parts.

    Its size is judged by the header before memory is taken. Raises ImageError as `read_previews`.
    """
    with _opened(content, max_pixels) as image:
        return _converted(image, "RGB")
