from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_cases import LIKE_C, TEXT, material, observation, plan_of, proposal, square, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.splits.assign import (
    GROUP_CONFLICT,
    LATE_LINK,
    assign_splits,
    draw_splits,
    late_linked,
)
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_id
from hubbleclip.dataset.splits.sky_guard import find_conflicts, guard_sky, locate_tiles
from hubbleclip.missions.base import PARALLEL

SETTINGS = SplitSettings(val_share=0.2, test_share=0.2, guard_arcsec=2.0)


def by_tile(assignments):
    return {a.tile_id: a for a in assignments}


def proposals_of(tiles):
    return {t.proposal_id: proposal(t.proposal_id) for t in tiles}


def drawn_home(split, taken=()):
    """A proposal that the hash alone puts into `split`."""
    for i in range(1000):
        name = f"{split}{i}"
        if name not in taken and draw_splits({group_id(name), "a", "b", "c"}, {}, SETTINGS)[group_id(name)] == split:
            return name
    raise AssertionError


def conflict(one, other, observations):
    """The cause for which a tile conflicts with another."""
    positions = locate_tiles(material([one, other], observations, {}))
    return find_conflicts(positions, np.array([0]), np.array([1]), 2.0).get(0)


HELD_OUT_FIRST = ("test", "val", "train")


@pytest.mark.parametrize("is_moving", [False, True])
def test_of_two_tiles_of_one_place_the_new_one_or_that_of_the_lower_split_gives_way(is_moving):
    tiles = [tile(name, f"p{name}", () if is_moving else square(5, 5, 20), name) for name in "ab"]
    seen = {name: observation(name, f"p{name}", "JUPITER", is_moving=is_moving) for name in "ab"}
    positions = locate_tiles(material(tiles, seen, {}))
    for splits, frozen_tiles in product(product(HELD_OUT_FIRST, repeat=2), product((False, True), repeat=2)):
        expected = {}
        if len(set(splits)) == 2 and not all(frozen_tiles):
            lower = 1 if HELD_OUT_FIRST.index(splits[1]) > HELD_OUT_FIRST.index(splits[0]) else 0
            loser = frozen_tiles.index(False) if any(frozen_tiles) else lower
            cause = "moving_target" if is_moving else "overlap"
            expected = {loser: f"sky_guard:{cause if loser == lower else f'old_{splits[1 - loser]}'}"}
        assert guard_sky(positions, splits, np.array(frozen_tiles), 1.0) == expected, (splits, frozen_tiles)


def test_a_tile_that_gave_way_excludes_nothing_itself():
    at = square(5, 5, 20)
    old, test, train = tile("old", "p-old", at), tile("new", drawn_home("test"), at), tile("t", drawn_home("train"), at)
    tiles = [old, test, train]
    existing = plan_of(old, "train") | {
        s: SplitAssignment(tile_id=s, group_id=s, split=s, reason=None) for s in ("val", "test")
    }
    plans = by_tile(assign_splits(material(tiles, {}, proposals_of(tiles)), existing, SETTINGS))
    assert plans[test.tile_id].split == "excluded"
    assert plans[train.tile_id].split == "train"


def test_near_duplicate_abstracts_share_group_and_split():
    tiles = [tile(i, f"p{i}") for i in range(12)]
    proposals = {f"p{i}": proposal(f"p{i}", f"{TEXT} last{i}" if i % 2 else None) for i in range(12)}
    plans = by_tile(assign_splits(material(tiles, {}, proposals), {}, SETTINGS))
    odd = {(plans[t.tile_id].group_id, plans[t.tile_id].split) for t in tiles[1::2]}
    assert odd == {(group_id("p1"), odd.copy().pop()[1])}
    assert len({plans[t.tile_id].group_id for t in tiles}) == 7


@pytest.mark.parametrize("groups", ["ab", "ba"])
def test_a_new_proposal_between_two_old_splits_is_excluded_for_good_in_the_smallest_of_their_groups(groups):
    a, b, c, c2 = tile("a", "a"), tile("b", "b"), tile("c", "c"), tile("c2", "c")
    proposals = {key: proposal(key, value) for key, value in LIKE_C.items()}
    old = plan_of(a, "train", groups[0] * 16) | plan_of(b, "test", groups[1] * 16)
    settings = SplitSettings(near_duplicate=0.75)
    (plan,) = assign_splits(material([a, b, c], {}, proposals), old, settings)
    assert (plan.split, plan.reason, plan.group_id) == ("excluded", GROUP_CONFLICT, "a" * 16)
    (later,) = assign_splits(material([a, b, c, c2], {}, proposals), old | {c.tile_id: plan}, settings)
    assert (later.split, later.reason) == ("excluded", GROUP_CONFLICT)


@pytest.mark.parametrize(("home", "other"), [("train", "test"), ("train", "val"), ("val", "test")])
@pytest.mark.parametrize("title", ["a title of its own", "the same title of a series"])
def test_proposals_that_are_linked_only_later_are_excluded_on_the_side_of_train(home, other, title):
    kept, lost, aside = tile("kept", "a"), tile("lost", "b"), tile("aside", "c")
    old = plan_of(kept, other, "a" * 16) | plan_of(lost, home, "b" * 16) | plan_of(aside, home, "c" * 16)
    before = {key: replace(proposal(key), abstract=None, title=f"Number {key}") for key in "abc"}
    assert assign_splits(material([kept, lost, aside], {}, before), old, SETTINGS) == []
    linked = {"abstract": TEXT} if title.startswith("a title") else {"title": title}
    after = before | {key: replace(before[key], **linked) for key in "ab"}
    plans = assign_splits(material([kept, lost, aside], {}, after), old, SETTINGS)
    assert plans == [replace(old[lost.tile_id], split="excluded", reason=LATE_LINK)]
    assert assign_splits(material([kept, lost, aside], {}, after), old | by_tile(plans), SETTINGS) == []


def test_a_proposal_that_was_excluded_by_a_late_link_stays_excluded_with_its_new_tiles():
    kept, lost, new, again = tile("kept", "a"), tile("lost", "b"), tile("new", "b"), tile("again", "b")
    proposals = {key: proposal(key, TEXT) for key in "ab"}
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    plans = by_tile(assign_splits(material([kept, lost, new], {}, proposals), old, SETTINGS))
    assert {key: plan.reason for key, plan in plans.items()} == {lost.tile_id: LATE_LINK, new.tile_id: LATE_LINK}
    (later,) = assign_splits(material([kept, lost, new, again], {}, proposals), old | plans, SETTINGS)
    assert (later.split, later.reason) == ("excluded", LATE_LINK)
    former = {"b": old[lost.tile_id]}
    (cut_again,) = assign_splits(material([kept, again], {}, proposals), old, SETTINGS, former=former)
    assert (cut_again.split, cut_again.reason) == ("excluded", LATE_LINK)


def test_a_late_link_frees_the_sky_of_the_excluded_tiles():
    at = square(5, 5, 20)
    kept, lost, new = tile("kept", "a"), tile("lost", "b", at), tile("new", "a", at)
    proposals = {key: proposal(key, TEXT) for key in "ab"}
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    plans = by_tile(assign_splits(material([kept, lost, new], {}, proposals), old, SETTINGS))
    assert (plans[new.tile_id].split, plans[lost.tile_id].split) == ("test", "excluded")


def test_other_tile_settings_keep_a_group_where_it_was():
    tiles = [tile(i, f"p{i}") for i in range(30)]
    first = assign_splits(material(tiles, {}, proposals_of(tiles)), {}, SETTINGS)
    cut_again = [tile(f"again{i}", f"p{i}") for i in range(30)]
    moved = {a.group_id: {"train": "test", "test": "val", "val": "train"}[a.split] for a in first}
    existing = {a.tile_id: replace(a, split=moved[a.group_id]) for a in first}
    again = assign_splits(material(cut_again, {}, proposals_of(tiles)), existing, SETTINGS)
    assert {a.group_id: a.split for a in again} == moved


@settings(max_examples=40)
@given(st.integers(3, 12), st.text(max_size=5))
def test_three_groups_or_more_leave_no_split_empty(num_groups, salt):
    drawn = draw_splits({f"g{i}" for i in range(num_groups)}, {}, SplitSettings(salt=salt))
    assert set(drawn.values()) == {"train", "val", "test"}


def test_a_proposal_that_is_cut_again_stays_where_it_was_though_its_group_has_a_smaller_one_now():
    same = {key: proposal(key, "the same words as before here") for key in ("p1", "p5")}
    former = {"p5": SplitAssignment(tile_id="gone", group_id="a" * 16, split="val", reason=None)}
    tiles = [tile("again", "p5"), tile("new", "p1")]
    plans = assign_splits(material(tiles, {}, same), {"gone": former["p5"]}, SETTINGS, former=former)
    assert {(plan.group_id, plan.split) for plan in plans} == {("a" * 16, "val")}


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("val", "train"), ("test", "val"), ("val", "val")])
def test_of_two_old_tiles_of_one_body_the_one_of_the_lower_split_is_excluded(one, other):
    tiles = [tile("a", "a", (), "o1"), tile("b", "b", (), "o2")]
    observations = {
        f"o{i}": observation(f"o{i}", target=name, is_moving=True) for i, name in enumerate(("67P", "CHURYUMOV-67P"), 1)
    }
    old = plan_of(tiles[0], one, "a" * 16) | plan_of(tiles[1], other, "b" * 16)
    plans = by_tile(assign_splits(material(tiles, observations, proposals_of(tiles)), old, SETTINGS))
    lower = max((0, 1), key=lambda index: HELD_OUT_FIRST.index((one, other)[index]))
    lost = {tiles[lower].tile_id} if one != other else set()
    assert {key: plan.reason for key, plan in plans.items()} == dict.fromkeys(lost, "sky_guard:moving_target")


@pytest.mark.parametrize("note", [None, PARALLEL])
def test_a_parallel_exposure_shows_the_sky_beside_a_moving_target(note):
    seen = {name: observation(name, name, "JUPITER", is_moving=name != "field") for name in ("near", "field", "body")}
    near, field, body = (tile(name, name, square(5, 5, 20), name) for name in seen)
    near = replace(near, note=note)
    assert conflict(near, field, seen) == (note and "overlap")
    assert conflict(near, body, seen) == (None if note else "moving_target")
    old = plan_of(near, "train", "a" * 16) | plan_of(body, "test", "b" * 16)
    tiles = [near, body]
    assert bool(assign_splits(material(tiles, seen, proposals_of(tiles)), old, SETTINGS)) == (note is None)


@pytest.mark.parametrize("place", range(8))
def test_a_tile_with_one_corner_that_is_not_finite_has_the_footprint_of_its_observation(place):
    corners = square(5, 5, 20)
    corners[place] = float("inf") if place % 2 else float("nan")
    far = " ".join(map(str, square(90, 40, 20)))
    seen = {"o": replace(observation("o"), footprint=f"POLYGON ICRS {far}")}
    assert conflict(tile("a", "p", corners, "o"), tile("b", "q", square(90, 40, 20)), seen) == "overlap"


@pytest.mark.parametrize("ra_deg", [30.0, 31.0, 50.0])
def test_a_preview_is_guarded_on_every_chip_of_its_observation(ra_deg):
    shapes = (" ".join(map(str, square(ra, 10, 80))) for ra in (30.0, 31.0))
    seen = {"o": replace(observation("o"), footprint=" ".join(f"POLYGON ICRS {shape}" for shape in shapes))}
    tiles = [tile("a", "p", (), "o"), tile("b", "q", square(ra_deg, 10, 20))]
    for order in (1, -1):
        assert conflict(*tiles[::order], seen) == (None if ra_deg == 50.0 else "overlap")


def test_in_a_chain_of_links_all_proposals_below_the_best_split_are_excluded():
    links = [Link(one=one, other="b", reason=why, detail="") for one, why in (("a", "text"), ("c", "title"))]
    for splits in product((*HELD_OUT_FIRST, "excluded"), repeat=3):
        expected = set()
        for chain in [range(3)] if splits[1] != "excluded" else [[0], [2]]:
            ranks = {"abc"[i]: HELD_OUT_FIRST.index(splits[i]) for i in chain if splits[i] != "excluded"}
            expected |= {name for name, rank in ranks.items() if rank > min(ranks.values())}
        assert late_linked(dict(zip("abc", splits, strict=True)), links) == expected, splits
