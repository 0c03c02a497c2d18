"""8-bit grey PNG, the same bytes for the same levels on every machine: `deflate` in PNG's own container."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hubbleclip.core.errors import ImageError
from hubbleclip.images.deflate import deflate_squares

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_8_BIT = bytes((8, 0, 0, 0, 0))
START = struct.Struct(">8sI4sII5sI")
CHUNK = struct.Struct(">I4s")
END = bytes.fromhex("0000000049454e44ae426082")
"""The chunk IEND, which is empty."""
MOST_EXPANDED = 1032
"""Bytes that a byte of deflate can stand for: at best two bits for 258 (RFC 1951, section 3.2.5)."""


def encode_png(levels_yx: NDArray[np.uint8]) -> bytes:
    """PNG of grey levels (uint8, 0 black)."""
    return encode_pngs(levels_yx[::-1], [0], levels_yx.shape[1])[0]


def encode_pngs(band_yx: NDArray[np.uint8], starts_x: Sequence[int], width: int) -> list[bytes]:
    """PNGs of parts of a band of rows, each so many columns from a start on, the last row of the band on top.

    Rows are not filtered: that gains nothing on noise and takes time.
    """
    if not starts_x:
        return []
    packed, spans = deflate_squares(band_yx, starts_x, width)
    start, streams = _start(width, len(band_yx)), (packed[first:end].data for first, end in spans)
    return [
        b"".join((start, CHUNK.pack(len(stream), b"IDAT"), stream, _checksum(b"IDAT", stream), END))
        for stream in streams
    ]


@lru_cache
def _start(width: int, height: int) -> bytes:
    """What stands before the pixels: the same for every tile of a size."""
    header = struct.pack(">II", width, height) + GREY_8_BIT
    return b"".join((SIGNATURE, CHUNK.pack(len(header), b"IHDR"), header, _checksum(b"IHDR", header)))


def _checksum(kind: bytes, content: bytes | memoryview) -> bytes:
    return isal_zlib.crc32(content, zlib.crc32(kind)).to_bytes(4, "big")


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Grey levels of a PNG; colours are turned to grey. Raises ImageError for anything else."""
    levels_yx = decode_own(data)
    if levels_yx is not None:
        return levels_yx.copy()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image.convert("L"))
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", f"no PNG image: {error}") from error


def decode_own(data: bytes) -> NDArray[np.uint8] | None:
    """Levels of a PNG as `encode_png` writes it, not to be written to; None for any other, which is left to Pillow.

    All checksums are tested.
    """
    try:
        signature, length, kind, width, height, form, checksum = START.unpack_from(data)
        length_packed, kind_packed = CHUNK.unpack_from(data, START.size)
    except struct.error:
        return None
    end = START.size + CHUNK.size + length_packed
    packed = memoryview(data)[START.size + CHUNK.size : end]
    known = (signature, length, kind, form, kind_packed, data[end + 4 :])
    if known != (SIGNATURE, len(form) + 8, b"IHDR", GREY_8_BIT, b"IDAT", END):
        return None
    num_bytes = height * (width + 1)
    if not 0 < num_bytes <= MOST_EXPANDED * len(packed):
        return None
    if checksum != zlib.crc32(data[12:29]) or data[end : end + 4] != _checksum(b"IDAT", packed):
        return None
    return _unpack_rows(packed, height, width)


def _unpack_rows(packed: memoryview, height: int, width: int) -> NDArray[np.uint8] | None:
    num_bytes = height * (width + 1)
    try:
        rows = isal_zlib.decompressobj().decompress(packed, num_bytes + 1)
    except isal_zlib.error:  # type: ignore[misc]  # its stub takes the class for a value
        return None
    if len(rows) != num_bytes:
        return None
    rows_yx = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    return None if rows_yx[:, 0].any() else rows_yx[:, 1:]
