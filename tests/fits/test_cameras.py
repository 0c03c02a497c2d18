"""Cameras: what their headers mean."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from synthetic_fits import starry_sky, write_drz

from hubbleclip.fits.instruments import CAMERAS, camera_of
from hubbleclip.images.reader import read_science_images

SATURATED = {"ACS": 256 | 2048, "WFC3/UVIS": 256 | 2048, "WFC3/IR": 256, "WFPC2": 8, "NICMOS": 64, "STIS/CCD": 256}


@pytest.mark.parametrize("name", CAMERAS)
def test_every_bad_bit_is_one_bit_and_none_is_that_of_saturation(name):
    saturated = next((bits for key, bits in SATURATED.items() if name.startswith(key)), 0)
    assert all(bit & (bit - 1) == 0 and 0 < bit < 1 << 15 and not bit & saturated for bit in CAMERAS[name].bad_flags)


def test_overscan_of_a_raw_frame_is_not_valid(tmp_path):
    path = write_drz(tmp_path / "a_raw.fits", starry_sky((1044, 1062)), ("ACS", "HRC"), {"LTV1": 19.0, "LTV2": 0.0})
    (image,) = read_science_images(path, 10**7)
    expected = np.zeros((1044, 1062), bool)
    expected[:1024, 19:1043] = True
    np.testing.assert_array_equal(image.valid_yx, expected)


FINAL_BITS = {"ACS/WFC": 336, "WFC3/UVIS": 336, "WFC3/IR": 528}
"""Bits of drizzlepac's `final_bits`, which it keeps."""
PAGE = Path(__file__).parents[2] / "docs/tiles.md"


def quality_rows():
    """Camera, bit, drizzlepac's choice and ours, for each bit in the table of the page on tiles."""
    rows = re.findall(r"^\| ([^|]+) \| ([\d, ]+) \|[^|]*\| (\w+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    for cameras, bits, theirs, ours in rows:
        for camera in FINAL_BITS if cameras == "all three" else cameras.split(", "):
            yield from ((camera, int(bit), theirs, ours) for bit in bits.split(","))


def test_the_page_on_tiles_says_which_quality_bits_are_rejected():
    rows = list(quality_rows())
    assert {(camera, bit) for camera, bit, *_ in rows} == {(c, 1 << k) for c in FINAL_BITS for k in range(15)}
    for camera, bit, theirs, ours in rows:
        assert (camera, bit, theirs == "kept") == (camera, bit, bool(FINAL_BITS[camera] & bit))
        assert (camera, bit, ours == "rejected") == (camera, bit, bit in camera_of(camera).bad_flags)
