"""What is left out, and that what claims to be huge is refused before memory is taken."""

from __future__ import annotations

import gzip
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from memory import outcomes_of
from synthetic_fits import starry_sky, write_compressed, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.tiling import tile_file

SHA = "ab" * 32
BOMB_KB = 60_000


def header_of(cards):
    return b"".join(f"{card:80}".encode() for card in [*cards, "END"]).ljust(2880, b" ")


def claim(width, height):
    return header_of(
        [
            "SIMPLE  =                    T",
            "BITPIX  =                  -32",
            "NAXIS   =                    2",
            f"NAXIS1  = {width:20}",
            f"NAXIS2  = {height:20}",
        ]
    )


def write_compressed_claim(path):
    data = write_compressed(path, starry_sky((300, 300))).read_bytes()
    at = data.index(b"ZNAXIS1 ")
    path.write_bytes(data[: at + 10] + b"10000000".rjust(20) + data[at + 30 :])


@pytest.mark.slow
def test_bombs_are_refused_before_memory_is_taken(tmp_path):
    plain = write_drz(tmp_path / "plain.fits", starry_sky((560, 560)))
    paths = [tmp_path / name for name in ("beyond.fits", "within.fits", "bomb.fits.gz", "compressed.fits")]
    paths[0].write_bytes(claim(1_000_000, 1_000_000) + bytes(2880))
    paths[1].write_bytes(claim(20_000, 20_000) + bytes(2880))
    with gzip.open(paths[2], "wb") as packed:
        packed.write(claim(8000, 8000))
        for _ in range(256):
            packed.write(bytes(1_000_000))
    write_compressed_claim(paths[3])
    outcomes = outcomes_of(plain, *paths)
    assert [reason for reason, _ in outcomes] == ["too_large", "truncated", "too_large", "too_large"]
    assert max(more_kb for _, more_kb in outcomes) < BOMB_KB


def cut_bytes(path):
    return [
        (tile.tile_id, tile.encoded)
        for tile in tile_file(path, SHA, TileSettings(size_px=128, views=("native", "overview", "aim"))).tiles
    ]


@pytest.mark.slow
def test_the_same_bytes_with_any_number_of_workers(tmp_path):
    paths = [
        write_drz(tmp_path / f"{n}.fits", starry_sky((300, 400), seed=n), primary={"RA_TARG": 150.1, "DEC_TARG": 2.2})
        for n in range(4)
    ]
    alone = [cut_bytes(path) for path in paths]
    for workers in (1, 3):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            assert list(pool.map(cut_bytes, paths)) == alone
    assert {len(np.unique([tile_id for tile_id, _ in tiles])) for tiles in alone} == {len(alone[0])}


def test_a_compressed_image_whose_table_has_a_damaged_column_name_is_rejected(tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "a_drz.fits", starry_sky((300, 300)))
    name, number = b"TTYPE4  = 'ZZERO   '", b"TTYPE4  =                    0"
    data = path.read_bytes()
    assert name in data
    path.write_bytes(data.replace(name.ljust(len(number)), number))
    with pytest.raises(ImageError, match="table of the compressed image is damaged"):
        tile_file(path)
