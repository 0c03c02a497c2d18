import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sky_cases import cross, dot, material, observation, slow_gap_arcsec, square, stepped, tile, vectors

from hubbleclip.dataset.splits import footprints as module
from hubbleclip.dataset.splits.footprints import footprints, is_near_any, region_quads
from hubbleclip.dataset.splits.sky_guard import locate_tiles


def covers(quads, ra_deg, dec_deg):
    point = vectors([ra_deg, dec_deg])[0]
    for quad in quads:
        corners = vectors(quad)
        sides = [dot(cross(corners[i], corners[(i + 1) % 4]), point) for i in range(4)]
        if all(side > -1e-12 for side in sides) or all(side < 1e-12 for side in sides):
            return True
    return False


def footprints_of(**observed):
    """Footprints of a tile without corners whose observation has these values."""
    seen = replace(observation("o"), **observed)
    return locate_tiles(material([tile("a", "p", obs_id="o")], {"o": seen}, {})).footprints


def polygon(corners_deg):
    return "POLYGON ICRS " + " ".join(f"{number:.10f}" for number in corners_deg)


def test_the_frame_of_a_region_and_a_repeated_corner_make_no_difference():
    corners = square(5, 5, 80)
    closed = corners + corners[:2]
    frames = {"Polygon": corners, "POLYGON J2000": corners, "POLYGON GSC1": closed, "polygon FK5 TOPOCENTER": corners}
    for start, numbers in frames.items():
        (quad,) = region_quads(f"{start}  {'  '.join(map(str, numbers))}")
        assert sorted(quad) == pytest.approx(sorted(corners), abs=1e-9)


NO_SHAPES = ("", "unknown", "BOX ICRS 1 2 3 4", *(f"CIRCLE ICRS 1 {end}" for end in ("2", "2 0", "2 -1", "2 1 2")))
NO_CORNERS = ("1 2 3", "1 1 1 1 1 1", "0 0 120 0 240 0", "1 1 2 1 2 2 1", "1 1 2 1", "0 0 1 0 1 1 0 1 0 80")


def around_the_pole(radius_deg):
    return "POLYGON ICRS " + " ".join(f"{ra_deg} {90 - radius_deg}" for ra_deg in (0, 90, 180, 270))


@pytest.mark.parametrize(
    ("region", "num_quads"),
    [
        *((region, 0) for region in NO_SHAPES),
        *((f"POLYGON ICRS {corners}", 0) for corners in NO_CORNERS),
        *((f"CIRCLE ICRS 10 20 {radius_deg}", num) for radius_deg, num in ((28.6, 1), (28.7, 0))),
        *((around_the_pole(radius_deg), num) for radius_deg, num in ((28.6, 1), (28.7, 0), (50.0, 0))),
    ],
)
def test_a_region_covers_nothing_if_it_is_broken_or_its_radius_is_above_half_a_radian(region, num_quads):
    assert len(region_quads(region)) == num_quads


FIELDS = [(0.0, 0.0), (359.99, 50.0), (120.0, 89.99), (10.0, -90.0)]
CORNERS = st.lists(st.tuples(st.floats(-80, 80), st.floats(-80, 80)), min_size=3, max_size=9)


@settings(deadline=None, max_examples=60)
@given(CORNERS, st.sampled_from(FIELDS), st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_the_quadrangles_cover_every_point_between_the_corners(offsets, field, weights):
    corners = [number for east, north in offsets for number in stepped(*field, east, north)]
    quads = region_quads(polygon(corners))
    assume(quads and sum(weights[: len(offsets)]) > 0.01)
    x, y, z = (sum(w * p[axis] for w, p in zip(weights, vectors(corners), strict=False)) for axis in range(3))
    assert covers(quads, math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y))))


@pytest.mark.parametrize(("ra_deg", "dec_deg"), FIELDS)
def test_a_polygon_across_the_meridian_or_a_pole_is_one_quadrangle(ra_deg, dec_deg):
    corners = square(ra_deg, dec_deg, 200, 20)
    assert max(corners[::2]) - min(corners[::2]) > 180 or ra_deg == 120.0
    quads = region_quads(polygon(corners))
    assert len(quads) == 1
    assert covers(quads, ra_deg, dec_deg)


@pytest.mark.parametrize("num_corners", range(3, 10))
def test_a_regular_polygon_is_covered_up_to_each_of_its_corners(num_corners):
    angles = [2 * math.pi * corner / num_corners for corner in range(num_corners)]
    steps = [(80 * math.sin(angle), 80 * math.cos(angle)) for angle in angles]
    quads = region_quads(polygon([number for step in steps for number in stepped(33.0, -45.0, *step)]))
    for east, north in steps:
        assert covers(quads, *stepped(33.0, -45.0, 0.99 * east, 0.99 * north))
        assert not covers(quads, *stepped(33.0, -45.0, 1.01 * east, 1.01 * north))
    for (east, north), (next_east, next_north) in pairwise([*steps, steps[0]]):
        middle = (east + next_east) / 2, (north + next_north) / 2
        assert covers(quads, *stepped(33.0, -45.0, *(0.99 * length for length in middle)))
        assert not covers(quads, *stepped(33.0, -45.0, *(1.02 * length for length in middle)))


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(0.0, 0.0), (200.0, 89.9), (33.0, -45.0)])
def test_the_square_of_a_circle_holds_its_whole_edge_and_little_more(ra_deg, dec_deg):
    quads = region_quads(f"Circle {ra_deg} {dec_deg} 2.5E-2")
    for angle in range(0, 360, 5):
        step = [89.9 * f(math.radians(angle)) for f in (math.sin, math.cos)]
        assert covers(quads, *stepped(ra_deg, dec_deg, *step))
        assert not covers(quads, *stepped(ra_deg, dec_deg, *(1.43 * length for length in step)))


@pytest.mark.parametrize(
    "other", ["BOX ICRS 1 2 3 4", "POLYGON ICRS 1 2 3", "CIRCLE ICRS 1 2 0", "CIRCLE ICRS 9 9 0.02"]
)
def test_a_shape_that_covers_nothing_does_not_end_the_region(other):
    shape = polygon(square(5, 5, 80))
    num = 2 if other.endswith("0.02") else 1
    for region in (f"{other} {shape}", f"{shape} {other}"):
        quads = region_quads(region)
        assert len(quads) == num and covers(quads, 5, 5)


def test_numbers_of_a_region_may_have_signs_and_exponents():
    (quad,) = region_quads("CIRCLE ICRS +1.5e1 -3.0E+1 20e-3")
    (same,) = region_quads("CIRCLE ICRS 15 -30 0.02")
    assert quad == same


@pytest.mark.parametrize("footprint", [None, "", "UNKNOWN", "POLYGON ICRS"])
@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(0.0, 30.0), (30.0, 0.0), (200.0, 89.9)])
def test_without_a_usable_footprint_the_field_of_the_widest_camera_is_guarded(ra_deg, dec_deg, footprint):
    found = footprints_of(ra_deg=ra_deg, dec_deg=dec_deg, footprint=footprint)
    to_corner = math.atan(math.sqrt(2) * math.tan(math.radians(143 / 3600)))
    assert found.radius_rad.tolist() == pytest.approx([to_corner], rel=1e-6)
    assert found.centre[0].tolist() == pytest.approx(vectors([ra_deg, dec_deg])[0], abs=1e-9)


def test_a_footprint_counts_before_the_field_around_the_position():
    found = footprints_of(ra_deg=10.0, dec_deg=20.0, footprint=polygon(square(10.0, 20.0, 30)))
    assert found.radius_rad.tolist() == pytest.approx([math.radians(15 * math.sqrt(2) / 3600)], rel=1e-3)


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(None, 20.0), (10.0, None), (None, None)])
def test_an_observation_with_half_a_position_is_nowhere(ra_deg, dec_deg):
    assert len(footprints_of(ra_deg=ra_deg, dec_deg=dec_deg)) == 0


@pytest.mark.parametrize("radius_deg", [1.0, 10.0, 28.6])
def test_the_square_of_a_large_circle_holds_its_whole_edge(radius_deg):
    quads = region_quads(f"CIRCLE ICRS 0 90 {radius_deg}")
    for ra_deg in range(0, 360, 5):
        assert covers(quads, ra_deg, 90 - 0.999 * radius_deg)
        assert not covers(quads, ra_deg, 90 - 1.5 * radius_deg)


OVERLAP_FIELDS = [(0.0, 0.0), (359.999, 45.0), (120.0, 89.999), (0.0, -90.0), (10.0, -89.9)]
SQUARES = st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.sampled_from([2.0, 20.0, 25.0, 80.0]), st.floats(0, 90))


def placed(field, offsets):
    """A square, its centre moved by arcseconds east and north of the field's centre."""
    (ra, dec), (east, north, side, roll) = field, offsets
    north_deg = max(-90.0, min(90.0, dec + north / 3600))
    return square((ra + east / 3600 / max(np.cos(np.radians(north_deg)), 1e-6)) % 360, north_deg, side, roll)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(OVERLAP_FIELDS),
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
    monkeypatch.setattr(module, "CHUNK", 2)
    places = (50, 10, 51, 20, 52, 53, 30)
    mine, others = ([square(ra, 0, 20) for ra in ras] for ras in (places, (50, 51, 52, 53)))
    others = [*[square(53 + 24 / 3600, 0, 20)] * 40, *others]  # 40 candidates beside the one that overlaps
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
