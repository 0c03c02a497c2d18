"""What is left out; what claims to be huge is refused before memory is taken, and a large image takes little."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from memory import outcomes_of
from synthetic_fits import starry_sky, write_compressed, write_drz

from hubbleclip.core.errors import ImageError
from hubbleclip.images.tiling import tile_file

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


def test_a_compressed_image_whose_table_has_a_damaged_column_name_is_rejected(tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "a_drz.fits", starry_sky((300, 300)))
    name, number = b"TTYPE4  = 'ZZERO   '", b"TTYPE4  =                    0"
    data = path.read_bytes()
    assert name in data
    path.write_bytes(data.replace(name.ljust(len(number)), number))
    with pytest.raises(ImageError, match="table of the compressed image is damaged"):
        tile_file(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "primary", "extensions"),
    [("a_drz.fits", {"NDRIZIM": 4}, {"WHT": np.float32}), ("a_flc.fits", {"NDRIZIM": 0}, {"DQ": np.int16})],
)
def test_a_worker_takes_at_most_half_more_than_the_science_extension(tmp_path, name, primary, extensions):
    data = np.tile(starry_sky((1000, 1000)), (3, 3))
    data[:40] = data[:, :40] = 0
    others = {key: np.full(data.shape, key == "WHT", dtype) for key, dtype in extensions.items()}
    large = write_drz(tmp_path / name, data, primary=primary, **others)
    small = write_drz(tmp_path / f"small_{name}", data[:400, :400], primary=primary)
    ((_, grown_kb),) = outcomes_of(small, large, size_px=256, views=("native", "overview"))
    assert 1024 * grown_kb <= 1.5 * data.nbytes
