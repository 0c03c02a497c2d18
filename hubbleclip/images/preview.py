"""The only JPEG reader: an archive's preview as an image whose levels are shown as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hubbleclip.core.errors import SYSTEM_ERRNOS, ImageError
from hubbleclip.images.compiling import compiled
from hubbleclip.images.grey_jpeg import read_frame, read_grey
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch

UNIT = "display"
NUM_LEVELS = 256
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
    data = content if isinstance(content, bytes) else _read(content)
    levels_yx, shrunk = _ordinary_levels(data, max_pixels, enough_px)
    if levels_yx is not None:
        return levels_yx, shrunk
    with _opened(data, max_pixels) as image:
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


def _ordinary_levels(data: bytes, max_pixels: int, enough_px: int | None) -> tuple[NDArray[np.uint8] | None, float]:
    """See `read_levels`; None where the file is left to Pillow, a large one among them."""
    frame = read_frame(data)
    if frame is None or frame.height * frame.width > min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels):
        return None, 1
    shrink = 1 if enough_px is None else max(min(frame.height, frame.width) // enough_px, 1)
    levels_yx = read_grey(data, frame, min(shrink, 2)) if shrink < 4 else None
    return levels_yx, 1 if levels_yx is None else max(frame.height, frame.width) / max(levels_yx.shape)


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
    return int(_border_level(np.ascontiguousarray(levels_yx)))


@compiled
def _border_level(levels_yx: Any) -> Any:
    height, width = levels_yx.shape
    counts = np.zeros(NUM_LEVELS, np.int64)
    for x in range(width):
        counts[levels_yx[0, x]] += 1
        counts[levels_yx[height - 1, x]] += 1
    for y in range(height):
        counts[levels_yx[y, 0]] += 1
        counts[levels_yx[y, width - 1]] += 1
    level = _median(counts)
    num_darker = 0
    for y in range(height):
        for x in range(width):
            num_darker += levels_yx[y, x] < level
    if num_darker < (levels_yx.size + 1) // 2:
        return level
    counts[:] = 0
    for y in range(height):
        for x in range(width):
            counts[levels_yx[y, x]] += 1
    return _median(counts)


@compiled
def _median(counts: Any) -> Any:
    """The least level that half of all that are counted do not exceed."""
    half = (counts.sum() + 1) // 2
    level, upto = 0, counts[0]
    while upto < half:
        level += 1
        upto += counts[level]
    return level


def read_colours(content: Path | bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Red, green and blue (h, w, 3) of a JPEG file, the top row first; a grey one has three equal parts.

    Its size is judged by the header before memory is taken. Raises ImageError as `read_previews`.
    """
    with _opened(content, max_pixels) as image:
        return _converted(image, "RGB")
