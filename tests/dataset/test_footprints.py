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
    proposal,
    square,
    stepped,
    tile,
    vectors,
)

from hubbleclip.dataset.splits.footprints import region_quads
from hubbleclip.dataset.splits.sky_guard import locate_tiles

REAL = (
    "POLYGON GSC1  23.17474785  60.66012593  23.15424076  60.61702967  23.06645518  60.62703769"
    "  23.08684334  60.67014825  23.17474785  60.66012593"
)
"""As MAST writes it: closed, with a frame."""


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


def test_a_closed_quadrangle_of_mast_is_one_quadrangle():
    (quad,) = region_quads(REAL)
    assert sorted(round(ra, 8) for ra in quad[::2]) == [23.06645518, 23.08684334, 23.15424076, 23.17474785]


@pytest.mark.parametrize(
    "region",
    [
        "",
        "POLYGON ICRS 1 2 3",
        "POLYGON ICRS 1 1 1 1 1 1",
        "CIRCLE ICRS 1 2",
        "CIRCLE ICRS 1 2 0",
        "BOX ICRS 1 2 3 4",
        "POLYGON ICRS 0 0 120 0 240 0",
        "POLYGON ICRS 1 1 2 1 2 2 1",
        "POLYGON ICRS 1 1 2 1",
        "unknown",
    ],
)
def test_a_broken_or_endless_region_covers_nothing(region):
    assert region_quads(region) == []


def test_a_frame_of_two_words_or_none_makes_no_difference():
    numbers = " ".join(map(str, square(5, 5, 80)))
    starts = ("Polygon", "POLYGON J2000", "polygon FK5 TOPOCENTER")
    (quad,), *others = (region_quads(f"{start} {numbers}") for start in starts)
    assert others == [[quad], [quad]]


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


def test_a_region_is_used_up_to_a_radius_of_half_a_radian():
    assert len(region_quads("CIRCLE ICRS 10 20 28.6")) == 1
    assert region_quads("CIRCLE ICRS 10 20 28.7") == []
    assert region_quads("CIRCLE ICRS 10 20 -1") == region_quads("CIRCLE ICRS 10 20 1 2") == []
    assert region_quads("POLYGON ICRS 0 0 1 0 1 1 0 1 0 80") == []


@pytest.mark.parametrize("footprint", [None, "", "UNKNOWN", "POLYGON ICRS"])
def test_a_position_without_a_usable_footprint_is_guarded_by_the_widest_camera(footprint):
    seen = replace(observation("o"), ra_deg=10.0, dec_deg=20.0, footprint=footprint)
    one = tile("a", "p", obs_id="o")
    positions = locate_tiles(material([one], {"o": seen}, {"p": proposal("p")}))
    assert positions.tile_of_row.tolist() and set(positions.tile_of_row.tolist()) == {0}


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


@pytest.mark.parametrize(("ra_deg", "dec_deg"), [(0.0, 0.0), (200.0, 89.9), (33.0, -45.0)])
def test_the_guarded_field_without_a_footprint_has_half_the_diagonal_of_the_widest_camera_as_radius(ra_deg, dec_deg):
    found = footprints_of(ra_deg=ra_deg, dec_deg=dec_deg)
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


@pytest.mark.parametrize(("radius_deg", "num_quads"), [(28.6, 1), (28.7, 0), (50.0, 0)])
def test_a_polygon_is_used_up_to_a_radius_of_half_a_radian(radius_deg, num_quads):
    corners = " ".join(f"{ra_deg} {90 - radius_deg}" for ra_deg in (0, 90, 180, 270))
    assert len(region_quads(f"POLYGON ICRS {corners}")) == num_quads
