"""Headers as bytes: their cards, the size of their data, and what is checked before astropy reads them."""

from __future__ import annotations

import io
from contextlib import nullcontext

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import refused_if

from hubbleclip.core.errors import ImageError
from hubbleclip.fits import header_guard
from hubbleclip.fits.cards import Cards, UnsoundError, end_of
from hubbleclip.fits.header_guard import check_header, check_start, load_all


def block_of(*cards: str, blocks: int = 1) -> bytes:
    return "".join(card.ljust(80) for card in cards).ljust(2880 * blocks).encode()


@pytest.mark.parametrize("place", [0, 1, 17, 35])
def test_the_end_card_is_found_at_any_card_of_a_block_and_nowhere_else(place):
    cards = ["COMMENT x"] * 36
    assert end_of(block_of(*cards)) is None
    assert end_of(block_of(*cards[:place], "END")) == 80 * place
    assert end_of(block_of(*cards[:place], "ENDING")) is None
    assert end_of(b" " + block_of(*cards[:place], "END")[:-1]) is None


def test_cards_are_those_before_the_end_with_a_value_and_the_first_of_a_repeated_one():
    first = ["A       = 1", "B       = 2 / two", "COMMENT = no", "HISTORY x", "A       = 3"]
    header = block_of(*first, *["C       = 4"] * 31) + block_of("D       =  'x'", "END", "E       = 5")
    found = Cards(header)
    assert set(found) == {b"A", b"B", b"COMMENT", b"C", b"D"}
    assert (found.value(b"A"), found.value(b"B"), found.value(b"C"), found.value(b"D")) == (b"1", b"2", b"4", b"x")
    assert found.value(b"Z") == b""
    assert len(found[b"A"]) == 70


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("+7", 7), ("-7", -7), ("7.0", None), ("7 8", None), ("x", None), ("'7'", 7), ("", None)],
)
def test_an_integer_is_one_or_a_reason(text, number):
    cards = Cards(block_of(f"A       = {text}", "END"))
    with pytest.raises(UnsoundError) if number is None else nullcontext():
        assert cards.integer(b"A") == cards.integer(b"A", 5) == number
    assert cards.integer(b"B", 5) == 5
    with pytest.raises(UnsoundError):
        cards.integer(b"B")


def size_of(is_primary: bool = False, **cards: object) -> int | None:
    """Size of the data that these cards declare; None where they are impossible."""
    header = block_of(*(f"{key:8}= {'T' if number is True else number}" for key, number in cards.items()), "END")
    try:
        return Cards(header).data_bytes(is_primary=is_primary)
    except UnsoundError:
        return None


def test_the_size_of_the_data_is_that_of_the_standard():
    image = {"BITPIX": -32, "NAXIS": 3, "NAXIS1": 5, "NAXIS2": 7, "NAXIS3": 2}
    assert size_of(True, **image) == size_of(False, **image) == 4 * 70
    assert size_of(True, **image, PCOUNT=9, GCOUNT=3) == 4 * 70
    assert size_of(False, **image, PCOUNT=9, GCOUNT=3) == 4 * 3 * (9 + 70)
    assert size_of(False, BITPIX=16, NAXIS=0) == 0
    groups = {"BITPIX": 16, "NAXIS": 3, "NAXIS1": 0, "NAXIS2": 7, "NAXIS3": 2, "PCOUNT": 9, "GCOUNT": 3}
    assert size_of(True, **groups, GROUPS=True) == 2 * 3 * (9 + 14)
    assert size_of(False, **groups, GROUPS=True) == 2 * 3 * 9
    assert size_of(True, **groups) == 0


def test_an_impossible_size_is_refused():
    wrong = {"BITPIX": (24, -16, -8), "NAXIS": (-1, 1000), "NAXIS1": (-1, 2**62), "PCOUNT": (-1,), "GCOUNT": (-1,)}
    for key, numbers in wrong.items():
        for number in numbers:
            assert size_of(False, **{"BITPIX": 64, "NAXIS": 1, "NAXIS1": 10} | {key: number}) is None, (key, number)


@pytest.mark.parametrize("bits", [8, 16, 32, 64, -32, -64])
def test_every_width_of_a_pixel_is_possible(bits):
    assert size_of(True, BITPIX=bits, NAXIS=1, NAXIS1=3) == abs(bits) // 8 * 3
    assert size_of(True, BITPIX=8, NAXIS=1, NAXIS1=2**63) == 2**63


def test_a_header_may_have_999_axes_and_no_more():
    axes = [f"NAXIS{n + 1:<3}= 1" for n in range(999)]
    header = block_of("BITPIX  = 8", "NAXIS   = 999", *axes, *[""] * (36 * 28 - 1001), "END", blocks=29)
    assert Cards(header).data_bytes(is_primary=True) == 1


# The guard


@pytest.mark.parametrize(
    ("card", "is_refused"),
    [
        ("NAXIS   = 999", False),
        ("NAXIS   = 1000", True),
        ("naxis   =   +01000", True),
        ("TFIELDS = 2000", True),
        ("TFIELDS = 999", False),
        ("PNAXIS  = 1000", False),
        ("NAXIS1  = 1000", False),
        (" NAXIS  = 1000", False),
    ],
)
def test_a_header_of_more_than_999_axes_or_columns_is_refused(card, is_refused):
    for header in (block_of(card, "END"), block_of(*["COMMENT"] * 40, card, "END", blocks=2)):
        with refused_if(is_refused, "unreadable: .*999"):
            assert check_header(io.BytesIO(header))


def test_a_header_is_checked_from_its_start_to_its_end_and_the_position_is_kept():
    content = block_of("NAXIS   = 1000", "END") + block_of("A       = 1", "END") + block_of("NAXIS   = 1000", "END")
    file = io.BytesIO(content)
    file.seek(77)
    assert check_header(file, 2880) and file.tell() == 77
    for start in (0, 5760):
        with pytest.raises(ImageError):
            check_header(file, start)
        assert file.tell() == 77
    assert not check_header(file, len(content))
    assert not check_header(io.BytesIO(block_of("A       = 1") * 2))
    assert not check_header(io.BytesIO(block_of(" END", "ENDING  = 1")))


def test_a_header_is_read_up_to_eight_megabytes():
    assert header_guard.MAX_HEADER_BYTES == 8 << 20
    num_blocks = (8 << 20) // 2880
    for num_before, is_ended in ((num_blocks - 1, True), (num_blocks, False)):
        assert check_header(io.BytesIO(block_of("A       = 1") * num_before + block_of("END"))) == is_ended


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"SIMPLX", "unreadable"), (block_of("SIMPLE  = T"), "truncated")]
)
def test_a_start_that_is_no_header_has_its_reason(content, reason):
    with pytest.raises(ImageError, match=f"^{reason}"):
        check_start(io.BytesIO(content))


@pytest.mark.parametrize(("num_replaced", "is_refused"), [(34, True), (33, False)])
def test_a_file_of_which_more_than_a_hundredth_was_replaced_is_refused(num_replaced, is_refused):
    start = block_of("SIMPLE  = T", "END")
    content = start + (b"\xef\xbf\xbd" * num_replaced).ljust(10_001 - len(start), b"x")
    assert len(content) == 10_001
    with refused_if(is_refused, "unreadable: 34 bytes of the file were replaced"):
        check_start(io.BytesIO(content))
    whole = content.ljust(4 * 2880, b"\xef")
    check_start(io.BytesIO(whole))  # a file of whole blocks was not decoded as text


@pytest.mark.parametrize("num_before", [0, 1 << 20])
def test_replaced_bytes_are_counted_in_the_whole_file(num_before):
    content = block_of("SIMPLE  = T", "END") + b"x" * num_before + b"\xef\xbf\xbd" * 40_000
    with pytest.raises(ImageError, match="unreadable: 40000 bytes"):
        check_start(io.BytesIO(content + b"x" * (len(content) % 2880 == 0)))


def test_every_extension_is_loaded_and_the_largest_number_is_allowed(monkeypatch, tmp_path):
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.ones(3)) for _ in range(3))]).writeto(tmp_path / "a.fits")
    for most, is_refused in ((4, False), (3, True)):
        monkeypatch.setattr(header_guard, "MAX_HDUS", most)
        refusal = refused_if(is_refused, "unreadable: .*more than 3 HDUs")
        with (tmp_path / "a.fits").open("rb") as file, fits.open(file, lazy_load_hdus=True) as hdus, refusal:
            load_all(hdus, file)
