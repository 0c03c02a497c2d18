"""Orientation of a tile on the sky."""

import numpy as np
import pytest

from hubbleclip.fits.positions import compass_of_corners


@pytest.mark.parametrize("ra_deg", [0.0, 90.0, 359.999])
@pytest.mark.parametrize("dec_deg", [-60.0, 0.0, 20.0])
def test_north_is_up_and_east_is_left_at_any_right_ascension(ra_deg, dec_deg):
    half = 0.005
    step = half / np.cos(np.radians(dec_deg))
    corners = [
        ((ra_deg + ra) % 360, dec_deg + dec) for ra, dec in ((step, -half), (-step, -half), (-step, half), (step, half))
    ]
    found = compass_of_corners(np.ravel(corners).tolist(), 36.0)
    assert found.north_xy == pytest.approx((0, -1), abs=1e-3)
    assert found.east_xy == pytest.approx((-1, 0), abs=1e-3)
