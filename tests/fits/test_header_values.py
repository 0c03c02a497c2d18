"""The parts of a raw frame that receive no light."""

from __future__ import annotations

import numpy as np
import pytest

from hubbleclip.fits.instruments import CAMERAS, blind_parts


@pytest.mark.parametrize(
    ("cards", "first"),
    [
        ({}, (0, 0)),
        ({"LTV1": 19.0, "LTV2": 20}, (20, 19)),
        ({"LTV1": -7.0, "LTV2": -1.5}, (-1, -7)),
        ({"LTV1": "19"}, (0, 0)),
    ],
)
def test_light_falls_on_the_rows_and_columns_from_the_first_that_the_header_gives(cards, first):
    camera, seen_yx = CAMERAS["ACS/HRC"], np.ones((1044, 1062), bool)
    for blind in blind_parts(cards.get, camera, (1044, 1062)):
        seen_yx[blind] = False
    y, x = first
    expected = np.zeros(seen_yx.shape, bool)
    expected[max(y, 0) : max(y, 0) + 1024, max(x, 0) : max(x, 0) + 1024] = True
    np.testing.assert_array_equal(seen_yx, expected)


def test_the_gap_between_two_amplifiers_is_blind():
    camera = CAMERAS["WFC3/UVIS"]
    seen_yx = np.ones(camera.raw_yx, bool)
    for blind in blind_parts({"LTV1": 25.0, "LTV2": 19.0}.get, camera, camera.raw_yx):
        seen_yx[blind] = False
    assert np.flatnonzero(seen_yx.any(axis=1))[[0, -1]].tolist() == [19, 2069]
    columns = np.flatnonzero(seen_yx.any(axis=0))
    assert (columns[0], columns[-1]) == (25, 4180)
    assert sorted(set(range(25, 4181)) - set(columns.tolist())) == list(range(2073, 2133))


@pytest.mark.parametrize("shape_yx", [(1044, 1061), (1024, 1024), (1062, 1044)])
def test_only_a_raw_full_frame_has_blind_parts(shape_yx):
    assert blind_parts({"LTV1": 19.0}.get, CAMERAS["ACS/HRC"], shape_yx) == []
    assert blind_parts({}.get, CAMERAS["WFPC2"], (800, 800)) == []
