"""Compressed images in bands of rows: their heights, their memory, and the parameters that are refused."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import refused_if, write_compressed

from hubbleclip.core.errors import ImageError
from hubbleclip.fits import compressed
from hubbleclip.fits.compressed import band_bytes, band_rows, check_compression, iter_bands

DATA = np.random.default_rng(0).integers(1, 3000, (3, 50, 40)).astype(np.int16)


def packed(path: Path, data: np.ndarray, tile_shape: tuple[int, ...], kind: str = "RICE_1") -> Path:
    return write_compressed(path, data, compression_type=kind, tile_shape=tile_shape)


def check(path: Path) -> None:
    with path.open("rb") as file, fits.open(file) as hdus:
        check_compression(hdus[-1], file)


@pytest.mark.parametrize(
    ("tile_shape", "num_rows", "rows"),
    [
        ((1, 1, 40), 7, 7),
        ((1, 10, 40), 10, 10),
        ((1, 10, 40), 11, 20),
        ((3, 16, 8), 1, 16),
        ((1, 64, 40), 8, 50),
        ((1, 64, 40), 51, 100),
    ],
)
def test_a_band_has_whole_tiles_and_at_least_the_wanted_rows(tmp_path, tile_shape, num_rows, rows):
    with fits.open(packed(tmp_path / "a.fits", DATA, tile_shape)) as hdus:
        assert band_rows(hdus[1], num_rows) == rows


@pytest.mark.parametrize(
    ("tile_shape", "num_rows", "num_pixels"),
    [((1, 1, 40), 7, 7 * 40), ((2, 10, 8), 11, 2 * 20 * 40), ((9, 64, 64), 8, 3 * 50 * 40), ((1, 16, 40), 60, 50 * 40)],
)
def test_a_band_takes_24_bytes_per_pixel_of_all_planes_that_its_tiles_cover(tmp_path, tile_shape, num_rows, num_pixels):
    with fits.open(packed(tmp_path / "a.fits", DATA, tile_shape)) as hdus:
        assert band_bytes(hdus[1], num_rows) == 24 * num_pixels


@pytest.mark.parametrize("tile_shape", [(1, 1, 40), (2, 16, 8), (3, 64, 64)])
def test_the_bands_of_a_plane_are_its_rows_in_their_order(tmp_path, tile_shape):
    with fits.open(packed(tmp_path / "a.fits", DATA, tile_shape)) as hdus:
        for plane in range(3):
            bands = list(iter_bands(hdus[1], plane, 20))
            assert [rows.start for rows, _ in bands] == list(range(0, 50, band_rows(hdus[1], 20)))
            assert [rows.stop for rows, _ in bands] == [rows.start for rows, _ in bands[1:]] + [50]
            np.testing.assert_array_equal(np.concatenate([band for _, band in bands]), DATA[plane])
    with fits.open(packed(tmp_path / "b.fits", DATA[1], tile_shape[1:])) as hdus:
        np.testing.assert_array_equal(np.concatenate([band for _, band in iter_bands(hdus[1], 0, 7)]), DATA[1])
    with fits.open(packed(tmp_path / "c.fits", DATA[None], (1, *tile_shape))) as hdus:
        np.testing.assert_array_equal(np.concatenate([band for _, band in iter_bands(hdus[1], 2, 7)]), DATA[2])


@pytest.mark.parametrize(
    ("name", "values", "is_allowed"),
    [
        ("BLOCKSIZE", (16, 32), True),
        ("BLOCKSIZE", (0, 8, 31, 64, None), False),
        ("BYTEPIX", (1, 2, 4, 8), True),
        ("BYTEPIX", (-1, 0, 3, 16), False),
        ("ZTILE1", (1, 2**31 - 1), True),
        ("ZTILE1", (0, -1, 2**31), False),
        ("ZTILE2", (2**31 - 1,), True),
        ("ZTILE2", (0, 2**31), False),
    ],
)
def test_parameters_have_the_values_of_the_standard_alone(tmp_path, name, values, is_allowed):
    for number in values:
        path = packed(tmp_path / "a.fits", DATA[0], (1, 40))
        with fits.open(path, "update", disable_image_compression=True) as hdus:
            header = hdus[1].header
            keys = [key.replace("ZNAME", "ZVAL") for key, kind in header["ZNAME*"].items() if kind == name]
            header[keys[0] if keys else name] = number
        with refused_if(not is_allowed, f"unreadable: compression parameter {name}"):
            check(path)


@pytest.mark.parametrize("kind", ["GZIP_1", "GZIP_2", "RICE_1", "PLIO_1", "HCOMPRESS_1"])
def test_every_kind_of_compression_passes_the_check(tmp_path, kind):
    check(packed(tmp_path / "a.fits", DATA[0], (10, 40), kind))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_cell_may_unpack_to_the_most_bytes_and_not_to_one_more(pack):
    cells = [np.frombuffer(pack(bytes(size)), np.uint8) for size in (10, 4000)]
    compressed._check_gzip(cells, 4000)
    with pytest.raises(ImageError, match="unreadable: .*more than 3999 bytes"):
        compressed._check_gzip(cells, 3999)
    both = np.concatenate(cells)  # two members in one cell
    compressed._check_gzip([both], 4010)
    with pytest.raises(ImageError, match="unreadable"):
        compressed._check_gzip([both], 4009)


@pytest.mark.parametrize(("most_bytes_of_a_pixel", "is_refused"), [(2, False), (1, True)])
@pytest.mark.parametrize("kind", ["GZIP_1", "GZIP_2"])
def test_a_tile_may_unpack_to_its_pixels_and_no_more(tmp_path, monkeypatch, kind, most_bytes_of_a_pixel, is_refused):
    monkeypatch.setattr(compressed, "MAX_PIXEL_BYTES", most_bytes_of_a_pixel)
    with fits.open(packed(tmp_path / "a.fits", DATA[0], (1, 40), kind), "append") as hdus:
        hdus.append(fits.CompImageHDU(DATA[0], compression_type=kind, tile_shape=(10, 40)))  # the second is checked
    with refused_if(is_refused, "unreadable"):
        check(tmp_path / "a.fits")


def test_floats_that_could_not_be_quantized_are_checked_too(tmp_path, monkeypatch):
    data = np.random.default_rng(0).normal(0, 1, (40, 50)).astype(np.float32) * np.float32(1e30)
    data[::2] = 0
    path = packed(tmp_path / "a.fits", data, (1, 50))
    with fits.open(path, disable_image_compression=True) as hdus:
        sizes = hdus[1].data["GZIP_COMPRESSED_DATA"]
        assert any(len(cell) for cell in sizes)
    check(path)
    monkeypatch.setattr(compressed, "MAX_PIXEL_BYTES", 1)
    with pytest.raises(ImageError, match="unreadable"):
        check(path)
