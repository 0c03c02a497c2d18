"""What is cut from a file: sizes, views, padding, rejections, and the record of a tile."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
from PIL import Image
from synthetic_fits import read_drz as read
from synthetic_fits import refused_if, starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.fits.hdus import UnusedImage
from hubbleclip.images.downsample import downsample_image, overview_shrink
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.normalize import assess_tiles, prepare_image, read_rows
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.tiling import SATURATED_CORE, cut_tiles, tile_file, to_tile_record
from hubbleclip.missions.base import PARALLEL

SHA = "ab" * 32
NATIVE = TileSettings(size_px=128, views=("native",))
LINEAR = Stretch(kind="linear", black=0.0, white=255.0, softening=1.0, sky=9.0, noise=1.0)


def packed(levels):
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def random_levels(shape_yx):
    return np.random.default_rng(4).integers(100, 250, shape_yx, np.uint8)


@pytest.mark.parametrize("shape_yx", [(65, 90), (101, 127), (66, 300), (300, 91)])
def test_pixels_of_a_padded_image_of_odd_sides_are_at_the_place_that_the_tile_states(tmp_path, shape_yx):
    data = random_levels(shape_yx).astype(np.float32)
    image = replace(read(tmp_path, data), stretch=LINEAR)
    for tile in cut_tiles([image], SHA, NATIVE).tiles:
        levels = decode_own_png(tile.encoded)[::-1]
        for y in range(128):
            for x in range(0, 128, 7):
                at = tile.y0 + y, tile.x0 + x
                inside = 0 <= at[0] < shape_yx[0] and 0 <= at[1] < shape_yx[1]
                assert levels[y, x] == (data[at] if inside else 9)


def test_shares_of_valid_and_bright_pixels_are_those_of_the_pixels_inside_the_image(tmp_path):
    data = np.full((100, 600), 9.0, np.float32)
    data[60:80, 300:330] += 7  # below 5 sigmas
    image = replace(read(tmp_path, data), stretch=replace(LINEAR, noise=2.0))
    valid_yx = np.ones(data.shape, bool)
    valid_yx[:30] = False
    for num, share, outcome in ((4, 0.69, "kept"), (3, 0.69, "no_signal"), (4, 0.71, "too_little_valid")):
        changed = image.data_yx.copy()
        changed[40, 290 : 290 + num] += (
            1000  # 3 x (num + 2) pixels have a bright mean of 3x3; 18 are 0.05 % of the valid
        )
        shown = replace(image, data_yx=changed, valid_yx=valid_yx, may_have_cosmic_rays=False)
        prepared, settings = prepare_image(shown, NATIVE), NATIVE.model_copy(update={"min_valid_share": share})
        (found,) = assess_tiles(read_rows(prepared, [(-206, 44)], 512), prepared, [(-206, 44)], settings)
        assert found.reason == outcome if isinstance(found, ImageError) else (outcome, found) == ("kept", 0.7)


def test_rays_are_judged_by_the_contrast_of_the_camera_in_single_exposures_and_count_as_valid(tmp_path):
    data = starry_sky((128, 128), num_stars=20)
    data[5:120:6, 5:120:6] += 5000
    image = read(tmp_path, data, instrument=("ACS", "WFC"), primary={"NDRIZIM": 0})
    for change, some in ({}, True), ({"star_contrast": 1e6}, False), ({"may_have_cosmic_rays": False}, False):
        prepared = prepare_image(replace(image, valid_yx=np.ones(data.shape, bool), **change), NATIVE)
        assert bool(prepared.rays[0].size) == some
    (tile,) = cut_tiles([image], SHA, NATIVE).tiles
    assert tile.valid_share == 1.0
    assert np.count_nonzero(~image.valid_yx) >= 300  # they are masked


def test_the_noise_of_a_drizzled_exposure_is_that_of_pixels_two_apart(tmp_path):
    white = np.random.default_rng(0).normal(0, 1, (128, 129))
    data = (5 + (white[:, 1:] + white[:, :-1]) / 2).astype(np.float32)  # of sigma 0.7; of neighbours it seems 0.4
    data[8::16, 8::16] += 3
    image = read(tmp_path, data, instrument=("ACS", "WFC"), primary={"NDRIZIM": 0})
    alone, drizzled = (prepare_image(replace(image, is_drizzled=is_so), NATIVE).rays[0] for is_so in (False, True))
    assert alone.size > 20 and not drizzled.size


@pytest.mark.parametrize(
    ("shape_yx", "is_cut"), [((64, 200), True), ((200, 64), True), ((63, 200), False), ((200, 63), False)]
)
def test_an_image_is_cut_from_the_least_side_on(tmp_path, shape_yx, is_cut):
    with refused_if(not is_cut, "too_small"):
        assert cut_tiles([read(tmp_path, starry_sky(shape_yx, num_stars=40))], SHA, NATIVE).tiles


def test_step_and_overlap_of_the_settings_place_the_tiles(tmp_path):
    path = write_drz(tmp_path / "a.fits", starry_sky((128, 384)))
    for change, starts in ({"stride_px": 100}, [28, 128, 228]), ({"overlap_px": 40}, [0, 85, 171, 256]):
        found = tile_file(path, SHA, NATIVE.model_copy(update=change)).tiles
        assert [tile.x0 for tile in found] == starts


def test_an_image_of_several_tiles_keeps_its_grid_whatever_its_object(tmp_path):
    data = np.random.default_rng(3).normal(5, 1, (128, 384)).astype(np.float32)
    data[50:72, 60:79] += 300
    settings = NATIVE.model_copy(update={"object_scale": True})
    (tile,) = tile_file(write_drz(tmp_path / "a.fits", data), SHA, settings).tiles
    assert (tile.y0, tile.x0, tile.size_px) == (0, 0, 128)


def test_a_dead_image_costs_only_itself_and_dead_images_alone_are_refused_with_the_first_reason(tmp_path):
    image = read(tmp_path, starry_sky((128, 128)))
    dead = replace(image, valid_yx=np.zeros(image.valid_yx.shape, bool), chip=7)
    small = replace(image, data_yx=image.data_yx[:40], valid_yx=image.valid_yx[:40], chip=9)
    unused = (UnusedImage(chip=5, reason="not_an_image", detail="a spectrum"),)
    result = cut_tiles([replace(dead, unused=unused), replace(image, unused=unused), small], SHA, NATIVE)
    assert [tile.chip for tile in result.tiles] == [1]
    assert [(one.entity_id, one.reason, one.detail) for one in result.rejections] == [
        (f"{SHA}:5", "not_an_image", "a spectrum"),
        (f"{SHA}:7", "all_invalid", "no pixel is valid"),
        (f"{SHA}:5", "not_an_image", "a spectrum"),
        (f"{SHA}:9", "too_small", "128 x 40 pixels, but the minimum side is 64"),
    ]
    with pytest.raises(ImageError, match="too_small: .*the first of 2 images"):
        cut_tiles([small, dead], SHA, NATIVE)


def test_a_rejected_overview_or_aim_is_named_by_its_view(tmp_path):
    empty = replace(read(tmp_path, starry_sky((300, 300), num_stars=0)), wcs=None)
    settings = NATIVE.model_copy(update={"views": ("overview", "aim")})
    found = [(one.entity_id, one.reason) for one in cut_tiles([empty], SHA, settings).rejections]
    assert found == [(f"{SHA}:1:overview", "no_signal"), (f"{SHA}:1:aim", "no_aim")]


@pytest.mark.parametrize(("width", "views"), [(159, ["native"]), (160, ["native", "overview"])])
def test_an_overview_is_cut_from_five_quarters_of_a_tile_on(tmp_path, width, views):
    settings = NATIVE.model_copy(update={"views": ("native", "overview")})
    path = write_drz(tmp_path / "a.fits", starry_sky((128, width)))
    assert [tile.view for tile in tile_file(path, SHA, settings).tiles] == views


def test_the_first_pixel_of_an_overview_is_rounded_in_pixels_of_the_file(tmp_path):
    settings = NATIVE.model_copy(update={"views": ("overview",)})
    for shape_yx in ((310, 700), (701, 331)):
        shrink = 700 / 128 if shape_yx[1] == 700 else 701 / 128
        (tile,) = tile_file(write_drz(tmp_path / "a.fits", starry_sky(shape_yx)), SHA, settings).tiles
        assert tile.shrink == pytest.approx(shrink)
        short = int(np.ceil(min(shape_yx) / shrink))
        exact = (short - 128) // 2 * shrink
        first = (tile.y0, tile.x0) if shape_yx[0] < shape_yx[1] else (tile.x0, tile.y0)
        assert abs(first[0] - exact) <= 0.5 and first[1] == 0


def test_the_longer_side_of_an_overview_has_exactly_the_pixels_of_a_tile(tmp_path):
    image = read(tmp_path, starry_sky((64, 64), num_stars=5))
    for side in range(129, 1200, 13):
        for shape_yx in ((2, side), (side, 2)):
            strip = replace(image, data_yx=np.ones(shape_yx, np.float32))
            small = downsample_image(strip, np.ones(shape_yx, bool), overview_shrink(shape_yx, 128))
            assert max(small.data_yx.shape) == 128


def test_a_preview_is_decoded_whole_unless_an_overview_is_all_that_is_cut():
    content = packed(random_levels((512, 512)))
    settings = NATIVE.model_copy(update={"views": ("native", "overview")})
    tiles = tile_file(content, SHA, settings, "a.jpg").tiles
    assert [(tile.view, tile.shrink) for tile in tiles] == [("native", 1.0)] * 16 + [("overview", 4.0)]


def test_the_identity_of_a_tile_includes_the_hash_of_the_files_content(tmp_path):
    content = packed(random_levels((128, 128)))
    (tmp_path / "a.jpg").write_bytes(content)
    found = [tile_file(tmp_path / "a.jpg", None, NATIVE), tile_file(content, None, NATIVE, "a.jpg")]
    found.append(tile_file(content, sha256_bytes(content), NATIVE, "a.jpg"))
    assert len({result.tiles[0].tile_id for result in found}) == 1


def test_a_record_has_the_values_of_the_tile_its_stretch_its_place_and_its_product(tmp_path):
    image = replace(read(tmp_path, starry_sky((256, 300)), primary={"FILTER": "F814W"}), chip=3, note="a note")
    (tile,) = cut_tiles([image], SHA, TileSettings(size_px=128, views=("overview",))).tiles
    product = Product(
        uri="u", obs_id="o", proposal_id="p", file_name="a.fits", kind="DRZ", size_bytes=1, choice="", sha256=SHA
    )
    to_record = partial(to_tile_record, layout=Layout(tmp_path), cut_at=datetime(2026, 1, 1, tzinfo=UTC))
    record = asdict(to_record(tile, product, part_uris=[*"rgb"]))
    stated = {"product_uri": "u", "obs_id": "o", "proposal_id": "p", "product_sha256": SHA, "part_uris": [*"rgb"]}
    stated |= {"instrument": "WFC3/UVIS", "filter": "F814W", "unit": "ELECTRONS/S", "chip": 3, "note": "a note"}
    stated |= {"view": "overview", "shrink": 300 / 128, "size_px": 128}
    stated |= {
        name: getattr(tile, name) for name in ("tile_id", "png_sha256", "settings_digest", "valid_share", "y0", "x0")
    }
    stated |= {name: value for name, value in asdict(tile.stretch).items() if name != "kind"} | asdict(tile.geometry)
    stated |= {"size_bytes": len(tile.encoded), "cut_at": datetime(2026, 1, 1, tzinfo=UTC)}
    assert record.pop("path").endswith(f"{tile.tile_id}.png")
    assert record == stated and record["pixel_scale_arcsec"] == pytest.approx(0.05 * 300 / 128, rel=1e-3)
    unplaced = to_record(replace(tile, geometry=None, suffix=".jpg"), product)
    assert (unplaced.ra_deg, unplaced.pixel_scale_arcsec, unplaced.wcs, unplaced.corners_deg) == (None, None, None, [])
    assert unplaced.path.endswith(".jpg")
    with pytest.raises(ImageError, match="not_fetched"):
        to_record(tile, replace(product, sha256=None))


def test_a_saturated_core_without_data_looks_saturated_and_is_named_in_the_note(tmp_path):
    dy, dx = np.mgrid[-60:196, -60:196]
    data = (starry_sky((256, 256), num_stars=0) + 3e5 / (1 + np.hypot(dy, dx) ** 3)).astype(np.float32)
    data[np.hypot(dy, dx) <= 5] = np.nan
    settings = TileSettings(size_px=128, views=("native", "overview"))
    tiles = tile_file(write_drz(tmp_path / "a.fits", data, primary={"PRIMESI": "COS"}), SHA, settings).tiles
    for tile in tiles:
        levels = decode_own_png(tile.encoded)[::-1]
        y, x = (round((at - start) / tile.shrink) for at, start in ((60, tile.y0), (60, tile.x0)))
        has_core = 4 < y < 124 and 4 < x < 124
        assert tile.note == (f"{PARALLEL}; {SATURATED_CORE}" if has_core else PARALLEL)
        assert not has_core or levels[y, x] >= levels[y - 8 : y + 9, x - 8 : x + 9].max()
    assert {tile.view for tile in tiles if SATURATED_CORE in tile.note} == {"native", "overview"}
    assert min(tile.valid_share for tile in tiles) < 1
    exposure = write_drz(tmp_path / "a_flt.fits", data, primary={"NDRIZIM": 0})
    assert {tile.note for tile in tile_file(exposure, SHA, settings).tiles} == {None}
