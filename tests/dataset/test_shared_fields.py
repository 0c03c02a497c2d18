"""Splits of skies on which dozens of proposals look at the same few fields, some through previews without WCS."""

import math
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_cases import material, observation, proposal, slow_gap_arcsec, square, stepped, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.dataset.splits.assign import assign_splits
from hubbleclip.dataset.splits.shared_fields import field_links

FIELDS = [(0.001, 0.0), (150.1, 89.99), (53.1, -27.8)]
SIDE_ARCSEC = 20.0
GUARD_ARCSEC = 2.0
SETTINGS = SplitSettings(val_share=0.1, test_share=0.1, guard_arcsec=GUARD_ARCSEC)

LOOKS = st.lists(
    st.tuples(
        st.integers(0, 39),
        st.sampled_from(FIELDS),
        st.floats(-60, 60),
        st.floats(-60, 60),
        st.floats(0, 90),
        st.booleans(),
        st.sampled_from([None, None, None, "IO", "Jupiter", "JUPITER-POLE"]),
    ),
    min_size=1,
    max_size=45,
)


def look(index, number, field, east, north, roll, is_preview, moving):
    """A tile and its observation: a preview has no corners of its own, a moving target no footprint."""
    ra, dec = stepped(*field, east, north)
    corners = square(ra, dec, SIDE_ARCSEC, roll)
    footprint = None if moving else "POLYGON ICRS " + " ".join(f"{number:.12f}" for number in corners)
    seen = observation(f"o{index}", f"p{number}", moving or "FIELD", moving is not None)
    seen = replace(seen, ra_deg=ra, dec_deg=dec, footprint=footprint)
    return tile(index, f"p{number}", () if is_preview or moving else corners, seen.obs_id), seen, corners


def build_sky(looks):
    """Tiles, observations, proposals, and what each tile shows: a moving body or corners on the sky."""
    all_looks = [look(index, *drawn) for index, drawn in enumerate(looks)]
    tiles = [one for one, _, _ in all_looks]
    shows = {
        one.tile_id: seen.target_name.upper()[:2] if seen.is_moving else corners for one, seen, corners in all_looks
    }
    return (
        tiles,
        {seen.obs_id: seen for _, seen, _ in all_looks},
        {t.proposal_id: proposal(t.proposal_id) for t in tiles},
        shows,
    )


def clash(one, other, margin_arcsec=-1e-6):
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return slow_gap_arcsec(one, other) < GUARD_ARCSEC + margin_arcsec


def assert_nothing_leaks(tiles, plans, shows):
    for a, b in combinations([t for t in tiles if plans[t.tile_id].split != "excluded"], 2):
        if plans[a.tile_id].split != plans[b.tile_id].split:
            assert a.proposal_id != b.proposal_id
            assert not clash(shows[a.tile_id], shows[b.tile_id])


def with_corners(looks):
    """The looks whose tiles have corners: without their observations, only the sky guard keeps them apart."""
    return [one for one in looks if not (one[5] or one[6])]


def split(tiles, observations, proposals, existing):
    plans = assign_splits(material(tiles, observations, proposals), existing, SETTINGS)
    return existing | {plan.tile_id: plan for plan in plans}


@settings(deadline=None, max_examples=25)
@given(LOOKS, st.lists(st.integers(0, 45), max_size=4), st.booleans())
def test_night_after_night_no_tile_moves_and_nothing_leaks(looks, ends, is_linked):
    tiles, observations, proposals, shows = build_sky(looks if is_linked else with_corners(looks))
    plans = {}
    for _, end in pairwise([0, *sorted(ends), len(tiles)]):
        night = tiles[:end]
        known = {t.proposal_id: proposals[t.proposal_id] for t in night}
        seen = {t.obs_id: observations[t.obs_id] for t in night if is_linked}
        later = split(night, seen, known, plans)
        assert later.items() >= plans.items()
        plans = later
        assert_nothing_leaks(night, plans, shows)
    groups = {(plan.group_id, plan.split) for plan in plans.values() if plan.split != "excluded"}
    assert len(groups) == len({group for group, _ in groups})


@settings(deadline=None, max_examples=30)
@given(LOOKS, st.randoms())
def test_only_conflicting_tiles_are_excluded_and_the_order_plays_no_part(looks, rng):
    tiles, observations, proposals, shows = build_sky(looks)
    plans = split(tiles, observations, proposals, {})
    held_out = [shows[key] for key, plan in plans.items() if plan.split in ("val", "test")]
    excluded = [shows[key] for key, plan in plans.items() if plan.split == "excluded"]
    assert all(any(clash(one, other, 1e-6) for other in held_out) for one in excluded)
    rng.shuffle(tiles)
    assert split(tiles, observations, proposals, {}) == plans


def linked(looks):
    _, observations, _, _ = build_sky(looks)
    return {(link.one, link.other) for link in field_links(observations.values())}


@pytest.mark.parametrize("field", FIELDS)
def test_proposals_on_one_field_are_linked_across_the_pole_and_the_meridian(field):
    assert linked([(0, field, -40, 0, 0, False, None), (1, field, 40, 0, 0, False, None)]) == {("p0", "p1")}


@pytest.mark.parametrize("survey_number", [0, 9])
def test_a_survey_that_passes_over_a_field_does_not_join_it(survey_number):
    survey = [(survey_number, (10.0 * step, 20.0), 0, 0, 0, False, None) for step in range(10)]
    assert linked([*survey, (1, (10.0, 20.0), 0, 0, 0, False, None), (2, (20.0, 20.0), 0, 0, 0, False, None)]) == set()


def test_many_observations_of_one_field_do_not_join_the_survey_that_passes_over_it():
    survey = [(0, (10.0 * step, 20.0), 0, 0, 0, False, None) for step in range(10)]
    assert linked([*survey, *[(1, (10.0, 20.0), 0, 0, 0, False, None)] * 10]) == set()


@pytest.mark.parametrize(("apart_arcsec", "is_near"), [(115, True), (420, False)])
def test_observations_are_near_up_to_the_width_of_a_field(apart_arcsec, is_near):
    for angle in range(0, 360, 15):
        for field in (*FIELDS, (211.3, 54.4), (77.0, -3.0)):
            step = (apart_arcsec * math.sin(angle), apart_arcsec * math.cos(angle))
            looks = [(0, field, 0, 0, 0, False, None), (1, field, *step, 0, False, None)]
            assert (linked(looks) == {("p0", "p1")}) == is_near


@pytest.mark.parametrize("of", [lambda arcsec: (arcsec, 0.0), lambda arcsec: (0.0, arcsec)], ids=["RA", "Dec"])
def test_observations_on_both_sides_of_zero_are_no_farther_linked_than_elsewhere(of):
    looks = [(number, (0.0, 0.0), *of(arcsec), 0, False, None) for number, arcsec in enumerate((230.0, -110.0))]
    assert linked(looks) == set()


def test_a_share_that_is_met_exactly_links_and_is_recorded():
    looks = [
        (who, (ra, 20.0), 0, 0, 0, False, None) for who, ra in ((0, 10), (0, 50), (1, 10), (1, 90), (1, 10), (1, 99))
    ]
    _, observations, _, _ = build_sky(looks)
    (link,) = field_links(observations.values())
    assert (link.one, link.other, link.reason, link.detail) == ("p0", "p1", "field", "50% of the observations are near")


def test_observations_at_ra_zero_and_dec_zero_are_placed():
    for field in ((0.0, 0.0), (0.0, 30.0), (30.0, 0.0)):
        seen = [replace(observation(name, name), ra_deg=field[0], dec_deg=field[1]) for name in ("p0", "p1")]
        assert [(link.one, link.other) for link in field_links(seen)] == [("p0", "p1")]


def test_observations_without_a_position_do_not_count_in_the_share():
    seen = [replace(observation(name, name), ra_deg=10.0, dec_deg=20.0) for name in ("p0", "p1")]
    nowhere = [observation(f"n{i}", f"p{i % 2}") for i in range(8)]
    halves = [replace(observation("h", "p0"), ra_deg=10.0), replace(observation("i", "p1"), dec_deg=20.0)]
    (link,) = field_links([*nowhere, *seen, *halves])
    assert link.detail == "100% of the observations are near"


def test_a_moving_target_and_a_fixed_one_at_one_position_are_no_shared_field():
    at = {"ra_deg": 10.0, "dec_deg": 20.0}
    moving = replace(observation("o0", "p0", "JUPITER", is_moving=True), **at)
    fixed = replace(observation("o1", "p1", "JUPITER"), **at)
    assert field_links([moving, fixed]) == []


def test_moving_targets_without_a_position_are_a_shared_field():
    seen = [observation(f"o{i}", f"p{i}", name, is_moving=True) for i, name in enumerate(("67P", "COMET-67P", "9P"))]
    assert [(link.one, link.other) for link in field_links(seen)] == [("p0", "p1")]
