import json
from dataclasses import replace

import pytest
from sky_cases import material, observation, plan_of, proposal, tile
from synthetic_samples import build, make_samples_with_pngs

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.manifest import TEST_LIST
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.report import (
    EXCLUDED_TILES,
    LINKS,
    check_test_lists,
    leak_summary,
    lineage,
    released_splits,
    split_report,
    split_tables,
)

SETTINGS = SplitSettings(val_share=0.1, test_share=0.3)
LEAK = {"num_train": 200, "num_shared_abstract": 150, "num_overlap": 40, "num_moving_target": 3, "num_leaking": 160}
LINKED = [
    Link(one="p0", other=other, reason=reason, detail="a stem")
    for other, reason in (("p1", "title"), ("p2", "title"), ("p1", "number"))
]


def small_split():
    """Six tiles, of which the second last names no instrument and only those of the first proposal have a category."""
    tiles = [tile(i, f"p{i // 2}") for i in range(6)]
    tiles[3], tiles[5] = (replace(tiles[i], instrument="ACS/WFC") for i in (3, 5))
    plans = plan_of(tiles[0], "train") | plan_of(tiles[1], "train") | plan_of(tiles[2], "train", "h")
    plans |= plan_of(tiles[3], "excluded", "h", "sky_guard:overlap") | plan_of(tiles[4], "test", "k")
    return tiles, plans | plan_of(tiles[5], "excluded", "k", "late_link")


def test_the_report_counts_tiles_proposals_and_groups_by_split_category_and_instrument():
    tiles, plans = small_split()
    proposals = {"p0": replace(proposal("p0"), category="STARS"), "p1": proposal("p1")}
    given = material(tiles, {one.obs_id: observation(one.obs_id) for one in tiles[:4]}, proposals)
    report = split_report(given, plans, links=LINKED, leak=LEAK, settings=SETTINGS)
    of = {"tiles": 1, "proposals": 1, "groups": 1}
    expected = {
        "lineage": "random",
        "settings": SETTINGS.recorded(),
        "wanted_share": {"train": 0.6, "val": 0.1, "test": 0.3},
        "total": {
            "excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 0.3333},
            "test": of | {"share": 0.1667},
            "train": {"tiles": 3, "proposals": 2, "groups": 2, "share": 0.5},
        },
        "by_category": {
            "STARS": {"train": of | {"tiles": 2, "share": 1.0}},
            "unknown": {
                "excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 0.5},
                "test": of | {"share": 0.25},
                "train": of | {"share": 0.25},
            },
        },
        "by_instrument": {
            "ACS/WFC": {"excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 1.0}},
            "WFC3/UVIS": {"train": {"tiles": 3, "proposals": 2, "groups": 2, "share": 1.0}},
            "unknown": {"test": of | {"share": 1.0}},
        },
        "excluded": {"late_link": 1, "sky_guard:overlap": 1},
        "links": {"number": 1, "title": 2},
        "random_split_of_tiles": LEAK,
    }
    assert json.dumps(report) == json.dumps(expected)  # plain values, and in this order


@pytest.mark.parametrize("step", [1, -1])
def test_excluded_tiles_and_links_are_listed_whatever_their_order(step):
    tiles, plans = small_split()
    tables = split_tables(tiles[::step], plans, LINKED[::step])
    excluded = {tiles[3].tile_id: ("h", "p1", "sky_guard:overlap"), tiles[5].tile_id: ("k", "p2", "late_link")}
    rows = [tuple(row.values()) for row in tables[EXCLUDED_TILES].to_pylist()]
    assert rows == [(tile_id, *excluded[tile_id]) for tile_id in sorted(excluded)]
    links = [tuple(row.values()) for row in tables[LINKS].to_pylist()]
    assert links == [("p0", *others, "a stem") for others in (("p1", "number"), ("p1", "title"), ("p2", "title"))]


def test_random_splits_are_one_lineage_and_those_of_another_scheme_one_per_settings():
    wanted = SplitSettings(scheme="cycle", test_from_cycle=20)
    assert lineage(SETTINGS.model_copy(update={"val_share": 0.2, "salt": "other", "guard_arcsec": 9.0})) == "random"
    assert lineage(wanted) == f"cycle-{wanted.digest()}"


def test_the_leak_summary_names_each_count():
    assert leak_summary(LEAK) == (
        "a random split of tiles would leak 80% of its 200 train tiles: 150 share an abstract with val or test,"
        " 40 overlap on the sky, 3 show the same moving body"
    )
    assert "leak 0% of its 0 train tiles" in leak_summary(dict.fromkeys(LEAK, 0))


RANDOM = SplitSettings()
BY_CYCLE = SplitSettings(scheme="cycle", test_from_cycle=20)
EXCLUDED_TILE = tile("excluded", "p")


def facts(tables):
    return {"split_report": {"lineage": "random"}, "split_tables": tables}


@pytest.fixture
def released(tmp_path):
    """A dataset that is out, and the split of its tiles."""
    samples, pngs = make_samples_with_pngs()
    plans = plan_of(EXCLUDED_TILE, "excluded", reason="sky_guard:overlap")
    built = build(samples, pngs, tmp_path / "datasets", **facts(split_tables([EXCLUDED_TILE], plans, [])))
    assert released_splits(tmp_path / "datasets", RANDOM) == plans | {
        one.tile_id: plan_of(one, one.split, one.group_id)[one.tile_id] for one in samples
    }
    return tmp_path / "datasets" / built.dataset.digest, {s.tile_id: s.split for s in samples}


@pytest.mark.parametrize("elsewhere", ["train", "val", "excluded"])
def test_test_tiles_may_vanish_but_not_move(released, elsewhere):
    folder, splits = released
    check_test_lists(folder.parent, splits | {"new": "train"}, RANDOM)
    check_test_lists(folder.parent, {t: split for t, split in splits.items() if split != "test"}, RANDOM)
    tile_id = min(t for t, split in splits.items() if split == "test")
    with pytest.raises(DatasetError, match=f"^1 test tiles of dataset {folder.name} .* for instance {tile_id}:"):
        check_test_lists(folder.parent, splits | {tile_id: elsewhere}, RANDOM)


def test_a_test_list_that_was_changed_or_is_gone_is_refused(released):
    folder, splits = released
    whole = (folder / TEST_LIST).read_bytes()
    for changed in (b"", whole.replace(b"\n", b"\r\n"), whole[:-1], b"\xff"):
        (folder / TEST_LIST).write_bytes(changed)
        with pytest.raises(DatasetError, match="changed after the release"):
            check_test_lists(folder.parent, splits, RANDOM)
    (folder / TEST_LIST).unlink()
    with pytest.raises(DatasetError, match=f"{TEST_LIST} cannot be read"):
        check_test_lists(folder.parent, splits, RANDOM)


def test_another_scheme_is_not_bound_by_it(released):
    folder, splits = released
    check_test_lists(folder.parent, dict.fromkeys(splits, "train"), BY_CYCLE)
    assert released_splits(folder.parent, BY_CYCLE) == {}


def test_the_test_list_of_every_dataset_of_the_lineage_counts(tmp_path):
    samples, pngs = make_samples_with_pngs()
    tests = [one for one in samples if one.split == "test"]
    for left_out in tests[:2]:
        build([one for one in samples if one is not left_out], pngs, tmp_path, **facts(split_tables([], {}, [])))
    assert set(released_splits(tmp_path, RANDOM)) == {one.tile_id for one in samples}
    splits = {one.tile_id: one.split for one in samples}
    for moved in tests:
        with pytest.raises(DatasetError, match=moved.tile_id):
            check_test_lists(tmp_path, splits | {moved.tile_id: "train"}, RANDOM)


@pytest.mark.parametrize("excluded_first", [True, False])
@pytest.mark.parametrize(
    ("reason", "split"), [("proposal_cap", "train"), ("patch_cap", "train"), ("late_link", "excluded")]
)
def test_a_cap_counts_only_where_no_dataset_has_the_tile_whatever_their_order(tmp_path, reason, split, excluded_first):
    samples, pngs = make_samples_with_pngs()
    one = next(one for one in samples if one.split == "train")
    plans = plan_of(one, "excluded", one.group_id, reason)
    excluded = split_tables([replace(tile("a", "p"), tile_id=one.tile_id)], plans, [])
    digests = [
        build(rows, pngs, tmp_path, max_parents=0, **facts(tables)).dataset.digest
        for rows, tables in (
            ([other for other in samples if other is not one], excluded),
            (samples, split_tables([], {}, [])),
        )
    ]
    for digest, name in zip(digests, ("a", "b") if excluded_first else ("b", "a"), strict=True):
        (tmp_path / digest).rename(tmp_path / name)
    assert released_splits(tmp_path, RANDOM)[one.tile_id].split == split
