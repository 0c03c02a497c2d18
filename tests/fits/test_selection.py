"""Which HDUs of a file are images of the sky, and the numbers that judge a tile."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.fits import hdus as selection
from hubbleclip.images.encode import decode_png
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.tiling import tile_file


@pytest.mark.parametrize(
    "cards",
    [
        {"FILTER": "G141"},
        {"FILTER": "G800L"},
        {"FILTER1": "PR200L", "FILTER": ""},
        {"OBSTYPE": "SPECTROSCOPIC"},
        {"INSTRUME": "FOS"},
        {"OPT_ELEM": "G140L"},
        {"FILTER": "G280"},
        {"INSTRUME": "FOC", "DETECTOR": "F/96", "FILTNAM3": "PRISM1"},
        {"INSTRUME": "FOC", "DETECTOR": "F/96", "FILTNAM4": "PRISM2"},
    ],
)
def test_spectra_grisms_and_prisms_are_no_images(tmp_path, cards):
    with pytest.raises(ImageError, match="not_an_image"):
        read_science_images(write_drz(tmp_path / "a.fits", starry_sky((100, 100)), primary=cards), 10**7)


def write_pairs(path, num_pairs):
    hdus = [fits.PrimaryHDU()]
    for ver in range(1, num_pairs + 1):
        quality = np.full((2, 3), ver % 2, np.int16)
        hdus += [fits.ImageHDU(np.full((2, 3), ver, np.float32), name="SCI", ver=ver)]
        hdus += [fits.ImageHDU(quality[:, :2], name="DQ", ver=ver), fits.ImageHDU(quality, name="DQ", ver=ver)]
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize(("name", "num_images"), [("SAMP", 1), ("TIME", 2)])
def test_only_the_last_read_of_a_ramp_is_used(name, num_images, tmp_path):
    sky = starry_sky((100, 100))
    hdus = [
        fits.PrimaryHDU(),
        *(fits.ImageHDU(sky, name="SCI", ver=ver) for ver in (1, 2)),
        fits.ImageHDU(sky, name=name),
    ]
    hdus[0].header.update({"INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F160W"})
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert [image.chip for image in read_science_images(tmp_path / "a.fits", 10**7)] == [1, 2][:num_images]


def test_a_file_of_more_extensions_than_any_camera_writes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "MAX_SCIENCE", 3)
    with pytest.raises(ImageError, match="too_large: 4 science extensions, more than 3"):
        read_science_images(write_pairs(tmp_path / "a.fits", 4), 10**7)


@pytest.mark.parametrize("stretch", ["asinh", "linear", "zscale"])
def test_tiles_with_an_overlap_are_equal_at_their_seams(tmp_path, stretch):
    data = starry_sky((300, 500), num_stars=400)
    data[np.random.default_rng(1).random(data.shape) < 0.01] = np.nan
    settings = TileSettings(size_px=128, overlap_px=32, views=("native",), stretch=stretch)
    tiles = {
        (t.y0, t.x0): decode_png(t.encoded)[::-1]
        for t in tile_file(write_drz(tmp_path / "a.fits", data), "ab" * 32, settings).tiles
    }
    whole, seams = np.full(data.shape, -1), 0
    for (y0, x0), levels in tiles.items():
        window = whole[y0 : y0 + 128, x0 : x0 + 128]
        seen = window >= 0
        np.testing.assert_array_equal(window[seen], levels[seen])
        window[:], seams = levels, seams + np.count_nonzero(seen)
    assert seams > 10_000
