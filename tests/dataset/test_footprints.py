import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sky_cases import (
    cross,
    dot,
    material,
    observation,
    square,
    stepped,
    tile,
    vectors,
)

from hubbleclip.dataset.splits.footprints import region_quads
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
