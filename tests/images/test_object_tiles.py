"""Numbers that place and judge tiles: objects, signal, aims."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.wcs import WCS
from synthetic_fits import starry_sky, wcs_header, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.normalize import PreparedImage, assess_tiles, read_rows, small_object
from hubbleclip.images.stretch import Stretch, apply_stretch
from hubbleclip.images.tiling import plan_grid, tile_file

SHA = "ab" * 32
NATIVE = TileSettings(size_px=128, views=("native",))
LIMITS = Stretch(kind="linear", black=0.0, white=255.0, softening=1.0, sky=9.0, noise=2.0)


def prepared(data, good=None, stretch=None):
    """Pixels with the limits above, of which those that are good count. A preview has a stretch of its own."""
    image = SimpleNamespace(data_yx=data.astype(np.float32), stretch=stretch)
    return PreparedImage(image, np.ones(data.shape, bool) if good is None else good, LIMITS)


def assess(shown, settings):
    """The judgement of the tile of 128 px at the origin."""
    (found,) = assess_tiles(read_rows(shown, [(0, 0)], 128), shown, [(0, 0)], settings)
    return found


def object_of(shape_yx, inside, settings, height=1000.0):
    data = np.full(shape_yx, LIMITS.sky)
    data[inside] += height
    return small_object(prepared(data), settings)


@pytest.mark.parametrize(("height", "width"), [(78, 30), (38, 78), (22, 60)])
def test_the_tile_of_an_object_has_three_halves_of_the_longer_extent_about_its_middle(height, width):
    settings = NATIVE.model_copy(update={"size_px": 512})
    inside = slice(200, 200 + height), slice(150, 150 + width)
    (y0, x0), size_px = object_of((500, 480), inside, settings)
    extents = [round((one + 1) * 0.9) + 1 for one in (height, width)]  # from the 5 % to the 95 % of its pixels, and two
    assert abs(size_px - 1.5 * max(extents)) <= 2
    assert abs(y0 + size_px / 2 - (200 + height / 2)) <= 1 and abs(x0 + size_px / 2 - (150 + width / 2)) <= 1


@pytest.mark.parametrize(
    ("height", "width", "is_small"), [(245, 245, True), (258, 258, False), (4, 330, True), (4, 420, False)]
)
def test_an_object_is_small_up_to_a_fifth_of_the_area_and_two_thirds_of_the_side_of_a_tile(height, width, is_small):
    settings = NATIVE.model_copy(update={"size_px": 512})  # a fifth is a square of 229 px; 90 % of each side count
    found = object_of((560, 639), (slice(100, 100 + height), slice(100, 100 + width)), settings)
    assert (found is not None) == is_small


def test_an_object_is_what_exceeds_the_sigmas_of_the_settings_in_the_mean_of_3x3():
    inside = slice(60, 100), slice(50, 90)
    for sigma, height, is_found in ((5, 10.1, True), (5, 9.9, False), (3, 6.1, True), (3, 5.9, False)):
        settings = NATIVE.model_copy(update={"size_px": 512, "signal_sigma": sigma})
        assert (object_of((200, 200), inside, settings, height) is not None) == is_found


def test_bad_pixels_are_no_object():
    data, good = np.full((200, 200), LIMITS.sky), np.ones((200, 200), bool)
    data[20:40, 20:40], good[20:40, 20:40] = 1e6, False
    settings = NATIVE.model_copy(update={"size_px": 512})
    assert small_object(prepared(data, good), settings) is None


def test_an_object_has_at_least_the_least_side_and_at_most_that_of_the_image():
    settings = NATIVE.model_copy(update={"size_px": 512, "min_side_px": 50})
    assert object_of((100, 130), (slice(40, 44), slice(40, 44)), settings)[1] == 50
    assert object_of((100, 130), (slice(40, 44), slice(5, 125)), settings)[1] == 130


@pytest.mark.parametrize(("low", "is_kept"), [(-2.3, False), (-1.1, True)])
def test_the_height_of_a_pixel_counts_up_to_ten_times_the_threshold(low, is_kept):
    """A pixel of any height and eight low ones: their mean exceeds the threshold of 10 if the sum exceeds 90.

    Nine pixels of a tile, those around the high one, are just enough signal.
    """
    data = np.full((128, 128), LIMITS.sky)
    data[60:71, 60:71] += low * np.ones((11, 11))
    data[65, 65] = 1e9
    assert isinstance(assess(prepared(data), NATIVE), float) == is_kept


@pytest.mark.parametrize("y0", [-7, 0, 4, 20, 40])
@pytest.mark.parametrize("starts", [[-9], [0], [5, 40], [-9, 23], [30, 62], [-40, -8, 24, 60]])
def test_a_row_of_tiles_is_the_image_with_sky_around_it(y0, starts):
    data = np.random.default_rng(1).integers(10, 250, (50, 70))
    around = np.pad(data, 200, constant_values=9)
    first, end = starts[0], starts[-1] + 32
    expected = around[200 + y0 : 232 + y0, 200 + first : 200 + end]
    shown = prepared(data)
    rows = read_rows(shown, [(y0, x0) for x0 in starts], 32)
    levels = apply_stretch(rows.values_yx, rows.shown_yx, shown.stretch)
    np.testing.assert_array_equal(levels[:, first - rows.left : end - rows.left], expected)


def test_the_threshold_of_a_tile_is_the_sigmas_of_the_settings():
    data = np.full((128, 128), LIMITS.sky)
    data[20:40, 20:40] += 7.0  # 3.5 sigmas
    for sigma, is_kept in ((3.4, True), (3.6, False)):
        settings = NATIVE.model_copy(update={"signal_sigma": sigma})
        found = assess(prepared(data), settings)
        assert isinstance(found, float) == is_kept


def test_a_tile_without_valid_pixels_is_judged_too():
    data, none = np.full((128, 128), LIMITS.sky), np.zeros((128, 128), bool)
    for share, reason in ((0.0, "no_signal"), (0.1, "too_little_valid")):
        found = assess(prepared(data, none), NATIVE.model_copy(update={"min_valid_share": share}))
        assert isinstance(found, ImageError) and found.reason == reason


@pytest.mark.parametrize(("apart", "has_aim"), [(16, False), (17, True)])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_aim_tile_is_cut_where_it_is_farther_than_an_eighth_of_a_tile_from_all_others(
    tmp_path, apart, has_aim, axis
):
    shape_yx, settings = (300, 300), TileSettings(size_px=128, views=("native", "aim"))
    y0, x0 = plan_grid(shape_yx, 128, settings.overlap_px)[0]
    y, x = y0 + 63.5 + apart * (axis == 0), x0 + 63.5 + apart * (axis == 1)
    ra, dec = WCS(wcs_header(shape_yx)).all_pix2world(x, y, 0)
    path = write_drz(tmp_path / "a.fits", starry_sky(shape_yx), primary={"RA_TARG": float(ra), "DEC_TARG": float(dec)})
    assert ("aim" in {tile.view for tile in tile_file(path, SHA, settings).tiles}) == has_aim
