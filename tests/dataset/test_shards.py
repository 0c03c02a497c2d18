import errno
import io
import itertools
import logging
import pickle
import random
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_samples import build, contents, make_png, make_sample, make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import DatasetError, MachineError, TileFileError
from hubbleclip.core.records import to_row
from hubbleclip.dataset.build import build_dataset, plan_shards, read_dataset
from hubbleclip.dataset.manifest import SPLITS
from hubbleclip.dataset.shard_writer import (
    interleave,
    member_bytes,
    packed_size_bytes,
    partition_evenly,
    read_shard_file,
    sidecar,
    trailer_size_bytes,
    write_tar,
)


def large_samples():
    """Enough bytes for several shards of 1 MB: 24 tiles of about 150 kB."""
    pngs = [make_png(index, 384) for index in range(24)]
    samples = [make_sample(index, index % 6, png) for index, png in enumerate(pngs)]
    return samples, {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)}


@pytest.fixture
def built(tmp_path):
    samples, pngs = make_samples_with_pngs()
    dataset = build(samples, pngs, tmp_path / "datasets")
    return samples, pngs, tmp_path / dataset.dataset.path, dataset


def test_two_folders_and_another_order_give_the_same_bytes(tmp_path):
    samples, pngs = large_samples()
    one = build(samples, pngs, tmp_path / "one", ShardSettings(max_mb=1))
    random.Random(1).shuffle(samples)
    sizes = {tile_id: len(png) for tile_id, png in pngs.items()}
    two = build(samples, pngs, tmp_path / "two", ShardSettings(max_mb=1), read_png_size=sizes.__getitem__)
    assert len(one.shards) > 4
    assert one.shards == two.shards
    assert contents(tmp_path / "one" / one.dataset.digest) == contents(tmp_path / "two" / two.dataset.digest)


def test_shards_written_in_other_processes_are_those_written_here(tmp_path):
    def sent(thing):
        return pickle.loads(pickle.dumps(thing))

    def elsewhere(work, items):
        return [sent(sent(work)(sent(item))) for item in items]

    samples, pngs = large_samples()
    for folder, options in ((tmp_path / "here", {}), (tmp_path / "elsewhere", {"map_fn": elsewhere})):
        build(samples, pngs, folder, ShardSettings(max_mb=1), **options)
    assert contents(tmp_path / "here") == contents(tmp_path / "elsewhere")


def test_the_manifest_holds_the_samples_and_their_placements(built):
    samples, pngs, folder, dataset = built
    info, some = read_dataset(folder), [one.tile_id for one in samples[::-3]]
    rows = info.manifest.to_pylist()
    assert info.read_tile_images(some) == [pngs[tile_id] for tile_id in some]
    places = {p.tile_id: {"shard": p.shard, "offset": p.offset, "length": p.length} for p in dataset.placements}
    assert rows == [to_row(s) | places[s.tile_id] for s in sorted(samples, key=lambda s: s.tile_id)]


def test_building_again_finds_the_dataset_without_reading_a_png(built, tmp_path):
    samples, _, folder, dataset = built
    before = contents(folder)
    assert build(samples, {}, tmp_path / "datasets") == dataset
    assert contents(folder) == before


class KilledError(Exception):
    """Simulates a kill: nothing in the library catches it."""


def test_a_killed_build_resumes_with_its_shards(tmp_path):
    samples, pngs = large_samples()
    settings = ShardSettings(max_mb=1)
    sizes = {tile_id: len(png) for tile_id, png in pngs.items()}
    whole = build(samples, pngs, tmp_path / "whole", settings)
    read = []

    def read_until_killed(tile_id):
        if len(read) == 15:
            raise KilledError
        read.append(tile_id)
        return pngs[tile_id]

    options = {"contract_version": "1", "code_version": "test", "read_png_size": sizes.__getitem__}
    with pytest.raises(KilledError):
        build_dataset(samples, read_until_killed, tmp_path / "killed", settings, **options)
    (building,) = (tmp_path / "killed").iterdir()
    done = {path.name: path.stat().st_mtime_ns for path in building.glob("*.tar")}
    assert 0 < len(done) < len(whole.shards)
    again = build(samples, pngs, tmp_path / "killed", settings, read_png_size=sizes.__getitem__)
    finished = tmp_path / "killed" / again.dataset.digest
    assert contents(finished) == contents(tmp_path / "whole" / whole.dataset.digest)
    assert {name: (finished / name).stat().st_mtime_ns for name in done} == done
    assert list((tmp_path / "killed").iterdir()) == [finished]


def test_only_the_shards_that_a_stopped_build_lacks_are_given_to_workers(tmp_path):
    samples, pngs = large_samples()
    given = []

    def stop_after_two(work, shards):
        given.append([shard.path.name for shard in shards])
        yield from map(work, shards[:2] if len(given) == 1 else shards)
        if len(given) == 1:
            raise KilledError

    options = {"settings": ShardSettings(max_mb=1), "map_fn": stop_after_two}
    with pytest.raises(KilledError):
        build(samples, pngs, tmp_path, **options)
    assert len(build(samples, pngs, tmp_path, **options).shards) == len(given[0])
    assert given[1] == given[0][2:]


@pytest.mark.parametrize("lost", ["dataset.json", "manifest.parquet", "val-000000.tar", "sky/hats.properties"])
def test_a_build_killed_before_its_last_steps_ends_the_same(built, tmp_path, lost):
    samples, pngs, folder, dataset = built
    before = contents(folder)
    building = folder.with_name(f".building-{dataset.dataset.inputs_digest}")
    folder.rename(building)
    (building / "dataset.json").unlink()
    (building / lost).unlink(missing_ok=True)
    (building / lost).with_name(".file.1-2.tmp").write_bytes(b"half")
    again = build(samples, pngs, tmp_path / "datasets")
    assert again.dataset.digest == dataset.dataset.digest
    assert contents(folder) == before


@pytest.mark.parametrize("spare_bytes", [0, 512, 1024, 5000, 10240])
def test_the_end_of_a_tar_counts_in_its_size(tmp_path, spare_bytes):
    samples, pngs = make_samples_with_pngs(8, 1)
    sizes = {s.tile_id: packed_size_bytes(s, len(sidecar(s)), len(pngs[s.tile_id])) for s in samples}
    max_bytes = sum(sizes.values()) + spare_bytes
    for name, part in plan_shards(samples, sizes, max_bytes, dict.fromkeys(SPLITS, 0)).items():
        write_tar(tmp_path / name, part, pngs.__getitem__)
        assert (tmp_path / name).stat().st_size <= max_bytes


def test_shards_of_tiles_of_unequal_sizes_are_below_the_limit_and_begin_behind_those_of_the_parent():
    samples, _ = make_samples_with_pngs()
    rng = random.Random(2)
    sizes = {one.tile_id: rng.randrange(1000, 30_000) for one in samples}
    plan = plan_shards(samples[::-1], sizes, 50_240, {"train": 2, "val": 0, "test": 7})
    assert max(sum(sizes[one.tile_id] for one in part) for part in plan.values()) <= 40_000
    for split, first in (("train", 2), ("val", 0), ("test", 7)):
        parts = {name: part for name, part in plan.items() if name.startswith(split)}
        assert list(parts) == [f"{split}-{first + number:06d}.tar" for number in range(len(parts))]
        assert [*itertools.chain(*parts.values())] == interleave([one for one in samples if one.split == split])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 20))
def test_cuts_are_the_best_of_all_possible_cuts(sizes, most):
    ends = partition_evenly(sizes, most)
    sums = [sum(sizes[a:b]) for a, b in itertools.pairwise([0, *ends])]
    limit = max(most, *sizes)
    all_cuts = [
        [sum(sizes[a:b]) for a, b in itertools.pairwise([0, *inner, len(sizes)])]
        for count in range(len(sizes))
        for inner in itertools.combinations(range(1, len(sizes)), count)
    ]
    possible = [cut for cut in all_cuts if max(cut) <= limit]
    fewest = min(len(cut) for cut in possible)
    assert ends[-1] == len(sizes)
    assert (len(sums), max(sums)) == (fewest, min(max(cut) for cut in possible if len(cut) == fewest))


def test_small_proposals_are_spread_among_the_tiles_of_a_large_one():
    ordered = interleave([make_sample(index, max(0, index - 400), b"") for index in range(500)])
    small = [sum(s.group_id != f"{0:016x}" for s in ordered[i : i + 100]) for i in range(0, 500, 100)]
    assert min(small) >= 8


def test_an_empty_split_is_allowed_and_logged(tmp_path, caplog):
    samples, pngs = make_samples_with_pngs()
    with caplog.at_level(logging.WARNING):
        built = build([s for s in samples if s.split != "val"], pngs, tmp_path)
    assert read_dataset(tmp_path / built.dataset.digest).shards["val"] == ()
    assert "split val has no sample" in caplog.text


def test_no_sample_at_all_is_one_clear_line(tmp_path):
    with pytest.raises(DatasetError, match=r"^no sample to pack, .*`hubbleclip status`\Z"):
        build([], {}, tmp_path)


def test_a_tile_given_twice_is_refused(tmp_path):
    samples, pngs = make_samples_with_pngs(3, 3)
    with pytest.raises(DatasetError, match="twice"):
        build([*samples, samples[0]], pngs, tmp_path)


def build_with_errors(samples, pngs, folder, errors):
    """Build a dataset of which some images cannot be read."""

    def read(tile_id):
        if tile_id in errors:
            raise errors[tile_id]
        return pngs[tile_id]

    options = {"contract_version": "1", "code_version": "test", "read_png_size": lambda tile_id: len(pngs[tile_id])}
    build_dataset(samples, read, folder, ShardSettings(), **options)


def test_changed_and_missing_pngs_name_the_tiles_of_all_shards(tmp_path):
    samples, pngs = make_samples_with_pngs()
    broken = {samples[index].tile_id: make_png(999) for index in (0, 3, 4)}  # in train, val and test
    missing = {samples[1].tile_id: FileNotFoundError(), samples[2].tile_id: OSError(errno.EIO, "a bad sector")}
    with pytest.raises(TileFileError, match="5 tiles have a missing or damaged image") as caught:
        build_with_errors(samples, pngs | broken, tmp_path, missing)
    assert set(caught.value.tile_ids) == {*broken, *missing}
    assert list(tmp_path.rglob("*.tar")) == []  # each shard lacks a tile
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_of_the_machine_is_none_of_a_tile(tmp_path):
    samples, pngs = make_samples_with_pngs(3, 3)
    with pytest.raises(MachineError, match="Cannot allocate"):
        build_with_errors(samples, pngs, tmp_path, {samples[1].tile_id: OSError(errno.ENOMEM, "Cannot allocate")})


def test_a_folder_that_lost_its_description_is_rebuilt(built, tmp_path):
    samples, pngs, folder, dataset = built
    before = contents(folder)
    (folder / "dataset.json").unlink()
    assert build(samples, pngs, tmp_path / "datasets").shards == dataset.shards
    assert contents(folder) == before


@given(st.binary(max_size=2000))
def test_a_member_is_what_tarfile_writes_of_it(content):
    buffer, info = io.BytesIO(), tarfile.TarInfo("a.png")
    info.size, info.uname, info.gname = len(content), "hubbleclip", "hubbleclip"
    tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT).addfile(info, io.BytesIO(content))
    assert buffer.getvalue() == member_bytes("a.png", content)


@pytest.fixture
def written(tmp_path):
    """Pictures of every length, whatever is in them."""
    pngs = [make_png(index) * (400 - 7 * index) for index in range(50)]
    samples = [make_sample(index, index % 5, png) for index, png in enumerate(pngs)]
    pngs = {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)}
    return samples, pngs, write_tar(tmp_path / "train-000000.tar", samples, pngs.__getitem__)


def test_the_facts_of_a_shard_file_match_its_content(written, tmp_path):
    samples, pngs, shard = written
    planned = sum(packed_size_bytes(one, len(sidecar(one)), len(pngs[one.tile_id])) for one in samples)
    assert shard.size_bytes == planned + trailer_size_bytes(planned)
    assert shard.size_bytes % tarfile.RECORDSIZE == 0
    data = (tmp_path / "train-000000.tar").read_bytes()
    assert len(data) == shard.size_bytes
    assert {name: data[start : start + length] for name, (start, length) in shard.extents.items()} == pngs
    assert read_shard_file(tmp_path / "train-000000.tar") == shard
    (tmp_path / "train-000000.tar").write_bytes(data[:700])
    with pytest.raises(DatasetError, match="is not a complete tar .*run `hubbleclip shards` again"):
        read_shard_file(tmp_path / "train-000000.tar")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_json_cannot_represent_are_refused(value):
    sample = replace(make_sample(0, 0, b""), ra_deg=value)
    with pytest.raises(ValueError, match="JSON"):
        sidecar(sample)
