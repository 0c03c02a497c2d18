"""8-bit grey JPEG, for those to whom a smaller shard is worth some levels."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hubbleclip.core.errors import ImageError
from hubbleclip.images.png import decode_png

QUALITY = 95
SIGNATURE = b"\xff\xd8"


def encode_jpeg(levels_yx: NDArray[np.uint8]) -> bytes:
    """JPEG of grey levels (uint8, 0 black) at quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def encode_jpegs(band_yx: NDArray[np.uint8], starts_x: Sequence[int], width: int) -> list[bytes]:
    """JPEGs of parts of a band of rows; see `png.encode_pngs`."""
    return [encode_jpeg(band_yx[::-1, start : start + width]) for start in starts_x]


def decode_picture(data: bytes) -> NDArray[np.uint8]:
    """Grey levels of a stored tile, PNG or JPEG. Raises ImageError for anything else."""
    if not data.startswith(SIGNATURE):
        return decode_png(data)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.array(image.convert("L"))
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", f"no JPEG image: {error}") from error
