"""A grey JPEG, whole or at half its size: every level as Pillow's libjpeg makes it, or left to Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hubbleclip.images.grey_jpeg import read_frame, read_grey
from hubbleclip.images.jpeg_blocks import ZIGZAG, code_of, unstuff


def grainy(seed: int, height: int, width: int, noise: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    smooth_yx = np.add.outer(np.linspace(0, 90, height), np.linspace(0, 60, width))
    smooth_yx[rng.random((height, width)) > 0.99] += 150
    return np.clip(smooth_yx + rng.normal(0, noise, (height, width)), 0, 255).astype(np.uint8)


def packed(levels_yx: NDArray[np.uint8], mode: str = "L", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels_yx).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def pillows_own(data: bytes, shrink: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (image.width // shrink, image.height // shrink))
        return np.array(image)


def own(data: bytes, shrink: int) -> NDArray[np.uint8] | None:
    frame = read_frame(data)
    return None if frame is None else read_grey(data, frame, shrink)


GREY = packed(grainy(1, 72, 88, 20), quality=80)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000), height=st.integers(2, 90), width=st.integers(2, 90),
    noise=st.sampled_from([0, 2, 15, 80, 400]), quality=st.integers(1, 100), optimize=st.booleans(),
    shrink=st.sampled_from([1, 2]),
)  # fmt: skip
def test_every_level_is_libjpegs(
    seed: int, height: int, width: int, noise: float, quality: int, optimize: bool, shrink: int
) -> None:
    data = packed(grainy(seed, height, width, noise), quality=quality, optimize=optimize)
    levels_yx = own(data, shrink)
    assert levels_yx is not None
    np.testing.assert_array_equal(levels_yx, pillows_own(data, shrink))


def test_zeros_after_the_end_do_not_matter() -> None:
    np.testing.assert_array_equal(own(GREY + bytes(1000), 1), pillows_own(GREY, 1))


@pytest.mark.parametrize(
    "data",
    [
        packed(grainy(1, 72, 88, 20), "RGB"),
        packed(grainy(1, 72, 88, 20), progressive=True),
        packed(grainy(1, 72, 88, 20), restart_marker_blocks=3),
        GREY.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x08"),
        GREY[:-2],
        GREY[:400] + b"\xff\xd9",
        GREY[:-12] + b"\xff\xd9",
        GREY[:-2] + b"ab\xff\xd9",
        GREY[:-20] + b"\xff\xd0" + GREY[-18:],
        b"\xff\xd8\xff\xd9",
        b"",
    ],
    ids=["colour", "progressive", "restarts", "extended", "end", "cut", "short", "longer", "marker", "bare", "empty"],
)
def test_what_is_out_of_the_ordinary_is_left(data: bytes) -> None:
    assert own(data, 1) is None


@settings(max_examples=300, deadline=None)
@given(at=st.integers(2, len(GREY) - 1), change=st.binary(min_size=1, max_size=3), num_gone=st.integers(0, 3))
def test_a_damaged_file_is_left_or_gives_a_picture_of_the_size_that_it_claims(
    at: int, change: bytes, num_gone: int
) -> None:
    data = GREY[:at] + change + GREY[at + num_gone :]
    levels_yx = own(data, 1)
    frame = data.find(b"\xff\xc0\0\x0b\x08")
    if levels_yx is not None:
        sides = [int.from_bytes(data[frame + i : frame + i + 2], "big") for i in (5, 7)]
        assert levels_yx.shape == tuple(sides)


@pytest.mark.parametrize("symbols", [b"", b"\1\2\3"], ids=["fewer", "more"])
def test_a_table_with_a_wrong_number_of_symbols_is_no_code(symbols: bytes) -> None:
    assert code_of(bytes([0, 2]) + bytes(14) + symbols, False) is None


def test_a_table_of_more_codes_than_there_are_is_no_code() -> None:
    assert code_of(bytes([3]) + bytes(15) + b"\1\2\3", False) is None


def test_the_order_of_a_block_is_the_standards() -> None:
    assert ZIGZAG[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert ZIGZAG[-4:].tolist() == [47, 55, 62, 63] and sorted(ZIGZAG) == list(range(64))


@given(st.lists(st.sampled_from([0, 1, 254, 255]), max_size=40).map(bytes))
def test_bits_come_without_the_zeros_behind_255(data: bytes) -> None:
    words = np.zeros(len(data) // 4 + 2, np.uint32)
    num_bits = unstuff(np.frombuffer(data, np.uint8), words)
    bare = data.replace(b"\xff\0", b"\xff")
    if bare.count(b"\xff") == data.count(b"\xff\0"):
        assert num_bits == 8 * len(bare)
        assert words.astype(">u4").tobytes()[: len(bare)] == bare
    else:
        assert num_bits == -1
