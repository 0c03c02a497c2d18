"""What a fetched file must be by its own structure, against astropy and Pillow where they know better."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from fuzz_worker import mutate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from hubbleclip.fits import integrity
from hubbleclip.fits.cards import UnsoundError
from hubbleclip.fits.integrity import content_problem

Judge = Callable[..., UnsoundError | None]
FEW, PATIENT = (settings(deadline=None, max_examples=number) for number in (15, 50))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    path = tmp_path_factory.mktemp("structure") / "x.part"

    def verdict(data: bytes, suffix: str = ".fits", listed_bytes: int | None = None) -> UnsoundError | None:
        path.write_bytes(data)
        return content_problem(path, suffix, listed_bytes)

    return verdict


def reason(problem: UnsoundError | None) -> str | None:
    return problem.reason if problem else None


def header(*cards: tuple[str, object], start: str = "SIMPLE  =                    T") -> bytes:
    lines = [start, *(f"{key:8}= {value!s:>20}" for key, value in cards), "END"]
    text = "".join(line.ljust(80) for line in lines)
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


def image_header(*sides: object, bits: int = 8, **cards: object) -> bytes:
    axes = [(f"NAXIS{i + 1}", side) for i, side in enumerate(sides)]
    return header(("BITPIX", bits), ("NAXIS", len(sides)), *axes, *cards.items())


def fits_bytes(kinds: tuple[str, ...] = ("image", "table"), seed: int = 0, *, checksum: bool = True) -> bytes:
    """A valid file: an empty primary with NEXTEND, and extensions of these kinds with random content."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 30, (rng.integers(1, 60), rng.integers(1, 60)))
    table = {"a": np.arange(9), "b": rng.random(9).astype("f4")}
    make = {
        "image": lambda: fits.ImageHDU(image.astype("f4")),
        "counts": lambda: fits.ImageHDU(image.astype("u2")),
        "empty": fits.ImageHDU,
        "table": lambda: fits.BinTableHDU.from_columns(
            [fits.Column(name, "D", array=cells) for name, cells in table.items()]
        ),
        "ascii": lambda: fits.TableHDU.from_columns([fits.Column("a", "I5", array=table["a"])]),
        "ragged": lambda: fits.BinTableHDU.from_columns(
            [fits.Column("a", "PJ()", array=np.array([np.arange(i) for i in range(5)], dtype=object))]
        ),
        "packed": lambda: fits.CompImageHDU(image.astype("i2")),
    }
    primary = fits.PrimaryHDU()
    primary.header["NEXTEND"] = len(kinds)
    buffer = io.BytesIO()
    fits.HDUList([primary, *(make[kind]() for kind in kinds)]).writeto(buffer, checksum=checksum)
    return buffer.getvalue()


WHOLE = fits_bytes()
KINDS = st.lists(
    st.sampled_from(["image", "counts", "empty", "table", "ascii", "ragged", "packed"]), min_size=1, max_size=4
)


def jpeg_bytes(**options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def astropy_calls_it_bad(data: bytes) -> bool:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with fits.open(io.BytesIO(data), checksum=True, disable_image_compression=True) as file:
            len(file)
    return any("verification failed" in str(warning.message) for warning in said)


# FITS: the walk


@FEW
@given(KINDS, st.integers(0, 1000), st.booleans())
def test_what_astropy_writes_is_whole(judge: Judge, kinds: list[str], seed: int, checksum: bool) -> None:
    data = fits_bytes(tuple(kinds), seed, checksum=checksum)
    assert judge(data) is None
    assert judge(gzip.compress(data, 1), ".fits.gz", None) is None


@FEW
@given(KINDS, st.integers(0, 1000))
def test_no_prefix_in_whole_blocks_is_whole(judge: Judge, kinds: list[str], seed: int) -> None:
    data = fits_bytes(tuple(kinds), seed)
    for end in range(2880, len(data), 2880):
        assert reason(judge(data[:end])) == "truncated"
        assert reason(judge(gzip.compress(data[:end], 1), ".fits.gz")) == "truncated"


@pytest.mark.parametrize("end", [0, 1, 80, 2879, 2881, len(WHOLE) - 2881, len(WHOLE) - 1])
def test_a_file_cut_inside_a_block_is_cut(judge: Judge, end: int) -> None:
    assert reason(judge(WHOLE[:end])) == "truncated"


def test_a_cut_between_two_hdus_is_seen_by_the_listed_size_where_nextend_is_absent(judge: Judge) -> None:
    whole = image_header() + WHOLE[2880:]
    cut = whole[: whole.index(b"XTENSION= 'BINTABLE'")]
    assert judge(cut) is None
    assert reason(judge(cut, ".fits", len(whole))) == "truncated"


def test_a_file_of_the_listed_size_may_keep_the_nextend_of_the_file_it_was_made_of(judge: Judge) -> None:
    cutout = image_header(10, NEXTEND=3) + bytes(2880)
    assert "0 of 3 extensions" in judge(cutout).words
    assert judge(cutout, ".fits", len(cutout)) is None


def test_more_extensions_than_nextend_are_no_fault(judge: Judge) -> None:
    extension = image_header(10).replace(b"SIMPLE  =                    T", b"XTENSION= 'IMAGE   '          ")
    assert judge(image_header(NEXTEND=1) + 2 * (extension + bytes(2880))) is None


@pytest.mark.parametrize("tail", [bytes(2880), b" " * 2880, WHOLE[:2880], b"\xff" * 5760])
def test_nothing_may_follow_the_last_hdu(judge: Judge, tail: bytes) -> None:
    assert reason(judge(WHOLE + tail)) == "damaged"


@pytest.mark.parametrize("sides", [(10**12,), (10**6, 10**6), (2**31, 2**31), (10**60,), (10**5,) * 200])
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_header_that_claims_too_much_is_refused_by_arithmetic(judge: Judge, sides: tuple, suffix: str) -> None:
    data = image_header(*sides, bits=-64) + bytes(2880)
    data = gzip.compress(data) if suffix == ".fits.gz" else data
    tracemalloc.start()
    problem = judge(data, suffix)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problem is not None
    assert peak_bytes < 3_000_000


def test_a_header_without_an_end_is_refused(judge: Judge) -> None:
    assert reason(judge(image_header().replace(b"END", b"   ") * 3)) == "truncated"
    endless = gzip.compress(b"SIMPLE  =".ljust(2880) + b" " * 40_000_000, 1)
    assert "no END card" in judge(endless, ".fits.gz").words


# FITS: the sums


@PATIENT
@given(KINDS, st.integers(0, 1000), st.integers(0, 2**31), st.integers(1, 255))
def test_sums_agree_with_astropy_on_changed_data(
    judge: Judge, kinds: list[str], seed: int, where: int, change: int
) -> None:
    data = bytearray(fits_bytes(tuple(kinds), seed))
    with fits.open(io.BytesIO(data), disable_image_compression=True) as file:
        spans = [(info["datLoc"], info["datSpan"]) for info in (hdu.fileinfo() for hdu in file)]
    place, span = max(spans, key=lambda item: item[1])
    if span:
        data[place + where % span] ^= change
    assert (reason(judge(bytes(data))) == "checksum") == astropy_calls_it_bad(bytes(data))


@PATIENT
@given(st.binary(min_size=1, max_size=9000))
@example(b"\0" * 2880)
@example(b"\xff" * 2880)
@example(b"\xff\xff\xff\xff")
def test_a_datasum_is_the_ones_complement_sum(judge: Judge, data: bytes) -> None:
    padded = data.ljust(-(-len(data) // 2880) * 2880, b"\0")
    slow = 0
    for i in range(0, len(padded), 4):
        slow += int.from_bytes(padded[i : i + 4], "big")
        slow = (slow & 0xFFFFFFFF) + (slow >> 32)
    assert judge(image_header(len(data), DATASUM=f"'{slow}'") + padded) is None
    assert judge(image_header(len(data), DATASUM=slow) + padded) is None
    assert reason(judge(image_header(len(data), DATASUM=f"'{slow + 1}'") + padded)) == "checksum"


@pytest.mark.parametrize("keyword", ["DATASUM", "CHECKSUM"])
def test_an_empty_sum_is_none_and_a_nonsensical_one_is_wrong(judge: Judge, keyword: str) -> None:
    assert judge(image_header(9, **{keyword: "'        '"}) + bytes(2880)) is None
    assert reason(judge(image_header(9, **{keyword: "'-1x'"}) + bytes(2880))) == "checksum"


def test_a_changed_header_differs_from_its_checksum(judge: Judge) -> None:
    assert reason(judge(WHOLE.replace(b"array data type", b"array date type", 1))) == "checksum"


# What comes in a file's place


@pytest.mark.parametrize(
    ("start", "code", "words"),
    [
        (b"", "truncated", "an empty file"),
        (b"<html><body>down</body></html>", "html", "a web page"),
        (b"\n <!DOCTYPE html>\n<html>", "html", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "html", "XML"),
        (b'{"status": "ERROR"}', "html", "JSON"),
        (b'[{"a": 1}]', "html", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "damaged", "Git LFS pointer"),
        (b"404 not found\n", "damaged", "a text"),
        (b"\0\0\0\0\0\0", "damaged", "does not begin"),
        (b"SIMPLE  = ", "truncated", "cut"),
    ],
)
def test_what_comes_in_place_of_a_file_is_named(judge: Judge, start: bytes, code: str, words: str) -> None:
    problem = judge(start)
    assert (problem.reason, words in problem.words) == (code, True), problem
    assert start.startswith(b"SIMPLE") or {str(judge(start, kind)) for kind in (".jpg", ".fits.gz")} == {str(problem)}


def test_a_file_of_another_kind_is_named(judge: Judge) -> None:
    assert "a gzip file came" in judge(gzip.compress(WHOLE)).words
    assert "a JPEG file came" in judge(jpeg_bytes()).words
    assert "a FITS file came" in judge(WHOLE, ".jpg").words
    assert "a web page came" in judge(gzip.compress(b"<html>"), ".fits.gz").words
    assert "an empty file came" in judge(gzip.compress(b""), ".fits.gz").words


def test_the_listed_size_must_be_met(judge: Judge) -> None:
    assert judge(WHOLE, ".fits", len(WHOLE)) is None
    assert reason(judge(WHOLE, ".fits", len(WHOLE) + 1)) == "truncated"
    assert reason(judge(WHOLE, ".fits", len(WHOLE) - 1)) == "damaged"


# gzip


@pytest.mark.parametrize("end", [2, 9, 30, 500, -9, -1])
def test_a_cut_gzip_file_is_cut(judge: Judge, end: int) -> None:
    assert reason(judge(gzip.compress(WHOLE)[:end], ".fits.gz")) == "truncated"


def test_a_gzip_file_may_hold_members_and_end_in_zeros_but_in_nothing_else(judge: Judge) -> None:
    members = gzip.compress(WHOLE[:4000]) + gzip.compress(WHOLE[4000:])
    assert judge(members + bytes(100), ".fits.gz") is None
    assert reason(judge(members + b"more", ".fits.gz")) == "damaged"
    assert reason(judge(members + gzip.compress(b"more"), ".fits.gz")) == "damaged"


def test_a_gzip_file_whose_own_checksum_fails_is_damaged(judge: Judge) -> None:
    data = bytearray(gzip.compress(WHOLE))
    data[-6] ^= 1
    assert reason(judge(bytes(data), ".fits.gz")) == "damaged"


def bomb(start: bytes, num_mb: int) -> bytes:
    """A small gzip file that holds `start` and then this many megabytes of zeros."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(start) + b"".join(packer.compress(bytes(1_000_000)) for _ in range(num_mb)) + packer.flush()


@pytest.mark.parametrize("claim", [10, 2_000_000_000])
def test_a_gzip_bomb_is_refused_before_it_is_unpacked(judge: Judge, claim: int) -> None:
    data = bomb(image_header(claim), 20)
    assert reason(judge(data[: len(data) // 2], ".fits.gz")) == "damaged", "it was unpacked to where it is cut"


def test_an_empty_frame_that_packs_well_is_no_bomb(judge: Judge) -> None:
    assert judge(bomb(image_header(2_880_000), 0) + gzip.compress(bytes(2_880_000)), ".fits.gz") is None


# Limits


@pytest.mark.parametrize("suffix", [".fits", ".fit", "", ".other"])
def test_any_suffix_but_those_of_gzip_and_jpeg_means_fits(judge: Judge, suffix: str) -> None:
    assert judge(WHOLE, suffix) is content_problem(WHOLE, suffix) is None
    assert reason(judge(gzip.compress(WHOLE), suffix)) == "damaged"
    assert judge(gzip.compress(WHOLE), f"{suffix}.gz") is None
    assert reason(judge(WHOLE, f"{suffix}.gz")) == "damaged"


def test_a_gzip_file_may_unpack_to_a_gigabyte(judge: Judge) -> None:
    blocks = 10**9 // 2880 - 1
    assert reason(judge(gzip.compress(image_header(blocks * 2880)), ".fits.gz")) == "truncated"
    assert reason(judge(gzip.compress(image_header(blocks * 2880 + 1)), ".fits.gz")) == "damaged"


def test_a_large_gzip_file_may_unpack_to_two_hundred_times_its_size(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "MAX_UNPACKED_BYTES", 2880)
    noise = np.random.default_rng(0).bytes(3000)
    limit = 200 * len(gzip.compress(image_header(600_000) + noise))
    assert reason(judge(gzip.compress(image_header(limit - 3 * 2880) + noise), ".fits.gz")) == "truncated"
    assert reason(judge(gzip.compress(image_header(limit + 2880) + noise), ".fits.gz")) == "damaged"


@pytest.mark.parametrize("piece", [4, 2880, 8000])
def test_sums_of_more_than_a_piece_are_right(judge: Judge, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(integrity, "SUMMED_BYTES", piece)
    assert judge(WHOLE) is None
    for place in (5000, 7000, 9000, len(WHOLE) - 1):
        assert reason(judge(WHOLE[:place] + bytes([WHOLE[place] ^ 4]) + WHOLE[place + 1 :])) == "checksum"


# JPEG


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"comment": b"x"},
        *({"exif": b"Exif\0\0" + one} for one in (b"\xff\xd9", jpeg_bytes())),
    ],
)
def test_a_jpeg_is_checked_to_its_end(judge: Judge, options: dict) -> None:
    data = jpeg_bytes(**options)
    assert judge(data, ".jpg") is None
    assert judge(data + bytes(5000), ".jpeg") is None
    assert reason(judge(data + b"more", ".jpg")) == "damaged"
    assert all(reason(judge(data[:end], ".jpg")) is not None for end in range(0, len(data), 7))
    assert {reason(judge(data[:-end], ".jpg")) for end in range(1, 300, 7)} == {"truncated"}


@pytest.mark.parametrize(("height", "width"), [(60_001, 10), (10, 60_001), (0, 10), (10, 0)])
def test_a_jpeg_that_claims_an_impossible_size_is_refused(judge: Judge, height: int, width: int) -> None:
    data = bytearray(jpeg_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    problem = judge(bytes(data), ".jpg")
    assert reason(problem) == "damaged" and (0 in {height, width} or f"{width} x {height}" in problem.words)
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    assert judge(bytes(data), ".jpg") is None


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\0\4xx", b"\xff\xd8", b"\xff\xda\0\2\1\2\3", b"abc", b"\xff" * 100_000]
)
def test_a_jpeg_without_an_image_is_refused(judge: Judge, body: bytes) -> None:
    assert reason(judge(b"\xff\xd8\xff\xfe\0\2" + body + b"\xff\xd9", ".jpg")) == "damaged"


MUTATED = {".fits": WHOLE, ".fits.gz": gzip.compress(WHOLE, mtime=0), ".jpg": jpeg_bytes()}


@PATIENT
@given(st.sampled_from([*MUTATED]), st.floats(0, 0.9), st.binary(min_size=1, max_size=6000))
def test_random_bytes_behind_a_sound_beginning_never_pass(judge: Judge, suffix: str, share: float, data: bytes) -> None:
    whole = MUTATED[suffix]
    assert judge(whole[: int(share * len(whole))] + data, suffix) is not None


@PATIENT
@given(st.sampled_from([*MUTATED]), st.integers(0, 2**32))
def test_mutated_files_never_raise(judge: Judge, suffix: str, number: int) -> None:
    assert isinstance(judge(mutate(MUTATED[suffix], number), suffix), UnsoundError | None)
