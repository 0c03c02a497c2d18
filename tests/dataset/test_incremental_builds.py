"""Incremental builds: datasets that keep the shards of their parent, night after night."""

import hashlib
import shutil
from dataclasses import replace

import pytest
from synthetic_samples import build, contents, make_png, make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import TileFileError
from hubbleclip.dataset.manifest import read_dataset

SAMPLES, PNGS = make_samples_with_pngs(60, 10)
NIGHTS = (30, 50, 60)


@pytest.fixture
def nights(tmp_path):
    return tmp_path, [build(SAMPLES[:num], PNGS, tmp_path) for num in NIGHTS]


def test_a_night_packs_only_what_is_new(nights):
    root, built = nights
    own = [{shard.shard for shard in one.shards if shard.home_digest is None} for one in built]
    assert [{path.name for path in (root / one.dataset.digest).glob("*.tar")} for one in built] == own
    assert [one.dataset.num_new_samples for one in built] == [None, 20, 10]
    assert [one.dataset.parent_digest for one in built] == [None, built[0].dataset.digest, built[1].dataset.digest]
    assert built[2].dataset.num_samples == len({place.tile_id for place in built[2].placements}) == 60


def test_the_same_nights_give_the_same_bytes_and_rewrite_none(nights, tmp_path_factory):
    again, before = tmp_path_factory.mktemp("again"), {}
    for num in NIGHTS:
        build(SAMPLES[:num], PNGS, again)
        after = contents(again)
        assert before.items() <= after.items()
        before = after
    assert before == contents(nights[0])


@pytest.mark.parametrize("change", ["gone", "changed", "moved"])
def test_a_removed_or_changed_sample_forces_a_full_build(tmp_path, change):
    build(SAMPLES[:30], PNGS, tmp_path)
    png = make_png(999)
    first = {
        "gone": [],
        "changed": [replace(SAMPLES[0], png_sha256=hashlib.sha256(png).hexdigest())],
        "moved": [replace(SAMPLES[0], split="val")],
    }[change]
    samples = [*first, *SAMPLES[1:]]
    pngs = PNGS | ({SAMPLES[0].tile_id: png} if change == "changed" else {})
    built = build(samples, pngs, tmp_path)
    assert (built.dataset.parent_digest, built.dataset.num_new_samples) == (None, None)
    assert {shard.home_digest for shard in built.shards} == {None}


@pytest.mark.parametrize(("most", "parents"), [(0, [None, None, None]), (1, [None, 0, None])])
def test_after_max_parents_nights_a_full_build_follows(tmp_path, most, parents):
    built = [build(SAMPLES[:num], PNGS, tmp_path, max_parents=most) for num in NIGHTS]
    found = [one.dataset.parent_digest for one in built]
    assert found == [None if parent is None else built[parent].dataset.digest for parent in parents]


@pytest.mark.parametrize("change", [{"settings": ShardSettings(max_mb=1)}, {"contract_version": "1.0.1"}])
def test_other_settings_and_another_version_of_the_contract_force_a_full_build(tmp_path, change):
    build(SAMPLES[:30], PNGS, tmp_path)
    assert build(SAMPLES, PNGS, tmp_path, **change).dataset.parent_digest is None


def test_an_interrupted_build_leaves_nothing_to_one_with_another_parent(tmp_path):
    first = build(SAMPLES[:30], PNGS, tmp_path / "here").dataset.digest
    broken = next(one.tile_id for one in SAMPLES[30:] if one.split == "train")
    with pytest.raises(TileFileError):
        build(SAMPLES, PNGS | {broken: b""}, tmp_path / "here")
    shutil.rmtree(tmp_path / "here" / first)
    again, fresh = (build(SAMPLES, PNGS, tmp_path / name).dataset.digest for name in ("here", "elsewhere"))
    assert contents(tmp_path / "here" / again) == contents(tmp_path / "elsewhere" / fresh)
    assert [path.name for path in (tmp_path / "here").iterdir()] == [again]


def test_a_dataset_is_found_from_within_its_folder(nights, monkeypatch):
    root, built = nights
    monkeypatch.chdir(root / built[2].dataset.digest)
    assert read_dataset(".").addresses == read_dataset(root / built[2].dataset.digest).addresses


def test_a_smaller_dataset_is_the_parent_if_the_largest_is_damaged(tmp_path):
    first, second = (build(SAMPLES[:num], PNGS, tmp_path) for num in NIGHTS[:2])
    (tmp_path / second.dataset.digest / "manifest.parquet").unlink()
    assert build(SAMPLES[:60], PNGS, tmp_path).dataset.parent_digest == first.dataset.digest
