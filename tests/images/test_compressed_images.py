import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import write_compressed

from hubbleclip.core.errors import ImageError
from hubbleclip.images.reader import read_science_images

LIMIT = 10_000_000
TILINGS = [(1, 64, 64), (1, 1, 130), (4, 150, 130), (2, 7, 33), (3, 100, 1)]


@pytest.mark.parametrize(("kind", "tile_shape"), [*(("RICE_1", one) for one in TILINGS), ("GZIP_2", TILINGS[3])])
def test_each_plane_of_a_compressed_cube_is_the_same_in_bands(tmp_path, kind, tile_shape):
    data = np.random.default_rng(0).integers(1, 3000, (4, 150, 130)).astype(np.int32)
    image = fits.CompImageHDU(data, compression_type=kind, tile_shape=tile_shape, name="SCI")
    flags = fits.CompImageHDU((data % 7 == 0).astype(np.int16) * 4, compression_type=kind, name="DQ")
    primary = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST", "INSTRUME": "WFPC2"}))
    fits.HDUList([primary, image, flags]).writeto(tmp_path / "a.fits")
    for plane, read in zip(data, read_science_images(tmp_path / "a.fits", LIMIT), strict=True):
        np.testing.assert_array_equal(read.data_yx, plane)
        np.testing.assert_array_equal(read.valid_yx, plane % 7 != 0)


def test_a_file_that_ends_within_its_compressed_pixels_is_truncated(tmp_path):
    data = np.random.default_rng(0).integers(1, 3000, (90, 80)).astype(np.int16)
    path = write_compressed(tmp_path / "a.fits", data)
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(ImageError, match="^truncated"):
        read_science_images(path, LIMIT)


def test_a_compression_tile_that_unpacks_to_more_than_its_pixels_is_refused(tmp_path):
    data = np.random.default_rng(0).integers(1, 3000, (90, 80)).astype(np.int16)
    write_compressed(tmp_path / "a.fits", data, compression_type="GZIP_1")
    with_other_cell(tmp_path / "a.fits", gzip.compress(data[0].astype(">i2").tobytes()))
    np.testing.assert_array_equal(read_science_images(tmp_path / "a.fits", LIMIT)[0].data_yx, data)
    for cell in (gzip.compress(bytes(100)) + gzip.compress(bytes(30_000_000)), b"\xff" * 99):
        with_other_cell(tmp_path / "a.fits", cell)
        with pytest.raises(ImageError, match="^unreadable"):
            read_science_images(tmp_path / "a.fits", LIMIT)


def with_other_cell(path: Path, cell: bytes) -> None:
    """Replace the first compression tile of a file."""
    with fits.open(path, disable_image_compression=True) as hdus:
        header, place = hdus[1].header, hdus[1].fileinfo()
    content = bytearray(path.read_bytes())
    table_bytes, heap_bytes = header["NAXIS1"] * header["NAXIS2"], header["PCOUNT"]
    start = place["datLoc"]
    assert header["TTYPE1"] == "COMPRESSED_DATA"
    content[start : start + 8] = struct.pack(">2i", len(cell), heap_bytes)
    data = bytes(content[start : start + table_bytes + heap_bytes]) + cell
    card = content.index(b"PCOUNT  =", place["hdrLoc"])
    content[card + 10 : card + 30] = b"%20d" % (heap_bytes + len(cell))
    path.write_bytes(bytes(content[:start]) + data.ljust(-(-len(data) // 2880) * 2880, b"\0"))
