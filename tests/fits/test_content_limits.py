"""Limits of the checks of a file's structure, and content that lies on either side of them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.fits import integrity
from hubbleclip.fits.integrity import content_problem


def whole() -> bytes:
    file = io.BytesIO()
    image = fits.ImageHDU(np.random.default_rng(0).normal(5, 1, (40, 50)).astype(np.float32))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(file, checksum=True)
    return file.getvalue()


def claim(num_bytes: int) -> bytes:
    lines = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", f"NAXIS1  = {num_bytes}", "END"]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def reason(data: bytes, suffix: str, listed_bytes: int | None = None) -> str | None:
    problem = content_problem(data, suffix, listed_bytes)
    return problem.reason if problem else None


@pytest.mark.parametrize("suffix", [".fits", ".fit", "", ".other"])
def test_any_suffix_but_those_of_gzip_and_jpeg_means_fits(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "x.part").write_bytes(whole())
    assert content_problem(tmp_path / "x.part", suffix) is content_problem(whole(), suffix) is None
    assert reason(gzip.compress(whole()), suffix) == "damaged"


@pytest.mark.parametrize("suffix", [".fits.gz", ".fit.gz"])
def test_a_gzip_file_is_unpacked(suffix: str) -> None:
    assert reason(gzip.compress(whole()), suffix) is None
    assert reason(whole(), suffix) == "damaged"


def test_a_gzip_file_may_unpack_to_a_gigabyte() -> None:
    blocks = 10**9 // 2880 - 1
    assert reason(gzip.compress(claim(blocks * 2880)), ".fits.gz") == "truncated"
    assert reason(gzip.compress(claim(blocks * 2880 + 1)), ".fits.gz") == "damaged"


def test_a_large_gzip_file_may_unpack_to_two_hundred_times_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "MAX_UNPACKED_BYTES", 2880)
    noise = np.random.default_rng(0).bytes(3000)
    limit = 200 * len(gzip.compress(claim(600_000) + noise))
    assert reason(gzip.compress(claim(limit - 3 * 2880) + noise), ".fits.gz") == "truncated"
    assert reason(gzip.compress(claim(limit + 2880) + noise), ".fits.gz") == "damaged"


@pytest.mark.parametrize("place", [-1, 0, 1])
def test_sums_of_more_than_a_piece_are_right(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    for piece in (4, 2880, 8000):
        monkeypatch.setattr(integrity, "SUMMED_BYTES", piece)
        data = bytearray(whole())
        assert reason(bytes(data), ".fits") is None
        data[place * 2000 + 7000] ^= 4
        assert reason(bytes(data), ".fits") == "checksum"
