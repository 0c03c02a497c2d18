"""The filter of a FITS download: what it skips, what it keeps, and how it resumes after an interruption."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.fits import sieve as sieving
from hubbleclip.fits.cards import UnsoundError
from hubbleclip.fits.sieve import FitsSieve, filtered

SMALL = 30_000


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieving, "MIN_SKIP_BYTES", SMALL)


def fits_bytes(*names: str, num_comments: int = 0) -> bytes:
    """A file with an extension per name, of 36000 bytes in 13 blocks, with numbers of their own."""
    hdus: list = [fits.PrimaryHDU()]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).normal(5, 1, (90, 100)).astype(np.float32)
        header = fits.Header([("COMMENT", f"{k}") for k in range(num_comments)])
        hdus.append(fits.ImageHDU(pixels, header, name=name, ver=1 + number // 3))
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file, checksum=True)
    return file.getvalue()


EXPOSURE = fits_bytes("SCI", "ERR", "DQ", "SCI", "ERR", "DQ")
BLOCKS = 13 * 2880


def test_a_skipped_extension_keeps_its_index_name_and_version_and_the_others_their_bytes() -> None:
    small, sieve = filtered(EXPOSURE)
    assert (sieve.num_skipped, len(small)) == (2 * BLOCKS, len(EXPOSURE) - 2 * BLOCKS)
    assert (sieve.num_pixels, sieve.offset, sieve.is_complete) == (2 * 9000, len(EXPOSURE), True)
    with fits.open(io.BytesIO(EXPOSURE)) as before, fits.open(io.BytesIO(small), checksum=True) as after:
        assert [(hdu.name, hdu.ver) for hdu in after] == [(hdu.name, hdu.ver) for hdu in before]
        for old, new in zip(before[1:], after[1:], strict=True):
            if old.name == "ERR":
                assert (new.data, new.header["NAXIS"], new.header["NOTREAD"]) == (None, 0, BLOCKS)
                lost = set(old.header) - set(new.header)
                assert lost == {"NAXIS1", "NAXIS2", "CHECKSUM", "DATASUM"}
            else:
                np.testing.assert_array_equal(new.data, old.data)
                assert str(new.header) == str(old.header)


@pytest.mark.parametrize(("num_comments", "num_blocks"), [(0, 1), (26, 2)])  # without NAXIS1 and the sums, 26 fit one
def test_a_header_of_a_skipped_extension_is_as_long_as_before_and_ends_in_an_end_card(num_comments, num_blocks) -> None:
    whole = fits_bytes("ERR", "SCI", num_comments=num_comments)
    small, _ = filtered(whole)
    header = small[2880 : 2880 * (1 + num_blocks)]
    assert len(small) == len(whole) - BLOCKS == 2880 * (1 + 2 * num_blocks) + BLOCKS
    restored = FitsSieve()
    restored.resume(io.BytesIO(small), len(small))
    assert restored.offset == len(whole)
    with fits.open(io.BytesIO(small)) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "ERR", "SCI"]
    assert header.rstrip()[-3:] == b"END" and len(header.rstrip()) % 80 == 3
    assert header.count(b"NAXIS   =                    0") == 1


SKIPPED = ["CTX", "CON", "ERR", "SAMP", "TIME", "AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "err"]
KEPT = ["SCI", "DQ", "WHT", "WCSDVARR", "D2IMARR", "ERRORS", "VAR_"]


@pytest.mark.parametrize("name", SKIPPED + KEPT)
def test_extensions_are_skipped_by_their_names(name: str) -> None:
    whole = fits_bytes(name)
    assert (filtered(whole)[0] != whole) == (name in SKIPPED)


@pytest.mark.parametrize("num_missing", [0, 1])
def test_an_extension_is_skipped_from_the_least_size_on(monkeypatch: pytest.MonkeyPatch, num_missing: int) -> None:
    monkeypatch.setattr(sieving, "MIN_SKIP_BYTES", BLOCKS + num_missing)
    whole = fits_bytes("SCI", "ERR")
    assert filtered(whole)[1].num_skipped == (0 if num_missing else BLOCKS)


@pytest.mark.parametrize("name", ["ERR", "SCI"])
def test_a_table_of_the_name_of_a_skipped_image_is_kept(name: str) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.ones(9000))], name=name)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
    kept, sieve = filtered(file.getvalue())
    assert (kept, sieve.num_pixels) == (file.getvalue(), 0)


@pytest.mark.parametrize("step", [1, 79, 2880, 5000, 10**9])
def test_the_pieces_in_which_the_bytes_are_fed_do_not_matter(step: int) -> None:
    whole = EXPOSURE if step > 1 else fits_bytes("SCI", "ERR")
    sieve, written = FitsSieve(), b""
    while sieve.offset < len(whole):
        start, piece = sieve.offset, whole[sieve.offset : sieve.offset + step]
        assert not sieve.must_skip
        written += b"".join(sieve.feed(piece))
        assert start < sieve.offset <= start + len(piece)
        assert sieve.must_skip or sieve.offset == start + len(piece)
        sieve.skip()
    assert written == filtered(whole)[0]


def test_a_file_is_complete_at_the_end_of_each_extension_alone() -> None:
    ends = {2880, 2 * 2880 + BLOCKS, 3 * 2880 + 2 * BLOCKS}
    for end in range(0, 3 * 2880 + 2 * BLOCKS + 1, 1440):
        sieve = FitsSieve()
        while sieve.offset < end:
            list(sieve.feed(EXPOSURE[sieve.offset : end]))
            sieve.skip()
        # the data of ERR, the second extension, are skipped, so it is complete after its header
        is_skipped = sieve.offset == 3 * 2880 + 2 * BLOCKS
        assert sieve.is_complete == (end in ends or is_skipped)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.3, 0.45, 0.5, 0.7, 0.9, 1.0])
def test_a_sieve_goes_on_after_what_it_has_written(share: float) -> None:
    whole, sieve, written = filtered(EXPOSURE)[0], FitsSieve(), b""
    while sieve.offset < share * len(EXPOSURE):
        written += b"".join(sieve.feed(EXPOSURE[sieve.offset : sieve.offset + 3000]))
        sieve.skip()
    restored = FitsSieve()
    restored.resume(io.BytesIO(written), len(written))
    restored.skip()
    kept = (restored.offset, restored.num_skipped, restored.num_pixels)
    assert kept == (len(written) + sieve.num_skipped, sieve.num_skipped, sieve.num_pixels)
    while restored.offset < len(EXPOSURE):
        written += b"".join(restored.feed(EXPOSURE[restored.offset :]))
        restored.skip()
    assert written == whole


@pytest.mark.timeout(10)
def test_a_partial_file_that_ends_within_a_header_or_too_soon_is_refused() -> None:
    written, long_header = filtered(EXPOSURE)[0], fits_bytes("SCI", num_comments=40)
    cut = [(written, end, end) for end in (100, 2880 + 100)] + [(long_header, 2 * 2880, 2 * 2880)]
    shortened = [(written, end, 4 * 2880) for end in (0, 2880, 3 * 2880)]
    for whole, end, size in cut + shortened:
        with pytest.raises(UnsoundError, match="ends within a header"):
            FitsSieve().resume(io.BytesIO(whole[:end]), size)


@pytest.mark.parametrize(
    "start",
    [b"<html>", b"XTENSION= 'IMAGE   '", b"SIMPLX", EXPOSURE[:2880] + EXPOSURE[:2880], EXPOSURE[:2880] + bytes(9)],
)
def test_what_is_no_header_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(UnsoundError, match="not those of a FITS header"):
        list(FitsSieve().feed(start))


def test_a_header_that_does_not_end_is_refused_at_the_most_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieving, "MAX_HEADER_BYTES", 3 * 2880)
    endless = b"SIMPLE  =".ljust(80) * 36
    list(FitsSieve().feed(endless * 3))
    with pytest.raises(UnsoundError, match="no END card"):
        list(FitsSieve().feed(endless * 4))
    with pytest.raises(UnsoundError, match="no END card"):
        FitsSieve().resume(io.BytesIO(endless * 5), 5 * 2880)
