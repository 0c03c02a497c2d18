"""Encoding and decoding of tiles as 8-bit grey PNG or JPEG files.

A PNG has the same bytes for the same levels on every machine: zlib's strategy Z_RLE finds only runs of one repeated
byte, so every version of zlib finds the same matches on every processor. Little compression is lost, because other
patterns seldom repeat in noise. ISA-L compresses twice as fast, but its bytes differ between x86 and ARM.
A JPEG is smaller but lossy.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from hubbleclip.images.kernels import compiled

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_8_BIT = bytes((8, 0, 0, 0, 0))
"""Last five bytes of the IHDR content: bit depth 8, colour type grey, compression 0, filter 0, no interlacing."""
PNG_START = struct.Struct(">8sI4sII5sI")
"""Start of a PNG: the signature, then the fields of IHDR: length, type, width, height, `GREY_8_BIT`, CRC."""
CHUNK_HEADER = struct.Struct(">I4s")
END_CHUNK = bytes.fromhex("0000000049454e44ae426082")
"""The complete chunk IEND, which has no content."""
FILTER_UP = 2
"""PNG filter type Up: each byte of a row is stored as its difference from the byte above."""
COMPRESS_LEVEL, WINDOW_BITS, MEMORY_LEVEL = 1, 15, 9
MAX_EXPANSION = 1032
"""Maximum number of bytes to which one byte of a deflate stream expands.

A match of 258 bytes takes at least two bits, one for the length and one for the distance (RFC 1951, section 3.2.5).
"""
JPEG_QUALITY = 95


def encode_png(levels_yx: NDArray[np.uint8]) -> bytes:
    """Encode grey levels as PNG, every row as its difference from the row above.

    This is the filter type Up (PNG specification, third edition, section 9), which makes real tiles 6 % smaller.
    """
    height, width = levels_yx.shape
    rows_yx = np.empty((height, width + 1), np.uint8)  # each row begins with its filter type
    rows_yx[:, 0], rows_yx[0, 1:] = FILTER_UP, levels_yx[0]
    np.subtract(levels_yx[1:], levels_yx[:-1], out=rows_yx[1:, 1:])
    deflate = zlib_ng.compressobj(COMPRESS_LEVEL, zlib_ng.DEFLATED, WINDOW_BITS, MEMORY_LEVEL, zlib_ng.Z_RLE)
    header = struct.pack(">II", width, height) + GREY_8_BIT
    image = _chunk(b"IDAT", deflate.compress(rows_yx), deflate.flush())
    return b"".join((PNG_SIGNATURE, *_chunk(b"IHDR", header), *image, END_CHUNK))


def with_texts(png: bytes, texts: Mapping[str, str], xmp: str = "") -> bytes:
    """Add text chunks and an XMP packet to a PNG; the rest of the file stays the same."""
    chunks = [_chunk(b"tEXt", name.encode(), b"\0", text.encode("ascii", "replace")) for name, text in texts.items()]
    if xmp:  # the text is neither compressed nor marked with a language
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0", xmp.encode()))
    return b"".join((png.removesuffix(END_CHUNK), *chain.from_iterable(chunks), END_CHUNK))


def _chunk(chunk_type: bytes, *parts: bytes) -> tuple[bytes, ...]:
    """Return the pieces of a chunk: its length and type, the parts of its content, and its CRC-32."""
    return CHUNK_HEADER.pack(sum(map(len, parts)), chunk_type), *parts, _crc(chunk_type, *parts)


def _crc(*parts: bytes | memoryview) -> bytes:
    """Return the CRC-32 of a chunk's type and content as four big-endian bytes."""
    checksum = 0
    for part in parts:  # joining the parts first would copy them
        checksum = isal_zlib.crc32(part, checksum)
    return checksum.to_bytes(4, "big")


def decode_own_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a PNG of `encode_png` several times faster than Pillow; None for a damaged PNG and for other PNGs."""
    try:
        signature, length, chunk_type, width, height, pixel_format, checksum = PNG_START.unpack_from(data)
        packed_length, packed_type = CHUNK_HEADER.unpack_from(data, PNG_START.size)
    except struct.error:
        return None
    end = PNG_START.size + CHUNK_HEADER.size + packed_length
    packed = memoryview(data)[PNG_START.size + CHUNK_HEADER.size : end]
    structure = (signature, length, chunk_type, pixel_format, packed_type, data[end + 4 :])
    expected = (PNG_SIGNATURE, len(pixel_format) + 8, b"IHDR", GREY_8_BIT, b"IDAT", END_CHUNK)
    num_bytes = height * (width + 1)  # each row begins with its filter type
    # A false size in the header must not cause a large allocation.
    if structure != expected or not 0 < num_bytes <= MAX_EXPANSION * len(packed):
        return None
    # Bytes 12 to 28 of a PNG are the type and the content of IHDR.
    if checksum != zlib.crc32(data[12:29]) or data[end : end + 4] != _crc(b"IDAT", packed):
        return None
    try:
        # One byte more than expected is requested, so that a longer stream is noticed. The decompression verifies the
        # Adler-32 too.
        rows = isal_zlib.decompressobj().decompress(packed, num_bytes + 1)
    except isal_zlib.error:  # type: ignore[misc]  # the stub of isal declares the class as a value
        return None
    if len(rows) != num_bytes or rows[:: width + 1] != bytes([FILTER_UP]) * height:
        return None
    levels_yx = np.empty((height, width), np.uint8)
    _add_rows(np.frombuffer(rows, np.uint8).reshape(height, width + 1)[:, 1:], levels_yx)
    return levels_yx


@compiled
def _add_rows(differences_yx: Any, levels_yx: Any) -> None:
    """Compute the cumulative sum of the rows (h, w), modulo 256. numpy's `add.accumulate` takes 9 times as long."""
    levels_yx[0] = differences_yx[0]
    for y in range(1, levels_yx.shape[0]):
        for x in range(levels_yx.shape[1]):
            levels_yx[y, x] = levels_yx[y - 1, x] + differences_yx[y, x]


def encode_jpeg(levels_yx: NDArray[np.uint8]) -> bytes:
    """Encode grey levels as a JPEG of quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def encode_rgb(levels_yxc: NDArray[np.uint8]) -> bytes:
    """Encode RGB levels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels_yxc)).save(buffer, "PNG")
    return buffer.getvalue()
