"""A fixed scale of flux: the same brightness gives the same level in every image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import read_drz, starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.encode import decode_png
from hubbleclip.images.normalize import apply_flux_limits, flux_per_unit
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.tiling import tile_file

SHA = "ab" * 32
SETTINGS = TileSettings(limits="flux")


@pytest.fixture()
def image(tmp_path):
    return replace(read_drz(tmp_path, starry_sky((64, 64))), exposure_s=100.0, gain=1.5)


UNITS = {
    400: "ELECTRONS/S|electron / s|ELECTRON/SECOND|e-/sec",
    4: "ELECTRONS|E-",
    6: "COUNTS|COUNT|DN|ADU|cts",
    600: "COUNTS/S|DN/s|cps|CTS/SEC",
}


@pytest.mark.parametrize("expected", UNITS)
def test_a_unit_gives_electrons_per_second_and_square_arcsecond(image, expected):
    found = [flux_per_unit(replace(image, unit=unit)) for unit in UNITS[expected].split("|")]
    assert found == pytest.approx([expected] * len(found), rel=1e-3)


@pytest.mark.parametrize(
    "changed",
    [
        {"unit": "kR"},
        {"unit": None},
        {"unit": "COUNTS", "gain": None},
        {"unit": "ELECTRONS", "exposure_s": None},
        {"unit": "ELECTRONS", "exposure_s": 0.0},
        {"wcs": None},
        {"unit": "ELECTRONS/CM2"},
        {"unit": "ELECTRONS", "exposure_s": -1.0},
        {"unit": "COUNTS/S", "gain": 0.0},
        {"unit": ""},
    ],
)
def test_an_image_without_a_scale_is_refused(image, changed):
    with pytest.raises(ImageError, match="no_flux_scale"):
        flux_per_unit(replace(image, **changed))


def test_the_same_sky_in_counts_and_in_electrons_per_second_gives_the_same_levels(tmp_path):
    rate = starry_sky((512, 512)) / 80
    one = tile_file(write_drz(tmp_path / "a.fits", rate), SHA, SETTINGS).tiles[0]
    path = write_drz(tmp_path / "b.fits", rate * 100 / 1.5 + 700, primary={"CCDGAIN": 1.5})
    fits.setval(path, "BUNIT", value="COUNTS", ext=1)
    other = tile_file(path, SHA, SETTINGS).tiles[0]
    differ = np.abs(decode_png(one.encoded).astype(int) - decode_png(other.encoded))
    assert differ.max() <= 3 and differ.mean() < 0.2
    assert one.stretch.white - one.stretch.sky == pytest.approx(500 / 400, rel=1e-3)


def test_the_limits_are_fixed_fluxes_above_the_sky_in_the_unit_of_the_image(image):
    """With 400 electrons / s / arcsec2 per value, and 6 with counts of 100 s and a gain of 1.5."""
    before = Stretch(kind="asinh", black=0.0, white=1.0, softening=0.1, sky=7.0, noise=0.3)
    for unit, per_value in (("ELECTRONS/S", 400), ("COUNTS", 6)):
        found = apply_flux_limits(before, replace(image, unit=unit))
        expected = (7 - 0.05 / per_value, 7 + 500 / per_value, 0.5 / per_value)
        assert (found.black, found.white, found.softening) == pytest.approx(expected, rel=1e-3)
        assert (found.kind, found.sky, found.noise) == ("asinh", 7.0, 0.3)
