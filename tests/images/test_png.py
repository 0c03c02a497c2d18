from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hubbleclip.images import encode
from hubbleclip.images.encode import decode_own_png, encode_png, with_texts
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet


def noisy_levels(seed, shape_yx):
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(30, rng.choice([0, 5, 80]), shape_yx), 0, 255).astype(np.uint8)


def read_by_pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        return np.array(image)


def read_by_torchvision(data):
    torch, io_ = pytest.importorskip("torch"), pytest.importorskip("torchvision.io")
    return io_.decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8)).numpy()[0]


def read_by_opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("read", [decode_own_png, read_by_pillow, read_by_torchvision, read_by_opencv])
@pytest.mark.parametrize("shape_yx", [(1, 1), (33, 57), (256, 256), (700, 3)])
def test_every_reader_sees_the_levels(read, shape_yx):
    levels = noisy_levels(1, shape_yx)
    np.testing.assert_array_equal(read(encode_png(levels)), levels)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 300), st.integers(1, 300))
def test_levels_of_any_shape_come_back_by_the_fast_decoder_and_by_pillow(seed, height, width):
    levels = noisy_levels(seed, (height, width))
    data = encode_png(levels)
    np.testing.assert_array_equal(decode_own_png(data), levels)
    np.testing.assert_array_equal(read_by_pillow(data), levels)


def test_the_same_levels_give_the_same_bytes_whatever_their_memory_layout():
    levels = np.arange(60 * 50, dtype=np.uint8).reshape(60, 50)
    assert encode_png(levels) == encode_png(np.asfortranarray(levels)) == encode_png(levels.copy())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 300), st.integers(1, 300))
def test_the_bytes_are_those_of_the_standard_librarys_zlib(seed, height, width):
    levels = noisy_levels(seed, (height, width))
    differences = np.diff(levels, axis=0, prepend=np.zeros((1, width), np.uint8))
    rows = np.pad(differences, ((0, 0), (1, 0)), constant_values=encode.FILTER_UP).tobytes()
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    assert deflate.compress(rows) + deflate.flush() in encode_png(levels)


def test_the_fast_decoder_accepts_no_damaged_png():
    whole = encode_png(noisy_levels(3, (64, 64)))
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        assert decode_own_png(bytes(damaged)) is None


def test_a_sound_chunk_of_other_data_than_rows_with_the_filter_up_is_left_to_pillow():
    whole = encode_png(noisy_levels(3, (64, 64)))
    start = whole.index(b"IDAT")
    rows = zlib.decompress(whole[start + 4 : -16])
    others = rows[:-1], rows + b"\0", b"\1" + rows[1:], rows[:-65] + b"\1" + rows[-64:]
    streams = [zlib.compress(part) for part in others]
    for packed in (*streams, zlib.compress(rows)[:-9], b"\xff" * 5000):
        chunk = struct.pack(">I4s", len(packed), b"IDAT") + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
        assert decode_own_png(whole[: start - 4] + chunk + whole[-12:]) is None
    assert decode_own_png(whole) is not None


def test_a_claim_of_more_rows_than_there_are_is_refused_without_taking_memory():
    whole = bytearray(encode_png(noisy_levels(3, (64, 64))))
    whole[16:24] = struct.pack(">II", 1 << 14, 1 << 13)
    whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
    assert decode_own_png(bytes(whole)) is None


def test_the_blackest_png_is_within_what_deflate_can_expand_to():
    black = np.zeros((4096, 4096), np.uint8)
    best = zlib.compress(bytes(4096 * 4097), 9)
    assert 0.99 < 4096 * 4097 / len(best) / encode.MAX_EXPANSION < 1
    np.testing.assert_array_equal(decode_own_png(encode_png(black)), black)


def test_a_sheet_has_a_cell_per_tile():
    tiles = [Image.new("L", (64, 64), 40 * k) for k in range(5)]
    sheet = np.array(render_sheet(tiles, [f"tile {k} \u03b1" for k in range(5)], columns=2, cell_px=64))
    assert sheet.shape == (3 * (64 + 14 + 4) + 4, 2 * 68 + 4)
    assert [sheet[4 + k // 2 * 82 + 40, 4 + k % 2 * 68 + 30] for k in range(5)] == [0, 40, 80, 120, 160]


def chunks_of(png):
    """Type and content of each chunk, whose length and checksum must be right."""
    place, found = 8, []
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        body = png[place + 8 : place + 8 + length]
        assert png[place + 8 + length : place + 12 + length] == struct.pack(">I", zlib.crc32(kind + body))
        found.append((kind, body))
        place += 12 + length
    return found


def test_texts_are_added_before_the_end_and_change_nothing_else():
    plain = encode_png(noisy_levels(1, (33, 57)))
    png = with_texts(plain, {"target": "M 31", "note": "5 \u03bcm"})
    *before, end = chunks_of(plain)
    assert chunks_of(png) == [*before, (b"tEXt", b"target\0M 31"), (b"tEXt", b"note\0005 ?m"), end]
    with Image.open(io.BytesIO(png)) as image:
        assert image.text == {"target": "M 31", "note": "5 ?m"}
    np.testing.assert_array_equal(read_by_pillow(png), noisy_levels(1, (33, 57)))
    assert with_texts(plain, {}) == plain


def test_a_label_is_cut_at_the_width_of_its_cell():
    sheet = np.array(render_sheet([Image.new("L", (8, 8))], ["W" * 100], columns=2, cell_px=60))
    labels = np.flatnonzero((sheet[4:18] > 100).any(axis=0))
    longer = np.array(render_sheet([Image.new("L", (8, 8))], ["W" * 10], columns=2, cell_px=60))
    assert labels[0] >= 4 and labels[-1] < 4 + 10 * 12
    np.testing.assert_array_equal(sheet, longer)
