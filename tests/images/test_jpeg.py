"""Tiles stored as JPEG."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from synthetic_fits import starry_sky, write_drz

from hubbleclip.errors import ImageError
from hubbleclip.files import sha256_bytes
from hubbleclip.images.jpeg import decode_picture
from hubbleclip.images.tiles import tile_file, to_tile_record
from hubbleclip.paths import Layout
from hubbleclip.records import Product
from hubbleclip.settings import TileSettings

SHA = "ab" * 32


@pytest.fixture()
def both(tmp_path):
    path = write_drz(tmp_path / "a.fits", starry_sky((512, 512)))
    return [tile_file(path, SHA, TileSettings(format=kind)).tiles[0] for kind in ("png", "jpeg")]


def test_a_jpeg_tile_shows_what_the_png_does_and_is_smaller(both):
    png, jpeg = both
    differ = np.abs(decode_picture(png.png).astype(int) - decode_picture(jpeg.png))
    assert differ.max() <= 12 and len(jpeg.png) < 0.8 * len(png.png)
    assert (jpeg.tile_id != png.tile_id, jpeg.png_sha256) == (True, sha256_bytes(jpeg.png))


def test_its_file_has_the_suffix_of_its_format(both, tmp_path):
    product = Product(
        uri="u", obs_id="o", proposal_id="p", file_name="a.fits", kind="DRZ", size_bytes=1, choice="", sha256=SHA
    )
    paths = [to_tile_record(tile, product, Layout(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)).path for tile in both]
    assert [path[-4:] for path in paths] == [".png", ".jpg"]


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError, match="unreadable"):
        decode_picture(b"GIF89a")
    with pytest.raises(ImageError, match="unreadable"):
        decode_picture(b"\xff\xd8broken")
