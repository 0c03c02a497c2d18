"""Tiles as files: 8-bit grey PNG (the same bytes for the same levels on every machine) and JPEG (smaller, lossy)."""

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

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_8_BIT = bytes((8, 0, 0, 0, 0))
"""IHDR after the sides: bit depth 8, colour type grey, and the only compression, filter and no interlacing."""
PNG_START = struct.Struct(">8sI4sII5sI")
"""Signature, then IHDR: length, type, width, height, `GREY_8_BIT`, CRC."""
CHUNK_HEADER = struct.Struct(">I4s")
END_CHUNK = bytes.fromhex("0000000049454e44ae426082")
"""The empty chunk IEND."""
MAX_EXPANSION = 1032
"""Most bytes that one byte of deflate expands to: two bits for a match of 258 (RFC 1951, section 3.2.5)."""
JPEG_QUALITY = 95
JPEG_SIGNATURE = b"\xff\xd8"


def encode_png(levels_yx: NDArray[np.uint8]) -> bytes:
    """Encode grey levels as PNG.

    Parameters
    ----------
    levels_yx : uint8 (h, w)
        0 is black; row 0 is the top row of the picture.

    Returns
    -------
    data : bytes
    """
    return encode_png_row(levels_yx[::-1], [0], levels_yx.shape[1])[0]


def encode_png_row(band_yx: NDArray[np.uint8], starts_x: Sequence[int], width: int) -> list[bytes]:
    """Encode a row of tiles, which may overlap, as PNGs.

    Parameters
    ----------
    band_yx : uint8 (h, w)
        The levels that all tiles of the row share, lowest row first as in FITS; each picture is flipped.
    starts_x : sequence of int
        First column of each tile in the band.
    width : int
        Width of a tile, px.

    Returns
    -------
    encoded : list of bytes
        One PNG per start.

    Notes
    -----
    Rows have filter type 0 (none): prediction gains nothing on noise and takes time.
    """
    if not starts_x:
        return []
    packed, spans = deflate_squares(band_yx, starts_x, width)
    start, streams = _png_start(width, len(band_yx)), (packed[first:end].data for first, end in spans)
    return [
        # `deflate_squares` returns whole zlib streams, which an IDAT chunk holds as they are.
        b"".join((start, CHUNK_HEADER.pack(len(stream), b"IDAT"), stream, _crc(b"IDAT", stream), END_CHUNK))
        for stream in streams
    ]


@lru_cache
def _png_start(width: int, height: int) -> bytes:
    """Signature and IHDR, the same for every tile of a size."""
    header = struct.pack(">II", width, height) + GREY_8_BIT
    return b"".join((PNG_SIGNATURE, CHUNK_HEADER.pack(len(header), b"IHDR"), header, _crc(b"IHDR", header)))


def _crc(chunk_type: bytes, content: bytes | memoryview) -> bytes:
    """CRC-32 of a chunk's type and content, big-endian."""
    return isal_zlib.crc32(content, zlib.crc32(chunk_type)).to_bytes(4, "big")


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG to grey levels; colours become luminance.

    Parameters
    ----------
    data : bytes
        A PNG of any kind.

    Returns
    -------
    levels_yx : uint8 (h, w)
        Top row first.

    Raises
    ------
    ImageError
        `too_large` where the header claims more pixels than Pillow accepts, else `unreadable`.
    """
    levels_yx = decode_own_png(data)
    return _decode_by_pillow(data, "PNG") if levels_yx is None else levels_yx.copy()


def decode_own_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a PNG that `encode_png` wrote, several times faster than Pillow; CRCs and Adler-32 are verified.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    levels_yx : uint8 (h, w) or None
        Read-only, top row first; None for a PNG of another writer or a damaged one, which Pillow should judge.
    """
    try:
        signature, length, chunk_type, width, height, pixel_format, checksum = PNG_START.unpack_from(data)
        packed_length, packed_type = CHUNK_HEADER.unpack_from(data, PNG_START.size)
    except struct.error:
        return None
    end = PNG_START.size + CHUNK_HEADER.size + packed_length
    packed = memoryview(data)[PNG_START.size + CHUNK_HEADER.size : end]
    structure = (signature, length, chunk_type, pixel_format, packed_type, data[end + 4 :])
    if structure != (PNG_SIGNATURE, len(pixel_format) + 8, b"IHDR", GREY_8_BIT, b"IDAT", END_CHUNK):
        return None
    num_bytes = height * (width + 1)
    if not 0 < num_bytes <= MAX_EXPANSION * len(packed):  # a false claim must not make us allocate
        return None
    # Bytes 12 to 28 are the type and content of IHDR.
    if checksum != zlib.crc32(data[12:29]) or data[end : end + 4] != _crc(b"IDAT", packed):
        return None
    return _unpack_rows(packed, height, width)


def _unpack_rows(packed: memoryview, height: int, width: int) -> NDArray[np.uint8] | None:
    """Levels (h, w) of a zlib stream of unfiltered rows; None where it is anything else."""
    num_bytes = height * (width + 1)  # each row begins with its filter type
    try:
        # One byte more than expected, to notice a longer stream; the Adler-32 is verified on the way.
        rows = isal_zlib.decompressobj().decompress(packed, num_bytes + 1)
    except isal_zlib.error:  # type: ignore[misc]  # its stub declares the class as a value
        return None
    if len(rows) != num_bytes:
        return None
    rows_yx = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    return None if rows_yx[:, 0].any() else rows_yx[:, 1:]


def encode_jpeg(levels_yx: NDArray[np.uint8]) -> bytes:
    """Encode grey levels as JPEG of quality 95.

    Parameters
    ----------
    levels_yx : uint8 (h, w)
        0 is black; row 0 is the top row of the picture.

    Returns
    -------
    data : bytes
    """
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def encode_jpeg_row(band_yx: NDArray[np.uint8], starts_x: Sequence[int], width: int) -> list[bytes]:
    """Encode a row of tiles as JPEGs.

    Parameters
    ----------
    band_yx, starts_x, width
        As for `encode_png_row`.

    Returns
    -------
    encoded : list of bytes
        One JPEG per start.
    """
    return [encode_jpeg(band_yx[::-1, start : start + width]) for start in starts_x]


def decode_tile(data: bytes) -> NDArray[np.uint8]:
    """Decode a stored tile, PNG or JPEG, to grey levels.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    levels_yx : uint8 (h, w)
        Top row first.

    Raises
    ------
    ImageError
        `too_large` where the header claims more pixels than Pillow accepts, else `unreadable`.
    """
    return _decode_by_pillow(data, "JPEG") if data.startswith(JPEG_SIGNATURE) else decode_png(data)


def _decode_by_pillow(data: bytes, file_format: str) -> NDArray[np.uint8]:
    """Grey levels of a picture in the one format that is allowed. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(data), formats=[file_format]) as image:
            return np.array(image.convert("L"))
    except Image.DecompressionBombError as error:
        raise ImageError("too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError("unreadable", f"not a {file_format} image: {error}") from error
