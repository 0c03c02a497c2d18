"""The search for leaks: every planted leak is named, sound splits have none, and a slow search finds the same."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_cases import material, observation, proposal, slow_gap_arcsec, square, stepped, tile
from synthetic_samples import built_in, make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings, SplitSettings
from hubbleclip.contracts.schema import cast_rows
from hubbleclip.dataset import verify
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.splits.assign import assign_splits
from hubbleclip.dataset.verify import find_faults, find_leaks

TRAIN, VAL, TEST = 0, 3, 4
"""Indices of one sample of each split in the synthetic dataset."""
WORDS = [f"word{i}" for i in range(150)]
CHANGED = [f"new{i}" if i % 25 == 12 else word for i, word in enumerate(WORDS)]


def words(*parts):
    return {"captions": [" ".join(word for part in parts for word in part), "Title"]}


def moving(name):
    return {"is_moving": True, "target_name": name}


def at(*place):
    """The corners of a square by right ascension, declination, side and angle."""
    return {"corners_deg": square(*place)}


NEAR, NORTH = stepped(200, 40, 10.5, 0), stepped(200, 40, 0, 1500)
AT, NAMELESS = at(200, 40, 10), moving(None) | at(200, 40, 10)
MORE = [f"more{i}" for i in range(90)]
ACCENTED = [
    {"captions": [text]}
    for text in ("Cafe\u0301 Études of Five Galaxies near us", "CAFÉ études, of (five) galaxies near us!")
]
TEXTS, SKY, BODY = "near-duplicate captions", "overlap on the sky", "the same moving target"
PLANTED = {
    "proposal": ({}, {"proposal_id": None}, "the same proposal"),
    "group": ({}, {"group_id": None}, "the same group"),
    "image": ({}, {"png_sha256": None}, "the same image"),
    "abstract": (words(WORDS), words(WORDS), TEXTS),
    "changed words": (words(WORDS), words(CHANGED), TEXTS),
    "extended abstract": (words(WORDS), words(WORDS, MORE), TEXTS),
    "case and accents": (*ACCENTED, TEXTS),
    "same sky": (AT, AT, SKY),
    "inside": (at(200, 40, 40), at(200, 40, 4, 20), SKY),
    "in the north of a larger one": (at(200, 40, 4000), at(*NORTH, 4), SKY),
    "larger, with it in the north": (at(*NORTH, 4), at(200, 40, 4000), SKY),
    "across RA 0": (at(359.999, 0, 10), at(0.001, 0, 10, 30), SKY),
    "pole": (at(10, 89.9995, 10), at(190, 89.9995, 10), SKY),
    "nearer than the guard": (AT, at(*NEAR, 10), "nearer than 1 arcsec"),
    "moving targets without a name": (NAMELESS, NAMELESS, SKY),
    "planet": (moving("JUPITER"), moving("Jupiter-North_Pole"), f"{BODY} JUPITER"),
    "comet": (moving("67P"), moving("COMET-67P-CHURYUMOV"), f"{BODY} 67P"),
    "dwarf planet": (moving("HAUMEA"), moving("136108-HAUMEA"), f"{BODY} HAUMEA"),
    "comet by name": (moving("C/2012-S1"), moving("COMET-ISON"), f"{BODY} 2012S1"),
}


ONE_PER_PROPOSAL = make_samples_with_pngs(40, 40)


def leaks_of(samples):
    return list(find_leaks(cast_rows("sample", samples), SplitSettings()))


def planted(kind, where):
    """Samples of 40 proposals, of which two share what the kind says, and their images."""
    samples, pngs = ONE_PER_PROPOSAL
    one, other = (samples[index] for index in where)
    first, second, _ = PLANTED[kind]
    changes = {one.tile_id: first, other.tile_id: {name: new or getattr(one, name) for name, new in second.items()}}
    if kind == "image":
        pngs = pngs | {other.tile_id: pngs[one.tile_id]}
    return [replace(sample, **changes.get(sample.tile_id, {})) for sample in samples], pngs


WHERE = [(TRAIN, TEST), (TRAIN, VAL), (VAL, TEST)]
OF_EACH_SEARCH = ("proposal", "abstract", "same sky", "planet")


@pytest.mark.parametrize(
    ("kind", "where"),
    [*((kind, WHERE[0]) for kind in PLANTED), *((kind, where) for kind in OF_EACH_SEARCH for where in WHERE[1:])],
)
def test_a_planted_leak_is_found_and_its_pair_named(kind, where):
    samples, _ = planted(kind, where)
    (fault,) = leaks_of(samples)
    assert PLANTED[kind][2] in fault
    assert all(samples[index].tile_id in fault for index in where)


@pytest.mark.parametrize(
    ("kind", "recorded", "num_leaks"),
    [
        ("nearer than the guard", {"guard_arcsec": 0}, 0),
        ("nearer than the guard", {"guard_arcsec": 1.0}, 1),
        ("changed words", {"near_duplicate": 0.5}, 1),  # a similarity of 0.8
        ("changed words", {"near_duplicate": 0.9}, 0),
    ],
)
def test_tiles_are_compared_by_the_settings_of_their_dataset(kind, recorded, num_leaks, tmp_path):
    samples, pngs = planted(kind, (TRAIN, TEST))
    found = list(find_faults(built_in(tmp_path, samples, pngs, split_report={"settings": recorded})))
    assert len(found) == num_leaks
    assert all(PLANTED[kind][2] in fault and samples[TEST].tile_id in fault for fault in found)


def test_many_leaks_of_one_kind_are_counted():
    samples, _ = make_samples_with_pngs()
    found = leaks_of([replace(sample, corners_deg=square(9, 9, 9)) for sample in samples])
    num = {split: sum(sample.split == split for sample in samples) for split in ("train", "val", "test")}
    assert len(found) == verify.MAX_NAMED + 1 + min(num["train"], verify.MAX_NAMED + 1)
    assert f"leak: {num['train'] + num['val'] - verify.MAX_NAMED} more of the same kind" in found


BODIES = {"67P": "67P", "COMET-67P-CHURYUMOV": "67P", "HAUMEA": "HAUMEA"}


def show_the_same(one, other, guard_arcsec):
    """Whether two tiles show the same moving target or nearly the same piece of sky, by slow and obvious geometry."""
    bodies = [BODIES[each.target_name] if each.is_moving else "" for each in (one, other)]
    if any(bodies):
        return bodies[0] == bodies[1]
    gap_arcsec = slow_gap_arcsec(one.corners_deg, other.corners_deg)
    return gap_arcsec == 0 or gap_arcsec < guard_arcsec


def pairs_of_splits(samples):
    return [(one, other) for one, other in combinations(samples, 2) if one.split != other.split]


TILES = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(["sky", "pole", "zero"]),
        st.floats(-60, 60),
        st.floats(-60, 60),
        st.floats(0, 90),
        st.sampled_from([4, 20, 40]),
        st.sampled_from([None, None, None, *BODIES]),
    ),
    min_size=2,
    max_size=30,
)


def made_material(drawn):
    tiles, observations = [], {}
    for index, (number, field, east, north, roll, side, moving_name) in enumerate(drawn):
        ra_deg, dec_deg = {"sky": (30, -10), "pole": (77, 89.99), "zero": (0, 5)}[field]
        corners = square(*stepped(ra_deg, dec_deg, east, north), side, roll)
        tiles.append(tile(index, f"p{number}", corners, f"o{index}"))
        observations[f"o{index}"] = observation(f"o{index}", f"p{number}", moving_name, moving_name is not None)
    return material(tiles, observations, {f"p{i}": proposal(f"p{i}") for i in range(8)})


@settings(deadline=None, max_examples=25)
@given(TILES)
def test_the_splits_have_no_leak(drawn):
    given_material = made_material(drawn)
    wanted = SplitSettings(val_share=0.3, test_share=0.3, guard_arcsec=2.0)
    plans = {plan.tile_id: plan for plan in assign_splits(given_material, {}, wanted)}
    samples, _ = make_samples(given_material, plans, ShardSettings())
    unlike = [replace(sample, png_sha256=sample.tile_id * 2) for sample in samples]
    assert list(find_leaks(cast_rows("sample", unlike), wanted)) == []
    assert not any(show_the_same(one, other, 2.0) for one, other in pairs_of_splits(samples))


@settings(deadline=None, max_examples=25)
@given(TILES, st.randoms())
def test_a_slow_search_finds_the_same_pieces_of_sky(drawn, rng):
    given_material = made_material(drawn)
    plans = {plan.tile_id: plan for plan in assign_splits(given_material, {}, SplitSettings())}
    plans = {key: replace(plan, split=rng.choice(["train", "val", "test"]), reason=None) for key, plan in plans.items()}
    samples, _ = make_samples(given_material, plans, ShardSettings())
    named = "".join(find_leaks(cast_rows("sample", samples), SplitSettings(guard_arcsec=2.0)))
    pairs = pairs_of_splits(samples)
    if all(abs(slow_gap_arcsec(one.corners_deg, other.corners_deg) - 2.0) > 1e-3 for one, other in pairs):
        is_leaking = any(show_the_same(one, other, 2.0) for one, other in pairs)
        assert ("on the sky" in named or "moving target" in named) == is_leaking


@pytest.mark.parametrize("broken", [[], [float("nan")] * 8, [*square(200, 40, 10)[:7], float("nan")]])
def test_tiles_without_finite_corners_shift_no_other_tile(broken):
    samples, _ = planted("same sky", (TRAIN, TEST))
    for index in (1, 2, 8):
        samples[index] = replace(samples[index], corners_deg=broken)
    samples[5] = replace(samples[5], is_moving=True, target_name="67P")
    (leak,) = leaks_of(samples)
    assert all(samples[index].tile_id in leak for index in (TRAIN, TEST))


def leaks_between(one, other):
    """Leaks of samples of which one in train and one in test have the changes."""
    samples = [*ONE_PER_PROPOSAL[0]]
    samples[TRAIN], samples[TEST] = replace(samples[TRAIN], **one), replace(samples[TEST], **other)
    return leaks_of(samples)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"target_name": "JUPITER"}, {"target_name": "JUPITER"}),
        ({"target_name": "JUPITER"}, moving("JUPITER")),
        (moving("--"), moving("--")),
        (moving("JUPITER") | AT, moving("SATURN") | AT),
        (moving("JUPITER") | AT, AT),
        (AT, moving("JUPITER") | AT),
        (moving("TEMPEL-1"), moving("TEMPEL-2")),
    ],
)
def test_only_named_moving_targets_are_compared_by_name_and_only_others_by_position(one, other):
    assert leaks_between(one, other) == []
