"""Orientation, scale and position of a tile on the sky, as they are shown."""

import numpy as np
import pytest

from hubbleclip.fits.positions import compass_of_corners, make_compass


def corners_of(ra_deg, dec_deg, half_deg=0.005, turn_deg=0.0, is_mirrored=False):
    """Corners of a square picture, bottom left first, whose up direction is turned from north towards east."""
    turn, sign = np.radians(turn_deg), -1 if is_mirrored else 1
    corners = []
    for right, up in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        east = -sign * right * np.cos(turn) + up * np.sin(turn)
        north = sign * right * np.sin(turn) + up * np.cos(turn)
        corners += [(ra_deg + half_deg * east / np.cos(np.radians(dec_deg))) % 360, dec_deg + half_deg * north]
    return corners


@pytest.mark.parametrize("ra_deg", [0.0, 90.0, 359.999])
@pytest.mark.parametrize("dec_deg", [-60.0, 0.0, 20.0])
def test_north_is_up_and_east_is_left_at_any_right_ascension(ra_deg, dec_deg):
    found = compass_of_corners(corners_of(ra_deg, dec_deg), 36.0)
    assert found.north_xy == pytest.approx((0, -1), abs=1e-3)
    assert found.east_xy == pytest.approx((-1, 0), abs=1e-3)


@pytest.mark.parametrize("turn_deg", [30.0, 100.0, -70.0, 180.0])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_arrows_turn_with_the_picture(turn_deg, is_mirrored):
    found = compass_of_corners(corners_of(200.0, -40.0, turn_deg=turn_deg, is_mirrored=is_mirrored), 36.0)
    turn, sign = np.radians(turn_deg), -1 if is_mirrored else 1
    assert found.north_xy == pytest.approx((sign * np.sin(turn), -np.cos(turn)), abs=1e-3)
    assert found.east_xy == pytest.approx((-sign * np.cos(turn), -np.sin(turn)), abs=1e-3)
    assert np.hypot(*found.north_xy) == pytest.approx(1, abs=1e-3)


def test_the_axes_of_a_picture_may_have_different_lengths():
    centre, north, east = np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    found = make_compass(centre, -east, -north, 10.0)
    assert (found.north_xy, found.east_xy) == ((0.0, -1.0), (-1.0, 0.0))
    assert (found.bar_share, found.bar_label) == (0.2, "2″")
    oblique = make_compass(centre, -east + north, -north, 10.0)
    assert oblique.east_xy == pytest.approx((-(0.5**0.5), -(0.5**0.5)), abs=1e-4)


@pytest.mark.parametrize(
    ("side_arcsec", "bar_arcsec", "label"),
    [
        (36.0, 10, "10″"),
        (20.0, 5, "5″"),
        (16.0, 2, "2″"),
        (4.0, 1, "1″"),
        (1.0, 0.2, "0.2″"),
        (160.0, 20, "20″"),
        (700.0, 200, "3.33′"),
    ],
)
def test_the_bar_is_the_longest_round_one_below_three_tenths_of_the_side(side_arcsec, bar_arcsec, label):
    found = compass_of_corners(corners_of(10.0, 10.0), side_arcsec)
    assert (found.bar_share, found.bar_label) == (pytest.approx(bar_arcsec / side_arcsec), label)
