import hashlib
from dataclasses import replace

import pytest
from sky_cases import TEXT, material, observation, plan_of, proposal, square, tile

from hubbleclip.config.settings import SplitSettings, read_settings
from hubbleclip.core.errors import SettingsError
from hubbleclip.dataset.splits.assign import assign_splits
from hubbleclip.dataset.splits.schemes import GROUP_CHANGED, MIXED_GROUP, SCHEMES, UNKNOWN, program_number

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


@pytest.mark.parametrize(
    ("proposal_id", "number"),
    [
        ("hst:0123", "123"),
        ("a:b:77", "77"),
        ("55", "55"),
        ("hst:", None),
        ("hst:12a", None),
        ("hst:1²", None),
        ("hst:٣", None),
    ],
)
def test_the_number_of_a_programme_is_in_ascii_digits_after_the_last_colon(proposal_id, number):
    assert program_number(proposal_id) == number


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
