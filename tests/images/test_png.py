from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hubbleclip.errors import ImageError
from hubbleclip.images.png import decode_png, encode_png
from hubbleclip.images.sheet import write_sheet


def test_levels_come_back_and_other_readers_see_8_bit_grey(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (33, 57)).astype(np.uint8)
    data = encode_png(levels)
    np.testing.assert_array_equal(decode_png(data), levels)
    (tmp_path / "a.png").write_bytes(data)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("L", (57, 33))


def test_the_same_levels_give_the_same_bytes_whatever_their_memory_layout():
    levels = np.arange(60 * 50, dtype=np.uint8).reshape(60, 50)
    assert encode_png(levels) == encode_png(np.asfortranarray(levels)) == encode_png(levels.copy())


@pytest.mark.parametrize("data", [b"", b"JFIF", encode_png(np.zeros((9, 9), np.uint8))[:40]])
def test_what_is_no_png_is_refused(data):
    with pytest.raises(ImageError):
        decode_png(data)


def test_a_sheet_has_a_cell_a_tile(tmp_path):
    tiles = [np.full((64, 64), 40 * k, np.uint8) for k in range(5)]
    write_sheet(tiles, [f"tile {k} \u03b1" for k in range(5)], tmp_path / "s.png", columns=2, cell_px=64)
    sheet = decode_png((tmp_path / "s.png").read_bytes())
    assert sheet.shape == (3 * (64 + 14 + 4) + 4, 2 * 68 + 4)
    assert [sheet[4 + k // 2 * 82 + 40, 4 + k % 2 * 68 + 30] for k in range(5)] == [0, 40, 80, 120, 160]
