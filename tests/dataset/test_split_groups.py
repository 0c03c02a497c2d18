"""Splits of groups of proposals: how they are drawn, what links decide, and what a random split of tiles would leak."""

import hashlib
from dataclasses import replace
from itertools import combinations

import pytest
from sky_cases import material, observation, proposal, slow_gap_arcsec, square, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.splits.assign import GROUP_CONFLICT, LATE_LINK, assign_splits, draw_splits, leak_report
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_id

SETTINGS = SplitSettings(val_share=0.2, test_share=0.1, salt="s", guard_arcsec=2.0)
TEXT = [f"word{i}" for i in range(60)]


def draw_of(text):
    """Number in [0, 1) from the first 48 bits of SHA-256."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 2**48


def plan(one, split, group="g" * 16, reason=None):
    return {one.tile_id: SplitAssignment(tile_id=one.tile_id, group_id=group, split=split, reason=reason)}


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


def test_groups_with_a_split_count_towards_the_three_that_are_needed():
    in_test = names_by_draw("s")[0]
    assert draw_splits({in_test}, {"a": "train", "b": "val"}, SETTINGS) == {in_test: "test"}
    assert draw_splits({in_test}, {"a": "train"}, SETTINGS) == {in_test: "train"}


def test_an_empty_split_gets_the_group_nearest_to_its_range():
    low, *_, mid, high = names_by_draw("s")[200:]
    tiny = SETTINGS.model_copy(update={"val_share": 0.01, "test_share": 0.01})
    assert draw_splits({low, mid, high}, {}, tiny) == {low: "test", mid: "val", high: "train"}
    nearly_all = SETTINGS.model_copy(update={"val_share": 0.499, "test_share": 0.499})
    *_, last_of_test = (name for name in names_by_draw("s") if draw_of(f"s:{name}") < 0.499)
    first, second, third = names_by_draw("s")[-40:-37]
    drawn = draw_splits({last_of_test, first, second, third}, {}, nearly_all)
    assert drawn == {last_of_test: "test", first: "val", second: "val", third: "train"}


def test_a_split_that_old_groups_fill_takes_no_new_group():
    names = names_by_draw("s")[-3:]
    existing = {"a": "test", "b": "val"}
    assert set(draw_splits(names, existing, SETTINGS).values()) == {"train"}


def test_the_last_group_of_a_split_is_not_moved_to_an_empty_one():
    (name,) = names_by_draw("s")[-1:]
    assert draw_splits({name}, {"a": "test", "b": "test"}, SETTINGS) == {name: "train"}


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
    texts = {
        "a": " ".join(TEXT),
        "b": " ".join([*TEXT[16:], *(f"b{i}" for i in range(16))]),
        "c": " ".join(TEXT[8:]),
    }
    a, b, c = tile("a", "a"), tile("b", "b"), tile("c", "c")
    old = plan(a, "train", "b" * 16) | plan(b, "train", "a" * 16)
    wanted = SETTINGS.model_copy(update={"near_duplicate": 0.75})
    (found,) = new_plans([a, b, c], old, texts=texts, wanted=wanted).values()
    assert (found.split, found.reason, found.group_id) == ("train", None, "a" * 16)


def field_of(one, ra_deg):
    return replace(observation(one.obs_id, one.proposal_id), ra_deg=ra_deg, dec_deg=20.0)


def test_a_link_by_text_has_priority_over_one_by_a_shared_field():
    by_text, by_field, new = tile("t", "a"), tile("f", "b"), tile("n", "c")
    observations = {one.obs_id: field_of(one, ra) for one, ra in ((by_text, 9.0), (by_field, 50.0), (new, 50.0))}
    old = plan(by_text, "val", "b" * 16) | plan(by_field, "val", "a" * 16)
    texts = {"a": " ".join(TEXT), "c": " ".join(TEXT)}
    found = new_plans([by_text, by_field, new], old, observations=observations, texts=texts)
    assert found[new.tile_id].group_id == "b" * 16


def test_a_proposal_in_a_field_of_two_splits_forms_a_group_of_its_own():
    one, other, new = tile("t", "a"), tile("f", "b"), tile("n", "c")
    observations = {each.obs_id: field_of(each, 50.0) for each in (one, other, new)}
    old = plan(one, "train", "a" * 16) | plan(other, "test", "b" * 16)
    wanted = SETTINGS.model_copy(update={"guard_arcsec": 0.0})
    found = new_plans([one, other, new], old, observations=observations, wanted=wanted)[new.tile_id]
    assert found.group_id == group_id("c")


def test_a_proposal_excluded_as_a_whole_stays_so_though_the_guard_excluded_other_tiles_of_it():
    first, second = sorted((tile("x", "p"), tile("y", "p")), key=lambda one: one.tile_id)
    new = tile("new", "p")
    old = plan(first, "excluded", reason=GROUP_CONFLICT) | plan(second, "excluded", reason="sky_guard:overlap")
    (found,) = new_plans([first, second, new], old).values()
    assert (found.split, found.reason) == ("excluded", GROUP_CONFLICT)


def test_the_group_of_an_existing_tile_counts_before_that_of_a_tile_that_no_longer_exists():
    now, new = tile("now", "p"), tile("new", "p")
    gone = SplitAssignment(tile_id="gone", group_id="z" * 16, split="test", reason=None)
    (found,) = new_plans([now, new], plan(now, "val", "a" * 16), former={"p": gone}).values()
    assert (found.group_id, found.split) == ("a" * 16, "val")


def test_a_late_link_leaves_the_reason_of_tiles_that_are_excluded_already():
    kept, lost, guarded = tile("kept", "a"), tile("lost", "b"), tile("guarded", "b")
    old = plan(kept, "test", "a" * 16) | plan(lost, "train", "b" * 16)
    old |= plan(guarded, "excluded", "b" * 16, "sky_guard:overlap")
    found = new_plans([kept, lost, guarded], old, texts={"a": " ".join(TEXT), "b": " ".join(TEXT)})
    assert {key: one.reason for key, one in found.items()} == {lost.tile_id: LATE_LINK}


def test_a_tile_that_a_late_link_excludes_keeps_no_moving_target_for_its_split():
    kept, lost, free = tile("kept", "a", (), "o1"), tile("lost", "b", (), "o2"), tile("free", "c", (), "o3")
    observations = {f"o{i}": observation(f"o{i}", target="67P", is_moving=i > 1) for i in (1, 2, 3)}
    old = plan(kept, "test", "a" * 16) | plan(lost, "val", "b" * 16) | plan(free, "train", "c" * 16)
    texts = {"a": " ".join(TEXT), "b": " ".join(TEXT)}
    found = new_plans([kept, lost, free], old, observations=observations, texts=texts)
    assert {key: one.reason for key, one in found.items()} == {lost.tile_id: LATE_LINK}


def test_new_tiles_that_the_guard_excludes_take_no_place_of_the_cap():
    held_out = tile("held out", "q", square(5, 5, 20))
    guarded = [tile(f"guarded{i}", "p", square(5, 5, 20)) for i in range(4)]
    free = [tile(f"free{i}", "p", square(9, 1 + i, 20)) for i in range(6)]
    anchor = tile("anchor", "p", square(30, 1, 20))
    old = plan(held_out, "test", "a" * 16) | plan(anchor, "train", "b" * 16)
    wanted = SETTINGS.model_copy(update={"max_tiles_per_proposal": 7})
    found = new_plans([held_out, anchor, *guarded, *free], old, wanted=wanted)
    assert {found[one.tile_id].split for one in free} == {"train"}
    assert {found[one.tile_id].reason for one in guarded} == {"sky_guard:overlap"}


def test_a_proposal_that_continues_an_excluded_one_does_not_join_the_group_of_its_field():
    words = " ".join(TEXT)
    corners = square(10.0, 5.0, 20.0)
    footprint = "POLYGON ICRS " + " ".join(f"{number:.9f}" for number in corners)
    seen = {
        f"obs of {name}": replace(observation(f"obs of {name}", name), ra_deg=10.0, dec_deg=5.0, footprint=footprint)
        for name in ("new", "field")
    }
    first, field, new = tile("a", "excluded"), tile("b", "field", corners), tile("c", "new", corners)
    texts = {"excluded": words, "new": words, "field": "Other words about other things altogether."}
    existing = plan(first, "excluded", "x" * 16, GROUP_CONFLICT) | plan(field, "train", "f" * 16)
    plans = new_plans([first, field, new], existing, observations=seen, texts=texts)
    assert plans[new.tile_id].group_id == "x" * 16
    alone = new_plans([field, new], plan(field, "train", "f" * 16), observations=seen, texts=texts)
    assert alone[new.tile_id].group_id == "f" * 16


@pytest.mark.parametrize(
    ("empty", "fullest", "donor"),
    [("test", ("val", "train"), "val"), ("val", ("test", "train"), "train"), ("train", ("test", "val"), "val")],
)
def test_of_two_fullest_splits_of_equal_size_the_last_by_name_gives_a_group(empty, fullest, donor):
    of_split = {"test": [], "val": [], "train": []}
    for name in names_by_draw("s"):
        draw = draw_of(f"s:{name}")
        of_split["test" if draw < 0.1 else "val" if draw < 0.3 else "train"].append(name)
    names = {split: of_split[split][:2] for split in fullest}
    drawn = draw_splits([name for pair in names.values() for name in pair], {}, SETTINGS)
    moved = [name for name, split in drawn.items() if split == empty]
    assert len(moved) == 1 and moved[0] in names[donor]


def test_tiles_that_a_late_link_excludes_take_no_place_of_the_cap():
    lost, new, kept = (
        replace(tile(name, who, square(ra, 5.0, 2.0)), ra_deg=ra, dec_deg=5.0)
        for name, who, ra in (("lost", "b", 10.0), ("new", "c", 10.0), ("kept", "a", 80.0))
    )
    old = plan(kept, "test", "a" * 16) | plan(lost, "train", "b" * 16)
    old |= {"d": SplitAssignment(tile_id="d", group_id="c" * 16, split="val", reason=None)}
    wanted = SETTINGS.model_copy(update={"max_tiles_per_patch": 1, "guard_arcsec": 0.0})
    texts = {"a": " ".join(TEXT), "b": " ".join(TEXT)}
    found = new_plans([kept, lost, new], old, texts=texts, wanted=wanted)
    assert found[lost.tile_id].reason == LATE_LINK
    assert found[new.tile_id].split != "excluded"


def test_the_id_of_a_group_is_a_hash_of_its_smallest_proposal():
    assert group_id("hst:1") == hashlib.sha256(b"group:hst:1").hexdigest()[:16]


def test_a_group_for_an_empty_test_split_is_the_one_with_the_smallest_draw():
    near, far = (next(name for name in names_by_draw("s") if draw_of(f"s:{name}") > least) for least in (0.35, 0.6))
    drawn = draw_splits({near, far}, {"a": "val", "b": "train"}, SETTINGS)
    assert drawn == {near: "test", far: "train"}


def test_the_only_group_of_test_is_not_moved_to_an_empty_val():
    in_test = names_by_draw("s")[0]
    assert draw_splits({in_test}, {"a": "train", "b": "train"}, SETTINGS) == {in_test: "test"}


def proposal_drawn_for(split):
    bounds = {"test": (0.0, 0.1), "val": (0.1, 0.3), "train": (0.3, 1.0)}
    low, high = bounds[split]
    return next(name for name in map(str, range(1000)) if low <= draw_of(f"s:{group_id(name)}") < high)


def test_groups_with_a_split_are_not_drawn_again_when_an_empty_split_is_filled():
    tiles = {split: tile(split, proposal_drawn_for(split)) for split in ("test", "val", "train")}
    old = plan(tiles["test"], "train", group_id(tiles["test"].proposal_id))
    old |= plan(tiles["val"], "train", group_id(tiles["val"].proposal_id))
    (found,) = new_plans(list(tiles.values()), old).values()
    assert (found.tile_id, found.split) == (tiles["train"].tile_id, "test")


def test_an_old_tile_that_is_excluded_guards_no_sky_for_the_split_of_its_group():
    at = square(5, 5, 20)
    kept, guarded, new = tile("kept", "p"), tile("guarded", "p", at), tile("new", "q", at)
    old = plan(kept, "train", "a" * 16) | plan(guarded, "excluded", "a" * 16, "sky_guard:overlap")
    former = {"q": SplitAssignment(tile_id="gone", group_id="b" * 16, split="test", reason=None)}
    found = new_plans([kept, guarded, new], old | {"gone": former["q"]}, former=former)[new.tile_id]
    assert (found.split, found.reason) == ("test", None)


def test_a_proposal_of_which_nothing_is_left_but_its_split_changes_no_other():
    new = tile("new", "q")
    gone = SplitAssignment(tile_id="gone", group_id="b" * 16, split="test", reason=None)
    (found,) = new_plans([new], {"gone": gone}, former={"p": gone}).values()
    assert (found.group_id, found.split) == (group_id("q"), "train")


def test_tiles_that_a_late_link_excludes_are_listed_by_tile_when_none_is_new():
    kept, *lost = tile("kept", "a"), *(tile(f"lost{i}", "b") for i in range(6))
    old = plan(kept, "test", "a" * 16)
    for one in lost:
        old |= plan(one, "train", "b" * 16)
    for order in (1, -1):
        found = new_plans([kept, *lost][::order], old, texts={"a": " ".join(TEXT), "b": " ".join(TEXT)})
        assert list(found) == sorted(one.tile_id for one in lost)
