"""Previews: a JPEG becomes tiles of its own pixels, or a reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.core.layout import SUFFIXES
from hubbleclip.images import preview
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.preview import border_level, read_luminance, read_previews, white_border
from hubbleclip.images.tiling import READERS, tile_file

SHA = "cd" * 32
SETTINGS = TileSettings(size_px=128, min_side_px=32, views=("native",))


def starry_levels(height: int, width: int, sky: int = 20) -> np.ndarray:
    rng = np.random.default_rng(3)
    levels = np.full((height, width), sky, np.uint8)
    for y, x in rng.integers(4, (height - 4, width - 4), (1 + height * width // 1000, 2)):
        levels[y - 2 : y + 2, x - 2 : x + 2] = rng.integers(120, 255)
    return levels


def write_jpeg(path: Path, levels: np.ndarray, mode: str = "L") -> Path:
    Image.fromarray(levels).convert(mode).save(path, "JPEG", quality=90)
    return path


def packed(levels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pillows_own(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("L"))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_pixels_of_every_tile_are_the_previews_own(tmp_path: Path, mode: str) -> None:
    path = write_jpeg(tmp_path / "a.jpg", starry_levels(256, 280), mode)
    truth = pillows_own(path)
    tiles = tile_file(path, SHA, SETTINGS).tiles
    assert [(tile.y0, tile.x0) for tile in tiles] == [(0, 12), (0, 140), (128, 12), (128, 140)]
    for tile in tiles:
        top = 256 - tile.y0 - 128
        np.testing.assert_array_equal(decode_own_png(tile.encoded), truth[top : top + 128, tile.x0 : tile.x0 + 128])


@given(seed=st.integers(0, 2**32 - 1), num_levels=st.sampled_from([1, 2, 5, 256]))
def test_the_borders_level_is_the_lesser_of_two_medians(seed: int, num_levels: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, num_levels, tuple(rng.integers(1, 9, 2)), dtype=np.uint8)
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    assert border_level(levels) == min(np.sort(some.ravel())[(some.size - 1) // 2] for some in (border, levels))


def test_a_preview_is_recognised_by_the_archives_name_where_the_file_has_another(tmp_path: Path) -> None:
    path = write_jpeg(tmp_path / "content", starry_levels(128, 128))
    assert len(tile_file(path, SHA, SETTINGS, "hst_1_total_drz.JPG").tiles) == 1


def test_a_fits_file_under_the_name_of_a_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"SIMPLE  =                    T")
    with pytest.raises(ImageError, match="unreadable: not a JPEG file but a FITS file: correct its name"):
        tile_file(tmp_path / "a.jpg", SHA, SETTINGS)


def test_every_suffix_has_a_reader() -> None:
    assert set(READERS) == set(SUFFIXES)


@pytest.mark.parametrize("content", [b"", b"<html>down</html>", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0"])
def test_what_is_no_jpeg_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match="unreadable"):
        read_previews(tmp_path / "a.jpg", 10**6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(share=st.floats(0, 0.98))
def test_a_cut_preview_is_refused_wherever_it_was_cut(tmp_path: Path, share: float) -> None:
    data = write_jpeg(tmp_path / "a.jpg", starry_levels(128, 128)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="unreadable|truncated"):
        read_previews(tmp_path / "cut.jpg", 10**6)


def test_the_size_is_judged_by_the_settings_and_not_by_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(starry_levels(64, 64))
    truth = read_luminance(data, 64 * 64)[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    np.testing.assert_array_equal(read_luminance(data, 64 * 64)[0], truth)
    with pytest.raises(ImageError, match="too_large: 64 x 64 pixels, more than 4095"):
        read_luminance(data, 64 * 64 - 1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_that_needs_too_much_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = write_jpeg(tmp_path / "a.jpg", starry_levels(640, 640), mode)
    needed = 640 * 640 * (preview.BYTES_PER_PIXEL + preview.BYTES_PER_COEFFICIENT * len(mode))
    monkeypatch.setattr(preview, "JPEG_BYTES", needed)
    read_luminance(path, 10**7)
    monkeypatch.setattr(preview, "JPEG_BYTES", needed - 1)
    with pytest.raises(ImageError, match="too_large"):
        read_luminance(path, 10**7)
    read_luminance(path, 10**7, enough_px=100)


def test_a_smaller_picture_is_decoded_where_that_is_enough(tmp_path: Path) -> None:
    path = write_jpeg(tmp_path / "a.jpg", starry_levels(1200, 1600), "RGB")
    small, shrink = read_luminance(path, 10**7, enough_px=128)
    assert (small.shape, shrink) == ((150, 200), 8)
    blocks = pillows_own(path).reshape(150, 8, 200, 8).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 2


def test_the_sky_beside_a_masked_border_is_that_of_the_rest() -> None:
    levels = np.full((40, 60), 30, np.uint8)
    levels[:25] = 255
    (image,) = read_previews(packed(levels), 10**6, mask_white_border=True)
    assert image.stretch.sky == pytest.approx(30, abs=2)


@pytest.mark.parametrize("turns", range(4))
def test_white_areas_are_masked_with_one_pixel_around_them_if_they_touch_the_border_and_are_large(turns: int) -> None:
    assert not white_border(np.full((64, 64), 255, np.uint8)).any()
    levels = np.full((90, 110), 100, np.uint8)  # areas of less than 9.9 px may be stars
    levels[40:45, 0:2] = 250
    levels[60:63, 0:3] = 255
    levels[10:20, 0:5] = 249
    levels[50:60, 50:60] = 255
    expected = np.zeros(levels.shape, bool)
    expected[39:46, 0:3] = True
    np.testing.assert_array_equal(white_border(np.rot90(levels, turns)), np.rot90(expected, turns))


def test_the_lowest_row_of_a_preview_comes_first_and_its_mask_too() -> None:
    levels = np.full((64, 80), 100, np.uint8)
    levels[:16], levels[48:] = 255, 20
    (image,) = read_previews(packed(levels), 10**6, mask_white_border=True)
    assert image.data_yx[4:12].max() < 40 and image.data_yx[24:40].mean() == pytest.approx(100, abs=2)
    assert image.valid_yx[:40].all() and not image.valid_yx[50:].any()
    assert (image.chip, image.unit, image.wcs, image.shrink) == (0, "display", None, 1.0)
    (plain,) = read_previews(packed(levels), 10**6)
    assert plain.valid_yx.all() and plain.data_yx.dtype == np.float32
