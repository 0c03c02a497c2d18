"""Real press images: each gives a tile whose pixels are those that Pillow decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubbleclip.config.settings import TileSettings, read_settings
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.tiling import tile_file

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")]
SETTINGS = TileSettings(size_px=256, views=("native",))
PICTURES = sorted(DATA.glob("esahubble/images/*.jpg"))[::8]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_each_press_image_gives_tiles_of_its_own_pixels(path: Path) -> None:
    with Image.open(path) as image:
        truth = np.pad(np.array(image.convert("L"))[::-1], 256)
    result = tile_file(path, "0" * 64, SETTINGS)
    assert result.tiles
    for tile in result.tiles:
        top, left = tile.y0 + 256, tile.x0 + 256
        shown, own = decode_own_png(tile.encoded)[::-1], truth[top : top + 256, left : left + 256]
        inside = own > 0
        np.testing.assert_array_equal(shown[inside], own[inside])


def test_a_real_total_preview_is_one_tile_of_the_paper_without_its_white_corners() -> None:
    path = DATA / "mast/hst_15354_01_acs_wfc_total_jdi601_drc.jpg"
    (tile,) = tile_file(path, "0" * 64, read_settings("paper").tiles).tiles
    shown = decode_own_png(tile.encoded)
    assert (shown.shape, tile.view) == ((512, 512), "overview")
    assert 0.8 < tile.valid_share < 0.9
    assert np.mean(shown >= 250) < 0.01
