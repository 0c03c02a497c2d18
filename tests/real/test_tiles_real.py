"""Real Hubble files, good and odd: each gives tiles or a reason."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.errors import ImageError
from hubbleclip.images.fits import read_science_images
from hubbleclip.images.png import decode_png
from hubbleclip.images.tiles import tile_file
from hubbleclip.settings import TileSettings

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")]
SETTINGS = TileSettings(views=("native",))
GOOD = sorted(DATA.glob("hst_fits/*.fits*"))
ODD = sorted(DATA.glob("odd_fits/*.fits*"))
TINY = {"sample_ipppssoot_flc", "sample_ipppssoot_flt", "sample_mvm_drc", "sample_mvm_drc.d6761b", "sample_svm_flc", "sample_svm_flt", "test_drizzlepac_flt"}  # fmt: skip


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name[:30])
def test_each_hubble_file_gives_tiles_unless_it_is_tiny(path):
    if path.name.removesuffix(".fits") in TINY:
        with pytest.raises(ImageError, match="too_small"):
            tile_file(path, "0" * 64, SETTINGS)
        return
    result = tile_file(path, "0" * 64, SETTINGS)
    assert result.tiles
    for tile in result.tiles:
        levels = decode_png(tile.png)
        assert levels.shape == (512, 512) and levels.max() > 100
        assert 5 <= np.median(levels) <= 60, "the background is dark"
        assert tile.geometry is not None and 0.005 < tile.geometry.pixel_scale_arcsec < 0.25


@pytest.mark.parametrize("path", ODD, ids=lambda path: path.name[:30])
def test_each_odd_file_gives_tiles_or_a_one_line_reason(path):
    try:
        result = tile_file(path, "0" * 64, SETTINGS)
    except ImageError as error:
        assert error.reason in {"empty", "unreadable", "truncated", "no_image", "not_an_image", "calibration", "too_small", "all_invalid"}  # fmt: skip
        assert error.detail and "\n" not in str(error)
    else:
        assert result.tiles or result.rejections


def test_a_file_that_unpacks_to_168_mb_takes_little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="all_invalid"):
        tile_file(DATA / "odd_fits/2chipB_fullframe.fits.gz", "0" * 64, SETTINGS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def test_neptune_is_where_its_header_says_and_no_white_blob():
    (tile,) = tile_file(DATA / "hst_fits/ibol05fpq_drz.fits", "0" * 64, SETTINGS).tiles
    levels = decode_png(tile.png).astype(int)
    disc = levels > 150
    assert 1500 < disc.sum() < 5000
    assert np.percentile(levels[disc], 95) - np.percentile(levels[disc], 10) >= 10


def test_the_stars_of_47_tucanae_keep_their_peaks():
    (image,) = read_science_images(DATA / "hst_fits/j8bt05njq_raw.fits", SETTINGS.max_pixels)
    tiles = {
        (t.y0, t.x0): decode_png(t.png)[::-1]
        for t in tile_file(DATA / "hst_fits/j8bt05njq_raw.fits", "0" * 64, SETTINGS).tiles
    }
    window = image.data_yx[522:1034, 531:1043]
    bright = window > 20_000
    assert bright.sum() > 100 and np.median(tiles[522, 531][bright]) > 220


def test_wfpc2_chips_have_a_wcs_each():
    images = read_science_images(DATA / "hst_fits/HST_WFPC_II.fits", SETTINGS.max_pixels)
    centres = [tuple(image.wcs.wcs.crval) for image in images]
    assert len(set(centres)) == 4


@pytest.mark.parametrize("name", ["sample_ipppssoot_flc", "sample_svm_flc"])
def test_lookup_tables_of_an_flc_are_in_its_wcs(name):
    path = DATA / f"hst_fits/{name}.fits"
    with fits.open(path) as hdus:
        for image in read_science_images(path, SETTINGS.max_pixels):
            truth = WCS(hdus[image.chip].header, hdus)
            assert truth.cpdis1 is not None and truth.det2im1 is not None
            points = [[3, 4], [1, 9]]
            np.testing.assert_allclose(image.wcs.all_pix2world(points, 0), truth.all_pix2world(points, 0), atol=1e-10)
