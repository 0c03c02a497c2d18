"""Datasets that keep the shards of their parent, night after night, and digests of their inputs and content."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
from synthetic_samples import build, contents, make_png, make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings
from hubbleclip.contracts.schema import compatible_version
from hubbleclip.core.errors import TileFileError
from hubbleclip.core.records import to_row
from hubbleclip.dataset.build import content_digest, inputs_digest
from hubbleclip.dataset.manifest import read_dataset

SAMPLES, PNGS = make_samples_with_pngs(60, 10)
SAMPLES[0] = replace(SAMPLES[0], archive="hst")
NIGHTS = (30, 50, 60)


@pytest.fixture
def nights(tmp_path):
    """Datasets of three nights, for each of which only the pictures of its new tiles can be read."""
    parts = zip((0, *NIGHTS), NIGHTS, strict=False)
    return tmp_path, [build(SAMPLES[:num], dict([*PNGS.items()][old:num]), tmp_path) for old, num in parts]


def test_a_night_packs_only_what_is_new(nights):
    root, built = nights
    own = [{shard.shard for shard in one.shards if shard.home_digest is None} for one in built]
    assert [{path.name for path in (root / one.dataset.digest).glob("*.tar")} for one in built] == own
    assert [one.dataset.num_new_samples for one in built] == [None, 20, 10]
    assert [one.dataset.parent_digest for one in built] == [None, built[0].dataset.digest, built[1].dataset.digest]
    assert [read_dataset(root / one.dataset.digest).description["num_parents"] for one in built] == [0, 1, 2]
    assert built[2].dataset.num_samples == len({place.tile_id for place in built[2].placements}) == 60
    assert read_dataset(root / built[2].dataset.digest).description["notices"].keys() == {"hst", "simulated"}


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


WITH_DEFAULTS = ShardSettings()


def plain_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_digest_of_the_inputs_is_that_of_the_format_the_contract_the_settings_and_the_rows_by_tile():
    samples, _ = make_samples_with_pngs(12, 6)
    rows = [plain_json(to_row(one)) + b"\n" for one in sorted(samples, key=lambda one: one.tile_id)]
    head = plain_json(["webdataset-1", compatible_version("shards"), WITH_DEFAULTS.digest()])
    expected = hashlib.sha256(b"".join([head, *rows])).hexdigest()[:32]
    assert inputs_digest(samples, WITH_DEFAULTS) == inputs_digest(samples[::-1], WITH_DEFAULTS) == expected


def test_samples_outside_the_splits_do_not_change_the_digest_of_the_inputs():
    samples, _ = make_samples_with_pngs(12, 6)
    assert inputs_digest([replace(samples[0], split="excluded"), *samples[1:]], WITH_DEFAULTS) == inputs_digest(
        samples[1:], WITH_DEFAULTS
    )


@pytest.mark.parametrize("step", [1, -1])
def test_the_digest_of_the_content_is_that_of_the_inputs_and_of_name_hash_and_home_of_each_shard(step):
    shards = [
        {"shard": "val-000000.tar", "sha256": "b" * 64, "home_digest": "c" * 32, "size_bytes": 1},
        {"shard": "train-000000.tar", "sha256": "a" * 64, "home_digest": None, "size_bytes": 2},
    ]
    lines = ["d" * 32, f"train-000000.tar {'a' * 64} None", f"val-000000.tar {'b' * 64} {'c' * 32}"]
    assert content_digest("d" * 32, shards[::step]) == hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
