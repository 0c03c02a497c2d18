"""Splits of tiles and of groups of proposals: how they are drawn, what links decide, and what a random split would leak."""

import hashlib
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_cases import LIKE_C, TEXT, material, observation, plan_of, proposal, slow_gap_arcsec, square, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.splits.assign import (
    GROUP_CONFLICT,
    LATE_LINK,
    assign_splits,
    draw_splits,
    late_linked,
    leak_report,
)
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_id
from hubbleclip.dataset.splits.sky_guard import find_conflicts, guard_sky, locate_tiles
from hubbleclip.missions.base import PARALLEL

SETTINGS = SplitSettings(val_share=0.2, test_share=0.1, salt="s", guard_arcsec=2.0)


def conflict(one, other, observations):
    """The cause for which a tile conflicts with another."""
    positions = locate_tiles(material([one, other], observations, {}))
    return find_conflicts(positions, np.array([0]), np.array([1]), 2.0).get(0)


HELD_OUT_FIRST = ("test", "val", "train")
BOTH = {"a": TEXT, "b": TEXT}
"""One text of two proposals."""


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
    old, test, train = (
        tile("old", "p-old", at),
        tile("new", proposal_drawn_for("test"), at),
        tile("t", proposal_drawn_for("train"), at),
    )
    tiles = [old, test, train]
    existing = plan_of(old, "train") | {
        s: SplitAssignment(tile_id=s, group_id=s, split=s, reason=None) for s in ("val", "test")
    }
    plans = new_plans(tiles, existing)
    assert plans[test.tile_id].split == "excluded"
    assert plans[train.tile_id].split == "train"


def test_near_duplicate_abstracts_share_group_and_split():
    tiles = [tile(i, f"p{i}") for i in range(12)]
    plans = new_plans(tiles, {}, texts={f"p{i}": f"{TEXT} last{i}" for i in range(1, 12, 2)})
    odd = {(plans[t.tile_id].group_id, plans[t.tile_id].split) for t in tiles[1::2]}
    assert odd == {(group_id("p1"), odd.copy().pop()[1])}
    assert len({plans[t.tile_id].group_id for t in tiles}) == 7


@pytest.mark.parametrize("groups", ["ab", "ba"])
def test_a_new_proposal_between_two_old_splits_is_excluded_for_good_in_the_smallest_of_their_groups(groups):
    a, b, c, c2 = tile("a", "a"), tile("b", "b"), tile("c", "c"), tile("c2", "c")
    old = plan_of(a, "train", groups[0] * 16) | plan_of(b, "test", groups[1] * 16)
    similar = {"texts": LIKE_C, "wanted": SplitSettings(near_duplicate=0.75)}
    (plan,) = new_plans([a, b, c], old, **similar).values()
    assert (plan.split, plan.reason, plan.group_id) == ("excluded", GROUP_CONFLICT, "a" * 16)
    (later,) = new_plans([a, b, c, c2], old | {c.tile_id: plan}, **similar).values()
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
    assert assign_splits(material([kept, lost, aside], {}, after), old | {lost.tile_id: plans[0]}, SETTINGS) == []


def test_a_proposal_that_was_excluded_by_a_late_link_stays_excluded_with_its_new_tiles():
    kept, lost, new, again = tile("kept", "a"), tile("lost", "b"), tile("new", "b"), tile("again", "b")
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    plans = new_plans([kept, lost, new], old, texts=BOTH)
    assert {key: plan.reason for key, plan in plans.items()} == {lost.tile_id: LATE_LINK, new.tile_id: LATE_LINK}
    (later,) = new_plans([kept, lost, new, again], old | plans, texts=BOTH).values()
    assert (later.split, later.reason) == ("excluded", LATE_LINK)
    (cut_again,) = new_plans([kept, again], old, texts=BOTH, former={"b": old[lost.tile_id]}).values()
    assert (cut_again.split, cut_again.reason) == ("excluded", LATE_LINK)


def test_a_late_link_frees_the_sky_of_the_excluded_tiles():
    at = square(5, 5, 20)
    kept, lost, new = tile("kept", "a"), tile("lost", "b", at), tile("new", "a", at)
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    plans = new_plans([kept, lost, new], old, texts=BOTH)
    assert (plans[new.tile_id].split, plans[lost.tile_id].split) == ("test", "excluded")


def test_other_tile_settings_keep_a_group_where_it_was():
    tiles = [tile(i, f"p{i}") for i in range(30)]
    first = new_plans(tiles, {}).values()
    cut_again = [tile(f"again{i}", f"p{i}") for i in range(30)]
    moved = {a.group_id: {"train": "test", "test": "val", "val": "train"}[a.split] for a in first}
    existing = {a.tile_id: replace(a, split=moved[a.group_id]) for a in first}
    again = new_plans(cut_again, existing).values()
    assert {a.group_id: a.split for a in again} == moved


@settings(max_examples=40)
@given(st.integers(3, 12), st.text(max_size=5))
def test_three_groups_or_more_leave_no_split_empty(num_groups, salt):
    drawn = draw_splits({f"g{i}" for i in range(num_groups)}, {}, SplitSettings(salt=salt))
    assert set(drawn.values()) == {"train", "val", "test"}


def test_a_proposal_that_is_cut_again_stays_where_it_was_though_its_group_has_a_smaller_one_now():
    same = dict.fromkeys(("p1", "p5"), "the same words as before here")
    former = {"p5": SplitAssignment(tile_id="gone", group_id="a" * 16, split="val", reason=None)}
    tiles = [tile("again", "p5"), tile("new", "p1")]
    plans = new_plans(tiles, {"gone": former["p5"]}, texts=same, former=former)
    assert {(plan.group_id, plan.split) for plan in plans.values()} == {("a" * 16, "val")}


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("val", "train"), ("test", "val"), ("val", "val")])
def test_of_two_old_tiles_of_one_body_the_one_of_the_lower_split_is_excluded(one, other):
    tiles = [tile("a", "a", (), "o1"), tile("b", "b", (), "o2")]
    observations = {
        f"o{i}": observation(f"o{i}", target=name, is_moving=True) for i, name in enumerate(("67P", "CHURYUMOV-67P"), 1)
    }
    old = plan_of(tiles[0], one, "a" * 16) | plan_of(tiles[1], other, "b" * 16)
    plans = new_plans(tiles, old, observations=observations)
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
    assert bool(new_plans([near, body], old, observations=seen)) == (note is None)


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


def draw_of(text):
    """Number in [0, 1) from the first 48 bits of SHA-256."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 2**48


def new_plans(tiles, existing, *, observations=None, texts=None, wanted=SETTINGS, former=None):
    """New assignments by tile id; a proposal without a text of its own is linked to no other."""
    proposals = {one.proposal_id: proposal(one.proposal_id, (texts or {}).get(one.proposal_id)) for one in tiles}
    found = assign_splits(material(tiles, observations or {}, proposals), existing, wanted, former=former)
    return {one.tile_id: one for one in found}


def names_by_draw(salt, num=400):
    """Group names in order of their draws."""
    return sorted((f"g{i}" for i in range(num)), key=lambda name: draw_of(f"{salt}:{name}"))


def test_a_group_is_drawn_by_the_salted_hash_of_its_name_for_test_then_val_then_train():
    wanted = {}
    for name in names_by_draw("s"):
        draw = draw_of(f"s:{name}")
        wanted[name] = "test" if draw < 0.1 else "val" if draw < 0.3 else "train"
    assert draw_splits(wanted, {}, SETTINGS) == wanted


BY_DRAW = names_by_draw("s")
IN_TEST, LOW, MID, HIGH = BY_DRAW[0], BY_DRAW[200], *BY_DRAW[-2:]
*_, LAST_OF_TEST = (name for name in BY_DRAW if draw_of(f"s:{name}") < 0.499)
NEAR_END = BY_DRAW[-40:-37]


@pytest.mark.parametrize(
    ("drawn", "existing", "shares"),
    [
        # groups with a split count towards the three that are needed
        ({IN_TEST: "test"}, {"a": "train", "b": "val"}, (0.1, 0.2)),
        ({IN_TEST: "train"}, {"a": "train"}, (0.1, 0.2)),
        # an empty split gets the group nearest to its range
        ({LOW: "test", MID: "val", HIGH: "train"}, {}, (0.01, 0.01)),
        ({LAST_OF_TEST: "test", **dict(zip(NEAR_END, ("val", "val", "train"), strict=True))}, {}, (0.499, 0.499)),
        # a split that old groups fill takes no new group, and one does not lose its only group
        (dict.fromkeys(BY_DRAW[-3:], "train"), {"a": "test", "b": "val"}, (0.1, 0.2)),
        ({IN_TEST: "test"}, {"a": "train", "b": "train"}, (0.1, 0.2)),
    ],
)
def test_a_split_that_is_empty_and_no_other_gets_a_group_that_was_drawn_for_another(drawn, existing, shares):
    wanted = SETTINGS.model_copy(update={"test_share": shares[0], "val_share": shares[1]})
    assert draw_splits(drawn, existing, wanted) == drawn


def test_the_leak_of_a_random_split_of_tiles_is_that_of_comparing_all_pairs():
    tiles, observations = [], {}
    for i in range(120):
        place = square(10 + 0.02 * (i % 31), 40 + (21.5 / 3600) * (i % 3), 20)  # 1.5 arcsec apart in declination
        body = {0: "JUPITER-POLE", 1: "Jupiter", 2: "IO"}.get(i % 50)
        tiles.append(tile(f"t{i}", f"p{i // 2}", () if body else place, f"o{i}"))
        observations[f"o{i}"] = observation(f"o{i}", target=body, is_moving=body is not None)
    links = [Link(one=f"p{i}", other=f"p{i + 3}", reason="text", detail="") for i in range(0, 30, 3)]
    held_out = {one.tile_id for one in tiles if draw_of(f"s:{one.tile_id}") < 0.3}
    linked = {f"p{i}" for i in range(0, 33, 3)}
    group_of = {one.tile_id: "p0" if one.proposal_id in linked else one.proposal_id for one in tiles}
    causes = {one.tile_id: set() for one in tiles if one.tile_id not in held_out}
    for a, b in [*combinations(tiles, 2), *combinations(reversed(tiles), 2)]:
        if a.tile_id in held_out or b.tile_id not in held_out:
            continue
        if group_of[a.tile_id] == group_of[b.tile_id]:
            causes[a.tile_id].add("num_shared_abstract")
        names = [observations[one.obs_id].target_name for one in (a, b)]
        if all(names) and names[0].upper()[:2] == names[1].upper()[:2]:
            causes[a.tile_id].add("num_moving_target")
        is_close = not any(names) and abs(a.corners_deg[0] - b.corners_deg[0]) < 0.03
        if is_close and slow_gap_arcsec(a.corners_deg, b.corners_deg) < 2.0:
            causes[a.tile_id].add("num_overlap")
    expected = {
        name: sum(name in found for found in causes.values())
        for name in ("num_shared_abstract", "num_overlap", "num_moving_target")
    }
    expected |= {"num_train": len(causes), "num_leaking": sum(bool(found) for found in causes.values())}
    assert min(expected.values()) > 0
    proposals = {one.proposal_id: proposal(one.proposal_id) for one in tiles}
    assert leak_report(material(tiles, observations, proposals), links, SETTINGS) == expected


def test_a_proposal_between_two_groups_of_one_split_joins_the_group_with_the_smallest_id():
    a, b, c = tile("a", "a"), tile("b", "b"), tile("c", "c")
    old = plan_of(a, "train", "b" * 16) | plan_of(b, "train", "a" * 16)
    wanted = SETTINGS.model_copy(update={"near_duplicate": 0.75})
    (found,) = new_plans([a, b, c], old, texts=LIKE_C, wanted=wanted).values()
    assert (found.split, found.reason, found.group_id) == ("train", None, "a" * 16)


def field_of(one, ra_deg):
    return replace(observation(one.obs_id, one.proposal_id), ra_deg=ra_deg, dec_deg=20.0)


def test_a_link_by_text_has_priority_over_one_by_a_shared_field():
    by_text, by_field, new = tile("t", "a"), tile("f", "b"), tile("n", "c")
    observations = {one.obs_id: field_of(one, ra) for one, ra in ((by_text, 9.0), (by_field, 50.0), (new, 50.0))}
    old = plan_of(by_text, "val", "b" * 16) | plan_of(by_field, "val", "a" * 16)
    texts = {"a": TEXT, "c": TEXT}
    found = new_plans([by_text, by_field, new], old, observations=observations, texts=texts)
    assert found[new.tile_id].group_id == "b" * 16


def test_a_proposal_in_a_field_of_two_splits_forms_a_group_of_its_own():
    one, other, new = tile("t", "a"), tile("f", "b"), tile("n", "c")
    observations = {each.obs_id: field_of(each, 50.0) for each in (one, other, new)}
    old = plan_of(one, "train", "a" * 16) | plan_of(other, "test", "b" * 16)
    wanted = SETTINGS.model_copy(update={"guard_arcsec": 0.0})
    found = new_plans([one, other, new], old, observations=observations, wanted=wanted)[new.tile_id]
    assert found.group_id == group_id("c")


def test_a_proposal_excluded_as_a_whole_stays_so_though_the_guard_excluded_other_tiles_of_it():
    first, second = sorted((tile("x", "p"), tile("y", "p")), key=lambda one: one.tile_id)
    new = tile("new", "p")
    old = plan_of(first, "excluded", reason=GROUP_CONFLICT) | plan_of(second, "excluded", reason="sky_guard:overlap")
    (found,) = new_plans([first, second, new], old).values()
    assert (found.split, found.reason) == ("excluded", GROUP_CONFLICT)


def test_the_group_of_an_existing_tile_counts_before_that_of_a_tile_that_no_longer_exists():
    now, new = tile("now", "p"), tile("new", "p")
    gone = SplitAssignment(tile_id="gone", group_id="z" * 16, split="test", reason=None)
    (found,) = new_plans([now, new], plan_of(now, "val", "a" * 16), former={"p": gone}).values()
    assert (found.group_id, found.split) == ("a" * 16, "val")


def test_a_late_link_leaves_the_reason_of_tiles_that_are_excluded_already():
    kept, lost, guarded = tile("kept", "a"), tile("lost", "b"), tile("guarded", "b")
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    old |= plan_of(guarded, "excluded", "b" * 16, "sky_guard:overlap")
    found = new_plans([kept, lost, guarded], old, texts=BOTH)
    assert {key: one.reason for key, one in found.items()} == {lost.tile_id: LATE_LINK}


def test_a_tile_that_a_late_link_excludes_keeps_no_moving_target_for_its_split():
    kept, lost, free = tile("kept", "a", (), "o1"), tile("lost", "b", (), "o2"), tile("free", "c", (), "o3")
    observations = {f"o{i}": observation(f"o{i}", target="67P", is_moving=i > 1) for i in (1, 2, 3)}
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "val", "b" * 16) | plan_of(free, "train", "c" * 16)
    found = new_plans([kept, lost, free], old, observations=observations, texts=BOTH)
    assert {key: one.reason for key, one in found.items()} == {lost.tile_id: LATE_LINK}


def test_new_tiles_that_the_guard_excludes_take_no_place_of_the_cap():
    held_out = tile("held out", "q", square(5, 5, 20))
    guarded = [tile(f"guarded{i}", "p", square(5, 5, 20)) for i in range(4)]
    free = [tile(f"free{i}", "p", square(9, 1 + i, 20)) for i in range(6)]
    anchor = tile("anchor", "p", square(30, 1, 20))
    old = plan_of(held_out, "test", "a" * 16) | plan_of(anchor, "train", "b" * 16)
    wanted = SETTINGS.model_copy(update={"max_tiles_per_proposal": 7})
    found = new_plans([held_out, anchor, *guarded, *free], old, wanted=wanted)
    assert {found[one.tile_id].split for one in free} == {"train"}
    assert {found[one.tile_id].reason for one in guarded} == {"sky_guard:overlap"}


def test_a_proposal_that_continues_an_excluded_one_does_not_join_the_group_of_its_field():
    corners = square(10.0, 5.0, 20.0)
    footprint = "POLYGON ICRS " + " ".join(f"{number:.9f}" for number in corners)
    seen = {
        f"obs of {name}": replace(observation(f"obs of {name}", name), ra_deg=10.0, dec_deg=5.0, footprint=footprint)
        for name in ("new", "field")
    }
    first, field, new = tile("a", "excluded"), tile("b", "field", corners), tile("c", "new", corners)
    texts = {"excluded": TEXT, "new": TEXT, "field": "Other words about other things altogether."}
    existing = plan_of(first, "excluded", "x" * 16, GROUP_CONFLICT) | plan_of(field, "train", "f" * 16)
    plans = new_plans([first, field, new], existing, observations=seen, texts=texts)
    assert plans[new.tile_id].group_id == "x" * 16
    alone = new_plans([field, new], plan_of(field, "train", "f" * 16), observations=seen, texts=texts)
    assert alone[new.tile_id].group_id == "f" * 16


def test_tiles_that_a_late_link_excludes_take_no_place_of_the_cap():
    lost, new, kept = (
        replace(tile(name, who, square(ra, 5.0, 2.0)), ra_deg=ra, dec_deg=5.0)
        for name, who, ra in (("lost", "b", 10.0), ("new", "c", 10.0), ("kept", "a", 80.0))
    )
    old = plan_of(kept, "test", "a" * 16) | plan_of(lost, "train", "b" * 16)
    old |= {"d": SplitAssignment(tile_id="d", group_id="c" * 16, split="val", reason=None)}
    wanted = SETTINGS.model_copy(update={"max_tiles_per_patch": 1, "guard_arcsec": 0.0})
    found = new_plans([kept, lost, new], old, texts=BOTH, wanted=wanted)
    assert found[lost.tile_id].reason == LATE_LINK
    assert found[new.tile_id].split != "excluded"


def proposal_drawn_for(split):
    bounds = {"test": (0.0, 0.1), "val": (0.1, 0.3), "train": (0.3, 1.0)}
    low, high = bounds[split]
    return next(name for name in map(str, range(1000)) if low <= draw_of(f"s:{group_id(name)}") < high)


def test_groups_with_a_split_are_not_drawn_again_when_an_empty_split_is_filled():
    tiles = {split: tile(split, proposal_drawn_for(split)) for split in ("test", "val", "train")}
    old = plan_of(tiles["test"], "train", group_id(tiles["test"].proposal_id))
    old |= plan_of(tiles["val"], "train", group_id(tiles["val"].proposal_id))
    (found,) = new_plans(list(tiles.values()), old).values()
    assert (found.tile_id, found.split) == (tiles["train"].tile_id, "test")


def test_a_proposal_of_which_nothing_is_left_but_its_split_changes_no_other():
    new = tile("new", "q")
    gone = SplitAssignment(tile_id="gone", group_id="b" * 16, split="test", reason=None)
    (found,) = new_plans([new], {"gone": gone}, former={"p": gone}).values()
    assert (found.group_id, found.split) == (group_id("q"), "train")
