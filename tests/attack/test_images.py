"""Attacks by files: small ones that unpack to gigabytes, or that take minutes to walk through."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from tests.attack.table import Attacks

pytestmark = [pytest.mark.nightly, pytest.mark.attack]


def write_repeated_rows(path: Path, width: int, height: int) -> None:
    """A RICE-compressed image whose rows all refer to the same compression tile, so that the file is small."""
    row = fits.CompImageHDU(np.arange(width, dtype=np.int16)[None] % 300, compression_type="RICE_1", name="SCI")
    fits.HDUList([fits.PrimaryHDU(), row]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        header, place = hdus[1].header.copy(), hdus[1].fileinfo()
    start, heap_bytes = place["datLoc"], header["PCOUNT"]
    content = path.read_bytes()
    heap = content[start + header["NAXIS1"] : start + header["NAXIS1"] + heap_bytes]
    header["NAXIS2"] = header["ZNAXIS2"] = height
    data = content[start : start + header["NAXIS1"]] * height + heap
    packed = header.tostring().encode() + data.ljust(-(-len(data) // 2880) * 2880, b"\0")
    path.write_bytes(content[: place["hdrLoc"]] + packed)


def write_jpeg(path: Path, side_px: int, mode: str, **options: bool) -> None:
    Image.new(mode, (side_px, side_px)).save(path, "JPEG", **options)


WRITERS = {
    "FITS, 576 Mpix of RICE in 400 kB": lambda path: write_repeated_rows(path, 24_000, 24_000),
    "FITS, as many pixels of RICE as are allowed": lambda path: write_repeated_rows(path, 13_900, 13_900),
    "FITS, 20,000 empty HDUs": lambda path: path.write_bytes(
        b"".join(hdu.header.tostring().encode() for hdu in [fits.PrimaryHDU(), *[fits.ImageHDU()] * 20_000])
    ),
    "FITS, int16, 600 Mpix, a sparse file": lambda path: write_sparse(path, 24_000),
    "JPEG, grey, 400 Mpix": lambda path: write_jpeg(path, 20_000, "L"),
    "JPEG, colour, progressive, 100 Mpix": lambda path: write_jpeg(path, 10_000, "RGB", progressive=True),
    "JPEG, grey, as many pixels as are allowed": lambda path: write_jpeg(path, 7_400, "L"),
    "JPEG, colour, progressive, as many pixels as are allowed": lambda path: write_jpeg(
        path, 6_700, "RGB", progressive=True
    ),
}


def write_sparse(path: Path, side_px: int) -> None:
    header = fits.PrimaryHDU(np.zeros((1, 1), np.int16)).header
    header["NAXIS1"] = header["NAXIS2"] = side_px
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(2880 + -(-2 * side_px**2 // 2880) * 2880)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_unpacks_to_too_much_is_rejected_in_one_line(name: str, tmp_path: Path, attacks: Attacks) -> None:
    path = tmp_path / f"a.{'jpg' if name.startswith('JPEG') else 'fits'}"
    WRITERS[name](path)
    words = [sys.executable, "-m", "hubbleclip.cli.app", "tile", str(path), "--out", str(tmp_path / "out")]
    ending = attacks.run(name, words, deadline_s=150)
    assert ending.code in {0, 2}
    if "allowed" not in name:
        assert "rejected, larger than the limit" in ending.out or "rejected, not a readable file" in ending.out
