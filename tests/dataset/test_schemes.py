"""Schemes of splits, caps of the tiles of a proposal and of a sky patch, and tiles whose assignment breaks its contract."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from astropy.coordinates import Angle
from astropy_healpix import HEALPix
from sky_cases import TEXT, material, observation, plan_of, proposal, square, tile
from stages import stage_at

from hubbleclip.config.settings import SplitSettings, read_settings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.splits.assign import PROPOSAL_CAP, assign_splits, sky_patches
from hubbleclip.dataset.splits.schemes import GROUP_CHANGED, MIXED_GROUP, SCHEMES, UNKNOWN
from hubbleclip.pipeline.shards import split_tiles

BY_INSTRUMENT = SplitSettings(scheme="instrument", test_instruments=("WFPC2*",), val_share=0.3)
BY_CYCLE = SplitSettings(scheme="cycle", test_from_cycle=20, val_share=0.3)


def shot(name, proposal_id, instrument=None, corners=()):
    return replace(tile(name, proposal_id, corners), instrument=instrument)


def of_cycle(proposal_id, cycle, abstract=None):
    return replace(proposal(proposal_id, abstract), cycle=cycle)


def split(tiles, proposals, wanted, existing=None):
    existing = existing or {}
    plans = assign_splits(material(tiles, {}, {p.proposal_id: p for p in proposals}), existing, wanted)
    return existing | {plan.tile_id: plan for plan in plans}


def outcome(plans, one):
    return plans[one.tile_id].split, plans[one.tile_id].reason


def test_by_cycle_test_has_the_new_cycles_and_train_the_old():
    proposals = [of_cycle(f"p{i}", 10 + i) for i in range(20)]
    tiles = [shot(i, f"p{i}") for i in range(20)]
    plans = split(tiles, proposals, BY_CYCLE)
    assert [plans[t.tile_id].split == "test" for t in tiles] == [i >= 10 for i in range(20)]


def test_an_old_proposal_with_a_new_continuation_is_excluded_from_train():
    proposals = [of_cycle("old", 10, TEXT), of_cycle("new", 25, f"{TEXT} more")]
    tiles = [shot("a", "old"), shot("b", "new")]
    plans = split(tiles, proposals, BY_CYCLE)
    assert [outcome(plans, one) for one in tiles] == [("excluded", MIXED_GROUP), ("test", None)]


@pytest.mark.parametrize("wanted", [BY_INSTRUMENT, BY_CYCLE])
@pytest.mark.parametrize("proposals", [[of_cycle("p", None)], []])
def test_a_tile_without_instrument_proposal_or_cycle_is_excluded(wanted, proposals):
    one = shot("a", "p")
    assert outcome(split([one], proposals, wanted), one) == ("excluded", UNKNOWN)


def test_an_unknown_scheme_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match=", ".join(SCHEMES)):
        split([shot("a", "p")], [], SplitSettings(scheme="colour"))


@pytest.mark.parametrize(("scheme", "missing"), [("instrument", "test_instruments"), ("cycle", "test_from_cycle")])
def test_a_scheme_without_its_setting_is_refused(scheme, missing):
    with pytest.raises(SettingsError, match=missing):
        read_settings("demo", {"splits": {"scheme": scheme}})


def test_patterns_of_instruments_ignore_case_and_the_observation_names_the_instrument_where_the_tile_does_not():
    wanted = BY_INSTRUMENT.model_copy(update={"test_instruments": ("wfc3/uv*", "ACS/SBC", "NIC?")})
    names = ("Wfc3/UVIS", None, "ACS/SBC", "NIC3", "WFC3/IR", "ACS/WFC")
    tiles = [shot(str(name), str(name), name) for name in names]
    observations = {one.obs_id: observation(one.obs_id) for one in tiles}  # of WFC3/UVIS
    plans = assign_splits(material(tiles, observations, {}), {}, wanted)
    assert {one.tile_id for one in plans if one.split == "test"} == {one.tile_id for one in tiles[:4]}


def test_val_is_drawn_by_a_hash_of_its_own_from_groups_without_held_out_tiles():
    tiles = [shot(i, f"p{i}", "ACS/WFC") for i in range(60)]
    wanted = BY_INSTRUMENT.model_copy(update={"salt": "s"})
    plans = split(tiles, [], wanted)
    for one in plans.values():
        draw = int(hashlib.sha256(f"s:val:{one.group_id}".encode()).hexdigest()[:12], 16) / 2**48
        assert one.split == ("val" if draw < 0.3 else "train")


def test_by_benchmark_test_has_the_drawn_programmes_and_no_other():
    numbers = range(5086, 5267)
    tiles = [shot(number, f"hst:{number}") for number in numbers]
    unnumbered = shot("unnumbered", "hst:UNKNOWN")
    plans = split([*tiles, unnumbered], [], SplitSettings(scheme="benchmark", val_share=0.3))
    for number, one in zip(numbers, tiles, strict=True):
        draw = int(hashlib.sha256(f"hubble-image-text-1:{number}".encode()).hexdigest()[:12], 16) / 2**48
        assert (plans[one.tile_id].split == "test") == (draw < 0.1)
    assert outcome(plans, unnumbered) == ("excluded", UNKNOWN)


@pytest.mark.parametrize("planned", ["train", "val", "test"])
@pytest.mark.parametrize(
    "old_splits", [("train",), ("val",), ("test",), ("train", "val"), ("val", "test"), ("excluded",)]
)
def test_a_new_tile_whose_group_is_elsewhere_is_excluded_for_every_pair_of_splits(planned, old_splits):
    wanted = BY_INSTRUMENT.model_copy(update={"val_share": float(planned == "val")})
    new = shot("new", "p", "WFPC2" if planned == "test" else "ACS/WFC")
    tiles = [shot(f"old{i}", "p", "ACS/WFC") for i in range(len(old_splits))]
    old = {}
    for one, old_split in zip(tiles, old_splits, strict=True):
        old |= plan_of(one, old_split)
    expected = (planned, None) if {*old_splits} - {"excluded"} <= {planned} else ("excluded", GROUP_CHANGED)
    assert outcome(split([*tiles, new], [], wanted, old), new) == expected


def test_the_kind_of_a_new_tile_comes_before_the_split_of_its_group_as_the_reason():
    old, unknown, aside, held_out = (
        shot(name, "p", instrument) for name, instrument in (("o", "ACS"), ("u", None), ("a", "ACS"), ("h", "WFPC2"))
    )
    plans = split([old, unknown, aside, held_out], [], BY_INSTRUMENT, plan_of(old, "train"))
    assert [outcome(plans, one) for one in (unknown, aside, held_out)] == [
        ("excluded", UNKNOWN),
        ("excluded", MIXED_GROUP),
        ("excluded", GROUP_CHANGED),
    ]


@pytest.mark.parametrize("old_split", ["train", "val", "test", "excluded"])
def test_an_old_tile_guards_the_sky_for_its_own_split_and_not_for_the_planned_one(old_split):
    at = square(5, 5, 20)
    old, new = shot("old", "p", "ACS/WFC", at), shot("new", "q", "WFPC2", at)
    reason = "sky_guard:overlap" if old_split == "excluded" else None
    existing = plan_of(old, old_split, reason=reason)
    wanted = BY_INSTRUMENT.model_copy(update={"val_share": 0.0})
    expected = ("excluded", f"sky_guard:old_{old_split}") if old_split in {"train", "val"} else ("test", None)
    assert outcome(split([old, new], [], wanted, existing), new) == expected


BY_PROPOSAL = SplitSettings(max_tiles_per_proposal=6)


def tiles_of(proposal, num_files, num_tiles, ra_deg=None):
    """Tiles of several files, 20 arcseconds apart or without a position."""
    return [
        replace(
            tile(f"{proposal}-{file}-{index}", proposal, () if ra_deg is None else square(ra_deg, 0.01, 2.0)),
            product_uri=f"made:{proposal}-{file}",
            ra_deg=ra_deg,
            dec_deg=None if ra_deg is None else 0.01,
        )
        for file in range(num_files)
        for index in range(num_tiles)
    ]


def admitted(tiles, plans):
    return [one for one in tiles if plans[one.tile_id].split != "excluded"]


def test_a_proposal_has_at_most_the_set_number_of_tiles_in_turn_from_its_files():
    tiles = tiles_of("large", 3, 8) + tiles_of("small", 1, 4)
    plans = split(tiles, [], BY_PROPOSAL)
    kept = admitted(tiles, plans)
    assert Counter(one.product_uri for one in kept) == {f"made:large-{i}": 2 for i in range(3)} | {"made:small-0": 4}
    assert {plan.reason for plan in plans.values() if plan.split == "excluded"} == {PROPOSAL_CAP}


def test_new_tiles_never_displace_admitted_ones_and_nothing_changes_without_new_tiles():
    early, late = tiles_of("p", 2, 5), tiles_of("p", 4, 5)
    first = split(early, [], BY_PROPOSAL)
    assert assign_splits(material(early, {}, {}), first, BY_PROPOSAL) == []
    both = split(late, [], BY_PROPOSAL, first)
    assert {one.tile_id for one in admitted(early, first)} == {one.tile_id for one in admitted(late, both)}


@pytest.mark.parametrize("cap", ["max_tiles_per_proposal", "max_tiles_per_patch"])
def test_a_raised_cap_of_a_sky_patch_admits_more_tiles(cap):
    """So does one of a proposal; a cap that is lowered again removes none."""
    others = tiles_of("p" if cap == "max_tiles_per_proposal" else "q", 2, 10, 10.0)[10:]
    tiles = tiles_of("p", 2, 10, 10.0)[:10] + others
    low, high = (SplitSettings(**{cap: num}) for num in (5, 7))
    first = split(tiles, [], low)
    raised = split(tiles, [], high, first)
    before, after = ({one.tile_id for one in admitted(tiles, plans)} for plans in (first, raised))
    assert (len(before), len(after)) == (5, 7) and before < after
    assert {one.tile_id for one in admitted(tiles, split(tiles, [], low, raised))} == after


def test_tiles_that_are_excluded_for_another_reason_take_no_place():
    tiles = tiles_of("p", 1, 10)
    first = split(tiles[:4], [], BY_PROPOSAL)
    guarded = {name: replace(plan, split="excluded", reason="sky_guard:overlap") for name, plan in first.items()}
    assert len(admitted(tiles, split(tiles, [], BY_PROPOSAL, guarded))) == 6


def test_a_patch_is_the_healpix_pixel_of_order_ten_at_the_centre_of_the_tile():
    pixels = [0, 1, 123_456, 4**10 * 4 + 17, 4**10 * 12 - 1]
    sky = HEALPix(nside=1024, order="nested").healpix_to_lonlat(pixels)
    tiles = [
        replace(tile(i, "p"), ra_deg=float(ra.deg), dec_deg=float(dec.deg))
        for i, (ra, dec) in enumerate(zip(*map(Angle, sky), strict=True))
    ]
    assert sky_patches([*tiles, tile("nowhere", "p")]) == [*pixels, None]


def test_a_tile_beyond_one_cap_takes_no_place_of_the_other():
    crowded = tiles_of("p", 1, 20, 10.0)
    lone = [one for ra_deg in (40.0, 50.0, 60.0) for one in tiles_of(f"lone {ra_deg}", 1, 1, ra_deg)]
    tiles = crowded + [replace(one, proposal_id="p", product_uri=crowded[0].product_uri) for one in lone]
    both = SplitSettings(max_tiles_per_proposal=4, max_tiles_per_patch=1)
    kept = admitted(tiles, split(tiles, [], both))
    assert sorted(one.ra_deg for one in kept) == [10.0, 40.0, 50.0, 60.0]


def test_the_tiles_of_a_file_are_drawn_by_the_hash_of_their_ids_whatever_their_order():
    tiles = tiles_of("p", 1, 30)
    drawn = sorted(tiles, key=lambda one: hashlib.sha256(one.tile_id.encode()).digest())[:6]
    for given in (tiles, tiles[::-1]):
        assert {one.tile_id for one in admitted(given, split(given, [], BY_PROPOSAL))} == {one.tile_id for one in drawn}


def test_a_tile_beyond_both_caps_is_recorded_with_that_of_the_proposal():
    tiles = tiles_of("p", 1, 3, 10.0)
    plans = split(tiles, [], SplitSettings(max_tiles_per_proposal=1, max_tiles_per_patch=1))
    assert sorted(plan.reason or "" for plan in plans.values()) == ["", PROPOSAL_CAP, PROPOSAL_CAP]


OF_INSTRUMENTS = {"scheme": "instrument", "test_instruments": ["WFPC2*"]}


@pytest.mark.parametrize("wanted", [{}, OF_INSTRUMENTS])
def test_a_rejected_tile_is_left_out_of_the_splits_of_every_scheme(wanted, tmp_path):
    old, new, sound = tile("old", "hst:1"), tile("new", "hst:1"), tile("sound", "hst:2")
    given = material([old, new, sound], {}, {one.proposal_id: proposal(one.proposal_id) for one in (old, sound)})
    nameless = SplitAssignment(tile_id=old.tile_id, group_id="", split="train", reason=None)
    with stage_at(tmp_path, {"splits": wanted}) as stage:
        stage.catalog.upsert({"split": [nameless]})
        found = split_tiles(stage, given)
        stored = {row["tile_id"] for row in stage.catalog.rows("FROM split")}
        rejected = stage.catalog.rows("SELECT entity_id, stage, reason FROM rejection WHERE entity = 'tile'")
    reason = "contract:split.group_id.minLength"
    assert rejected == [{"entity_id": new.tile_id, "stage": "shards", "reason": reason}]
    assert stage.rejected == 2  # the assignment and the tile
    assert stored == {old.tile_id, sound.tile_id}
    assert new.tile_id not in found and sound.tile_id in found
