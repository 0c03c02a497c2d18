"""Read compressed images in bands of rows, and check them before astropy unpacks them.

astropy's decoder checks neither the parameters of the compression nor the unpacked size of a compression tile.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from astropy.io import fits as pyfits
from numpy.typing import NDArray

from hubbleclip.core.errors import ImageError

LARGEST_SIDE = 2**31 - 1
PARAMETERS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}
"""Allowed values of the parameters of the compression RICE_1 (FITS standard 4.0, section 10.4.1)."""
MAX_PIXEL_BYTES = 8
PIECE_BYTES = 1 << 20
GZIP_OR_ZLIB = 47
"""Value of zlib's argument `wbits` that accepts the formats gzip and zlib."""
BAND_BYTES_PER_PIXEL = 24
"""Upper estimate of the memory for unpacking a band, in bytes per pixel of the band."""


def check_compression(hdu: Any, file: IO[bytes]) -> None:
    """Check an image's compression parameters, and check that gzipped tiles unpack to at most 8 bytes per pixel."""
    info = hdu.fileinfo()
    file.seek(info["hdrLoc"])
    # The parameters are in the header of the compressed image's table; `hdu.header` describes the unpacked image.
    header = pyfits.Header.fromstring(file.read(info["datLoc"] - info["hdrLoc"]).decode("ascii", "replace"))
    for key, name in header["ZNAME*"].items():
        value = header.get(key.replace("ZNAME", "ZVAL"))
        if name in PARAMETERS and value not in PARAMETERS[name]:
            raise ImageError("unreadable", f"compression parameter {name} is {value!r}, not one of {PARAMETERS[name]}")
    for key, side in header["ZTILE*"].items():
        if not 0 < side <= LARGEST_SIDE:  # a compression tile may be larger than the image
            raise ImageError("unreadable", f"compression parameter {key} is {side!r}, not between 1 and {LARGEST_SIDE}")
    packed = {"GZIP_COMPRESSED_DATA"}
    if str(header.get("ZCMPTYPE", "")).startswith("GZIP"):
        packed.add("COMPRESSED_DATA")
    packed &= set(header["TTYPE*"].values())
    if packed:
        file.seek(0)
        # astropy closes the file object that it reads, so a duplicate of `file` is opened for astropy
        with (
            open(os.dup(file.fileno()), "rb") as again,  # noqa: PTH123 - the file may have no path
            pyfits.open(again, disable_image_compression=True) as hdus,
        ):
            table = next(one for one in hdus if one.fileinfo()["hdrLoc"] == info["hdrLoc"])
            try:
                cells = [table.data[name] for name in packed]
            except AssertionError as error:  # astropy asserts that a table's columns have valid names
                raise ImageError("unreadable", f"the table of the compressed image is damaged: {error}") from error
            for column in cells:
                _check_gzip(column, math.prod(_tile_shape(hdu)) * MAX_PIXEL_BYTES)


def _check_gzip(cells: Any, max_bytes: int) -> None:
    """Unpack gzipped table cells in pieces. Raises ImageError if a cell unpacks to more than `max_bytes` bytes."""
    for cell in cells:
        data, num_bytes = np.asarray(cell).tobytes(), 0
        while data:
            unpacker = zlib.decompressobj(GZIP_OR_ZLIB)
            while data and not unpacker.eof:
                num_bytes += len(unpacker.decompress(data, PIECE_BYTES))
                data = unpacker.unconsumed_tail
                if num_bytes > max_bytes:
                    raise ImageError("unreadable", f"a compression tile unpacks to more than {max_bytes} bytes")
            data = unpacker.unused_data


def _tile_shape(hdu: Any) -> tuple[int, ...]:
    """Return the shape of the compression tiles, limited to the shape of the image; slowest axis first."""
    return tuple(min(int(tile), int(side)) for tile, side in zip(hdu.tile_shape, hdu.shape, strict=True))


def band_rows(hdu: Any, num_rows: int) -> int:
    """Round `num_rows` up to whole compression tiles, so that reading in bands unpacks each tile only once."""
    tile_rows = _tile_shape(hdu)[-2]
    return math.ceil(num_rows / tile_rows) * tile_rows


def band_bytes(hdu: Any, num_rows: int) -> int:
    """Estimate the memory that is needed while one band of a compressed image is unpacked."""
    *planes, _, _ = _tile_shape(hdu)
    height, width = map(int, hdu.shape[-2:])
    return math.prod(planes) * min(band_rows(hdu, num_rows), height) * width * BAND_BYTES_PER_PIXEL


def iter_bands(hdu: Any, plane: int, num_rows: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Unpack the stored values of a plane in bands of rows."""
    height = hdu.shape[-2]
    step = band_rows(hdu, num_rows)
    before = (0,) * (len(hdu.shape) - 3) + (plane,) if len(hdu.shape) > 2 else ()
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        try:
            yield rows, hdu.section[(*before, rows, slice(None))]
        except AssertionError as error:  # astropy asserts that a compressed image has certain columns
            raise ImageError("unreadable", f"the compressed image lacks a required column: {error}") from error
