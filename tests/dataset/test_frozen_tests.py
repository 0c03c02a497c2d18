from dataclasses import replace

import pytest
from sky_cases import plan_of, tile
from synthetic_samples import build, make_samples_with_pngs

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_file
from hubbleclip.dataset.manifest import TEST_LIST
from hubbleclip.dataset.splits.frozen_tests import check_test_lists, released_splits
from hubbleclip.dataset.splits.report import split_tables

SETTINGS = SplitSettings()
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
    assert released_splits(tmp_path / "datasets", SETTINGS) == plans | {
        one.tile_id: plan_of(one, one.split, one.group_id)[one.tile_id] for one in samples
    }
    return tmp_path / "datasets" / built.dataset.digest, {s.tile_id: s.split for s in samples}, built.dataset


def test_the_test_list_is_a_sorted_file_whose_hash_the_dataset_names(released):
    folder, splits, dataset = released
    assert (folder / TEST_LIST).read_text().splitlines() == sorted(t for t, split in splits.items() if split == "test")
    assert dataset.test_list_sha256 == sha256_file(folder / TEST_LIST)


@pytest.mark.parametrize("elsewhere", ["train", "val", "excluded"])
def test_test_tiles_may_vanish_but_not_move(released, elsewhere):
    folder, splits, _ = released
    check_test_lists(folder.parent, splits | {"new": "train"}, SETTINGS)
    check_test_lists(folder.parent, {t: split for t, split in splits.items() if split != "test"}, SETTINGS)
    tile_id = min(t for t, split in splits.items() if split == "test")
    with pytest.raises(DatasetError, match=tile_id):
        check_test_lists(folder.parent, splits | {tile_id: elsewhere}, SETTINGS)


def test_a_test_list_that_was_changed_or_is_gone_is_refused(released):
    folder, splits, _ = released
    (folder / TEST_LIST).write_text("")
    with pytest.raises(DatasetError, match="changed after the release"):
        check_test_lists(folder.parent, splits, SETTINGS)
    (folder / TEST_LIST).unlink()
    with pytest.raises(DatasetError, match=f"{TEST_LIST} cannot be read"):
        check_test_lists(folder.parent, splits, SETTINGS)


def test_another_scheme_is_not_bound_by_it(released):
    folder, splits, _ = released
    check_test_lists(folder.parent, dict.fromkeys(splits, "train"), BY_CYCLE)
    assert released_splits(folder.parent, BY_CYCLE) == {}


def test_the_test_list_of_every_dataset_of_the_lineage_counts(tmp_path):
    samples, pngs = make_samples_with_pngs()
    tests = [one for one in samples if one.split == "test"]
    for left_out in tests[:2]:
        build([one for one in samples if one is not left_out], pngs, tmp_path, **facts(split_tables([], {}, [])))
    assert set(released_splits(tmp_path, SETTINGS)) == {one.tile_id for one in samples}
    splits = {one.tile_id: one.split for one in samples}
    for moved in tests:
        with pytest.raises(DatasetError, match=moved.tile_id):
            check_test_lists(tmp_path, splits | {moved.tile_id: "train"}, SETTINGS)


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
    assert released_splits(tmp_path, SETTINGS)[one.tile_id].split == split
