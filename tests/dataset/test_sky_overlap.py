import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sky_cases import slow_gap_arcsec, square, stepped

from hubbleclip.dataset.splits import sky_overlap
from hubbleclip.dataset.splits.sky_overlap import footprints, is_near_any

FIELDS = [(0.0, 0.0), (359.999, 45.0), (120.0, 89.999), (0.0, -90.0), (10.0, -89.9)]
SQUARES = st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.sampled_from([2.0, 20.0, 25.0, 80.0]), st.floats(0, 90))


def placed(field, offsets):
    """A square, its centre moved by arcseconds east and north of the field's centre."""
    (ra, dec), (east, north, side, roll) = field, offsets
    north_deg = max(-90.0, min(90.0, dec + north / 3600))
    return square((ra + east / 3600 / max(np.cos(np.radians(north_deg)), 1e-6)) % 360, north_deg, side, roll)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(FIELDS),
    st.lists(SQUARES, min_size=1, max_size=6),
    st.lists(SQUARES, min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_near_footprints_equal_those_of_comparing_all_pairs_on_the_sphere(field, mine, others, guard_arcsec):
    mine, others = ([placed(field, offsets) for offsets in group] for group in (mine, others))
    gaps = [[slow_gap_arcsec(a, b) for b in others] for a in mine]
    assume(all(abs(gap - guard_arcsec) > 1e-3 and (gap == 0 or gap > 1e-3) for row in gaps for gap in row))
    slow = [any(gap == 0 or gap < guard_arcsec for gap in row) for row in gaps]
    assert is_near_any(footprints(mine), footprints(others), guard_arcsec).tolist() == slow


def test_the_largest_of_its_kind_is_found_from_its_corner():
    corner = np.array(square(50, 0, 400, 0))[:2]
    others = footprints([square(50, 0, 400, 0), square(50, 5, 300, 0)])
    assert is_near_any(footprints([square(*corner, 2)]), others, 0.0).all()


def test_a_footprint_reaches_as_far_as_its_farthest_corner():
    steps = [(-10, -10), (10, -10), (10, 10), (0, 400)]
    kite = [number for step in steps for number in stepped(50, 20, *step)]
    tip = square(*stepped(50, 20, 0, 399), 1)
    for one, other in ((kite, tip), (tip, kite)):
        assert is_near_any(footprints([one]), footprints([other]), 0.0).all()


def test_nothing_touches_nothing():
    assert is_near_any(footprints([square(50, 0, 20)]), footprints([]), 1.0).tolist() == [False]
    assert is_near_any(footprints([]), footprints([square(50, 0, 20)]), 1.0).tolist() == []


def test_a_corner_before_the_middle_of_an_edge_is_near_in_either_order():
    wide, turned = square(10.0, 20.0, 60.0), square(10.0, 20.0 + (30 + 7.071 + 1) / 3600, 10.0, 45.0)
    for one, other in ((wide, turned), (turned, wide)):
        near = [is_near_any(footprints([one]), footprints([other]), guard).item() for guard in (0.9, 1.1)]
        assert near == [False, True]


@pytest.mark.parametrize("dec_deg", [6.0, 88.0])
def test_a_pair_that_is_too_large_for_the_projection_is_near(dec_deg):
    huge, small = footprints([[0, 5, 90, 5, 180, 5, 270, 5]]), footprints([square(45, dec_deg, 20)])
    assert is_near_any(small, huge, 0.0).all()
    assert is_near_any(huge, small, 0.0).all()


def test_footprints_are_compared_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr(sky_overlap, "CHUNK", 2)
    places = (50, 10, 51, 20, 52, 53, 30)
    mine, others = ([square(ra, 0, 20) for ra in ras] for ras in (places, (50, 51, 52, 53)))
    others = [*others, square(30, 0, 4000)]  # found in another group of radii
    assert is_near_any(footprints(mine), footprints(others), 0.0).tolist() == [
        ra in {50, 51, 52, 53, 30} for ra in places
    ]


@pytest.mark.parametrize("east_sign", [1, -1])
@pytest.mark.parametrize("north_sign", [1, -1])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_only_a_slanted_edge_parts_a_square_from_a_trapezium(east_sign, north_sign, is_reversed):
    corners = [(-100, -20), (100, -20), (20, 60), (-20, 60)][:: -1 if is_reversed else 1]
    steps = [(east_sign * east, north_sign * north) for east, north in corners]
    trapezium = [number for east, north in steps for number in stepped(50, 20, east, north)]
    aside = square(*stepped(50, 20, 90 * east_sign, 40 * north_sign), 20)  # its corner is 21.2 arcsec away
    for one, other in ((trapezium, aside), (aside, trapezium)):
        near = [is_near_any(footprints([one]), footprints([other]), guard).item() for guard in (0.0, 20.0, 22.0)]
        assert near == [False, False, True]
