"""A fixed scale of flux: the same brightness gives the same level in every image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_fits import read_drz, starry_sky

from hubbleclip.core.errors import ImageError
from hubbleclip.images.normalize import apply_flux_limits, flux_per_unit
from hubbleclip.images.stretch import Stretch


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


def test_the_limits_are_fixed_fluxes_above_the_sky_in_the_unit_of_the_image(image):
    """With 400 electrons / s / arcsec2 per value, and 6 with counts of 100 s and a gain of 1.5."""
    before = Stretch(kind="asinh", black=0.0, white=1.0, softening=0.1, sky=7.0, noise=0.3)
    for unit, per_value in (("ELECTRONS/S", 400), ("COUNTS", 6)):
        found = apply_flux_limits(before, replace(image, unit=unit))
        expected = (7 - 0.05 / per_value, 7 + 500 / per_value, 0.5 / per_value)
        assert (found.black, found.white, found.softening) == pytest.approx(expected, rel=1e-3)
        assert (found.kind, found.sky, found.noise) == ("asinh", 7.0, 0.3)
