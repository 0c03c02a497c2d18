"""Real Hubble files, good and odd: each gives tiles or a reason."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.stats import entropy

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.encode import decode_own_png
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.tiling import CutTile, tile_file
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")]
SETTINGS = TileSettings(views=("native",))
GOOD = sorted(DATA.glob("hst_fits/*.fits*"))
ODD = sorted(DATA.glob("odd_fits/*.fits*"))
REASONS = {
    *("empty", "unreadable", "truncated", "no_image", "not_an_image", "calibration"),
    *("too_small", "all_invalid", "too_large"),
}
LARGE = [path for path in GOOD if not path.name.startswith(("sample_", "test_drizzlepac_"))]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(set(GOOD) - set(LARGE)), ids=lambda path: path.name[:30])
def test_a_tiny_file_is_too_small(path):
    with pytest.raises(ImageError, match="too_small"):
        tile_file(path, "0" * 64, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.name[:30])
def test_each_hubble_file_gives_tiles(path):
    result = tile_file(path, "0" * 64, SETTINGS)
    assert result.tiles
    for tile in result.tiles:
        levels = decode_own_png(tile.encoded)
        assert levels.shape == (512, 512) and levels.max() > 100
        assert 5 <= np.median(levels) <= 60, "the background is dark"
        assert tile.geometry is not None and 0.005 < tile.geometry.pixel_scale_arcsec < 0.25


@pytest.mark.parametrize("path", ODD, ids=lambda path: path.name[:30])
def test_each_odd_file_gives_tiles_or_a_one_line_reason(path):
    try:
        result = tile_file(path, "0" * 64, SETTINGS)
    except ImageError as error:
        assert error.reason in REASONS
        assert error.detail and "\n" not in str(error)
    else:
        assert result.tiles or result.rejections


VIEWS = TileSettings(views=("native", "overview", "aim"))
SHEET = Path(__file__).parents[2] / "data/real_tiles.png"
"""Where the contact sheet of all real tiles is written for people to look at; git ignores it."""


def cut_all() -> list[tuple[Path, CutTile]]:
    found = []
    for path in GOOD:
        try:
            found += [(path, tile) for tile in tile_file(path, "0" * 64, VIEWS).tiles]
        except ImageError as error:
            assert error.reason == "too_small"
    return found


@pytest.mark.slow
def test_every_view_of_every_file_has_few_black_and_white_pixels_and_a_contact_sheet():
    tiles = cut_all()
    assert {tile.view for _, tile in tiles} == {"native", "overview", "aim"}
    levels = [decode_own_png(tile.encoded) for _, tile in tiles]
    for (path, tile), levels_yx in zip(tiles, levels, strict=True):
        top, left = (max(-start, 0) / tile.shrink for start in (tile.y0, tile.x0))
        inside = levels_yx[round(top) : 512 - round(top), round(left) : 512 - round(left)]
        shares = np.bincount(inside.ravel(), minlength=256) / inside.size
        label = f"{path.name} {tile.view}"
        assert shares[0] < 0.25 and shares[255] < 0.005, label
        assert entropy(shares, base=2) > 0.4, label
    SHEET.parent.mkdir(exist_ok=True)
    render_sheet(
        [tile.picture for _, tile in tiles],
        [f"{tile.view} {path.name}" for path, tile in tiles],
        columns=6,
        cell_px=200,
    ).save(SHEET)


@pytest.mark.slow
@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.name[:30])
def test_the_wcs_of_every_view_meets_astropy_within_a_tenth_of_a_pixel(path):
    images = {image.chip: image for image in read_science_images(path, SETTINGS.max_pixels)}
    for tile in tile_file(path, "0" * 64, VIEWS).tiles:
        image, corners = images[tile.chip], np.array(tile.geometry.corners_deg).reshape(4, 2)
        own = WCS(fits.Header.fromstring(tile.geometry.wcs, sep="\n"))
        sky = np.concatenate([corners, [[tile.geometry.ra_deg, tile.geometry.dec_deg]]])
        in_image, in_tile = (
            wcs.all_world2pix(sky, 0) if wcs.wcs.lng == 0 else wcs.all_world2pix(sky[:, ::-1], 0)
            for wcs in (image.wcs, own)
        )
        height, width = image.data_yx.shape
        start_yx = [tile.y0, tile.x0]
        if tile.view == "overview":
            start_yx = [(round(n / tile.shrink + 0.4999) - 512) // 2 * tile.shrink for n in (height, width)]
        expected = (in_image + 0.5 - start_yx[::-1]) / tile.shrink - 0.5
        np.testing.assert_allclose(in_tile, expected, atol=0.1)


def test_a_file_that_unpacks_to_168_mb_takes_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="too_large"):
        tile_file(DATA / "odd_fits/2chipB_fullframe.fits.gz", "0" * 64, SETTINGS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def test_neptune_is_where_its_header_says_and_no_white_blob():
    (tile,) = tile_file(DATA / "hst_fits/ibol05fpq_drz.fits", "0" * 64, SETTINGS).tiles
    levels = decode_own_png(tile.encoded).astype(int)
    disc = levels > 150
    assert 1500 < disc.sum() < 5000
    assert np.percentile(levels[disc], 95) - np.percentile(levels[disc], 10) >= 10


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name[:30])
def test_the_padding_of_a_cut_out_is_not_brighter_than_its_edge(path):
    images = {image.chip: image for image in read_science_images(path, SETTINGS.max_pixels)}
    small = {chip: image for chip, image in images.items() if 64 <= min(image.data_yx.shape) <= 400}
    if not small:
        pytest.skip("no image that is smaller than a tile")
    for tile in tile_file(path, "0" * 64, SETTINGS).tiles:
        (height, width), levels = small[tile.chip].data_yx.shape, decode_own_png(tile.encoded)[::-1].astype(int)
        frame, valid = levels[-tile.y0 :, -tile.x0 :][:height, :width], small[tile.chip].valid_yx
        rim = max(1, round(0.04 * min(frame.shape)))
        inside = np.pad(np.ones((height - 2 * rim, width - 2 * rim), bool), rim)
        assert np.mean(frame[valid & ~inside] < levels[0, 0]) <= 0.55


def test_the_stars_of_47_tucanae_keep_their_peaks():
    path = DATA / "hst_fits/j8bt05njq_raw.fits"
    (image,) = read_science_images(path, SETTINGS.max_pixels)
    tiles = {(t.y0, t.x0): decode_own_png(t.encoded)[::-1] for t in tile_file(path, "0" * 64, SETTINGS).tiles}
    window = image.data_yx[522:1034, 531:1043]
    bright, saturated = window > 20_000, window == 65_535
    assert bright.sum() > 100 and np.median(tiles[522, 531][bright]) > 220
    assert saturated.sum() > 50 and tiles[522, 531][saturated].min() == 255


@pytest.mark.parametrize("name", ["sample_ipppssoot_flc", "sample_svm_flc"])
def test_lookup_tables_of_an_flc_are_in_its_wcs(name):
    path = DATA / f"hst_fits/{name}.fits"
    with fits.open(path) as hdus:
        for image in read_science_images(path, SETTINGS.max_pixels):
            truth = WCS(hdus[image.chip].header, hdus)
            assert truth.cpdis1 is not None and truth.det2im1 is not None
            points = [[3, 4], [1, 9]]
            np.testing.assert_allclose(image.wcs.all_pix2world(points, 0), truth.all_pix2world(points, 0), atol=1e-10)
