"""Descriptions and manifests from elsewhere: no name in them reaches the disk unchecked, and every damage is found."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_samples import built_in, make_samples_with_pngs

from hubbleclip.cli.app import main
from hubbleclip.contracts.schema import contract_version
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.manifest import description_bytes, read_manifest, write_table
from hubbleclip.dataset.verify import find_faults


@pytest.fixture
def built(tmp_path):
    return built_in(tmp_path, *make_samples_with_pngs())


def description_of(built):
    return json.loads((built / "dataset.json").read_text())


def change_description(built, **changes):
    (built / "dataset.json").write_text(json.dumps(description_of(built) | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "../../train-000000.tar"},
        {"shard": "/etc/passwd"},
        {"shard": None},
        {"home_digest": ".."},
        {"home_digest": "../../" + "0" * 26},
        {"home_digest": 7},
        {"size_bytes": -1},
        {"num_samples": -1},
        {"sha256": "x"},
        {"colour": "red"},
    ],
)
def test_a_shard_that_points_elsewhere_or_breaks_its_contract_is_refused(built, change):
    first, *others = description_of(built)["shards"]
    change_description(built, shards=[first | change, *others])
    with pytest.raises(DatasetError, match="does not describe a dataset"):
        read_dataset(built)


OF_DATASET = ("digest", "inputs_digest", "contract_version", "counts", "shards", "files", "split_report")
OF_SHARD = ("split", "sha256", "size_bytes", "num_samples", "home_digest")


@pytest.mark.parametrize(("name", "is_of_shard"), [*((n, False) for n in OF_DATASET), *((n, True) for n in OF_SHARD)])
def test_a_description_that_lacks_a_fact_is_refused_in_one_line(built, name, is_of_shard):
    description = description_of(built)
    del (description["shards"][1] if is_of_shard else description)[name]
    (built / "dataset.json").write_text(json.dumps(description))
    lacking = f".*'{name}'" if is_of_shard else f"{name} is invalid: None"
    with pytest.raises(DatasetError, match=rf"does not describe a dataset \({lacking}.*again$"):
        read_dataset(built)


@pytest.mark.parametrize("name", ["tile_id", "caption_kinds", "captions", "shard"])
def test_a_manifest_without_a_column_that_readers_need_is_refused(built, name):
    write_table(built / "manifest.parquet", read_manifest(built).drop_columns(name))
    with pytest.raises(DatasetError, match=rf"manifest\.parquet lacks the columns {name}: "):
        read_dataset(built)


@pytest.mark.parametrize("change", [lambda data: data[:-512], lambda data: data + bytes(512)])
def test_a_shard_of_another_size_is_named(built, change):
    shard = built / "val-000000.tar"
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(DatasetError, match=r"val-000000\.tar has .* bytes instead of"):
        read_dataset(built)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 200_000, "cannot be read"), ('{"digest": "', "cannot be read"), ("[]", "does not describe a dataset")],
)
def test_a_description_that_cannot_be_read_is_one_line(built, text, message):
    (built / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"dataset\.json {message}.*`hubbleclip shards` again$"):
        read_dataset(built)


@pytest.mark.parametrize(
    ("column", "last", "message"),
    [
        ("shard", "../../other.tar", "names the unknown shard"),
        *(
            (column, value, "places an image outside of its shard")
            for column in ("offset", "length")
            for value in (-1, 2**40, 2**63 - 1, -(2**63))
        ),
        ("length", 0, "places an image outside of its shard"),
        *((column, None, "has nulls or another type in") for column in ("tile_id", "split", "group_id", "offset")),
        *(("captions", value, "has nulls or another type in captions") for value in (None, [], [None])),
    ],
)
def test_a_manifest_with_a_wrong_value_is_one_line(built, column, last, message):
    with_column(built, column, [*read_manifest(built)[column].to_pylist()[:-1], last])
    with pytest.raises(DatasetError, match=f"{message}.*again$"):
        read_dataset(built)


def test_an_image_may_end_where_its_shard_ends_and_not_behind(built):
    info = read_dataset(built)
    *_, (address, offset, length) = info.image_spans(info.manifest)
    lengths, rest = info.manifest["length"].to_pylist(), Path(address).stat().st_size - offset
    assert rest > length
    with_column(built, "length", [*lengths[:-1], rest])
    assert read_dataset(built).manifest["length"][-1].as_py() == rest
    with_column(built, "length", [*lengths[:-1], rest + 1])
    with pytest.raises(DatasetError, match="places an image outside of its shard"):
        read_dataset(built)


def with_column(built, name, values):
    manifest = read_manifest(built)
    index = manifest.column_names.index(name)
    write_table(built / "manifest.parquet", manifest.set_column(index, name, pa.array(values)))


@pytest.mark.parametrize("value", ["a text", [5]])
def test_captions_that_are_no_texts_are_one_line(built, value):
    with_column(built, "captions", [value] * read_manifest(built).num_rows)
    with pytest.raises(DatasetError, match="has nulls or another type in captions.*again$"):
        read_dataset(built)


NEWER, OLDER = ("99.0.0", "99", "1.99.0"), ("0.9", "", "one", "1.-1", "²")


@pytest.mark.parametrize("version", [*NEWER, *OLDER])
def test_a_dataset_of_an_unknown_version_is_refused(built, version):
    change_description(built, contract_version=version)
    hint = "install a newer hubbleclip" if version in NEWER else "run `hubbleclip shards` again"
    with pytest.raises(DatasetError, match=f"of the shards contract, but this program knows .*: {hint}"):
        read_dataset(built)


@pytest.mark.parametrize("version", ["1.0.7", "{}.{}", "{}.{}.99"])
def test_a_dataset_of_an_older_version_or_another_patch_opens(built, version):
    change_description(built, contract_version=version.format(*contract_version("shards").split(".")))
    assert read_dataset(built).digest == built.name


@pytest.mark.parametrize(
    "files",
    [
        *({name: "0" * 64} for name in ("/dev/zero", "../x", "a/../../x", ".hidden", "")),
        {"README.md": None},
        {"README.md": "short"},
        ["README.md"],
        None,
    ],
)
def test_files_outside_the_folder_are_refused(built, files):
    change_description(built, files=files)
    with pytest.raises(DatasetError, match="does not describe a dataset"):
        read_dataset(built)
    assert len(list(find_faults(built))) == 1


def in_hub_cache(dataset, repo, below):
    """The dataset's files as huggingface_hub keeps them: links from the folder of a revision to files named by hash."""
    for file in [file for file in dataset.rglob("*") if file.is_file()]:
        blob = repo / "blobs" / sha256_bytes(file.read_bytes())
        link = repo / "snapshots" / ("c" * 40) / below / file.relative_to(dataset)
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return repo / "snapshots" / ("c" * 40) / below


@pytest.mark.parametrize("below", [".", "datasets/one"])
def test_a_dataset_in_the_cache_of_the_hub_is_read_and_verified(built, tmp_path, below):
    place = in_hub_cache(built, tmp_path / "datasets--who--what", below)
    assert (place / "dataset.json").is_symlink()
    assert list(find_faults(place)) == []
    assert read_dataset(place).manifest.num_rows > 0


@pytest.mark.parametrize("where", ["datasets--who--other/blobs/x", "datasets--who--what/refs/x", "x"])
@pytest.mark.parametrize("name", ["dataset.json", "train-000000.tar", "README.md"])
def test_a_link_out_of_the_cache_of_its_own_repository_is_refused(built, tmp_path, where, name):
    place = in_hub_cache(built, tmp_path / "datasets--who--what", ".")
    blob, outside = (place / name).resolve(), tmp_path / where
    outside.parent.mkdir(parents=True, exist_ok=True)
    blob.replace(outside)
    blob.symlink_to(outside)
    assert any(f"{name} is a link to another folder" in fault for fault in find_faults(place))


def to(target):
    return lambda path: path.symlink_to(target)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["dataset.json", "manifest.parquet", "train-000000.tar", "README.md"])
@pytest.mark.parametrize("kind", ["fifo", "zero", "link", "folder"])
def test_a_file_that_is_no_regular_file_is_refused(built, tmp_path, name, kind):
    path = built / name
    path.rename(tmp_path / "outside")
    {"fifo": os.mkfifo, "zero": to("/dev/zero"), "link": to(tmp_path / "outside"), "folder": Path.mkdir}[kind](path)
    faults = list(find_faults(built))
    assert any(name in fault and ("regular" in fault or "link" in fault) for fault in faults)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(built):
    for name in ("README.md", "dataset.json"):
        with (built / name).open("r+b") as file:
            file.truncate(10**12)  # sparse: it takes no room
        faults = list(find_faults(built))
        assert any(f"{name} has {10**12} bytes, more than" in fault for fault in faults)


def test_a_manifest_that_claims_more_rows_than_its_bytes_can_hold_is_refused(built):
    manifest = read_manifest(built)
    zeros = np.zeros(60_000, np.int64)
    pq.write_table(manifest.take(zeros), built / "manifest.parquet", compression="zstd")
    assert (built / "manifest.parquet").stat().st_size < 1_900_000
    with pytest.raises(DatasetError, match="claims 60000 rows"):
        read_dataset(built)


@pytest.mark.parametrize("is_list", [False, True])
def test_a_large_text_that_all_rows_share_is_refused_before_it_is_unpacked(is_list, tmp_path):
    num = 10_000
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(num, np.int32)), ["x" * 100_000])
    texts = pa.ListArray.from_arrays(np.arange(num + 1, dtype=np.int32), shared) if is_list else shared
    pq.write_table(
        pa.table({"tile_id": [os.urandom(16).hex() for _ in range(num)], "captions": texts}),
        tmp_path / "manifest.parquet",
    )
    with pytest.raises(DatasetError, match="texts unpack to more than"):
        read_manifest(tmp_path)


@pytest.fixture
def two_nights(tmp_path):
    samples, pngs = make_samples_with_pngs()
    built_in(tmp_path, samples[:30], pngs)
    return built_in(tmp_path, samples, pngs)


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("share", [0, 0.9])
@pytest.mark.parametrize(
    "name", ["manifest.parquet", "dataset.json", "README.md", "croissant.json", "sky/hats.properties", "test_tiles.txt"]
)
def test_a_flipped_bit_beside_the_shards_is_found_and_its_file_named(two_nights, name, share):
    flip(two_nights / name, int(share * (two_nights / name).stat().st_size))
    (fault,) = find_faults(two_nights)
    assert name in fault


@pytest.mark.parametrize("suffix", ["json", "png", "txt"])
@pytest.mark.parametrize("part", ["header", "content"])
@pytest.mark.parametrize("whose", ["own", "parent's"])
def test_a_flipped_bit_in_a_shard_names_file_and_sample(two_nights, suffix, part, whose):
    shard = "train-000001.tar" if whose == "own" else "train-000000.tar"
    address = read_dataset(two_nights).addresses[shard]
    with tarfile.open(address) as tar:
        member = [member for member in tar if member.name.endswith(suffix)][1]
    place = member.offset_data + member.size // 2 if part == "content" else member.offset + 100
    flip(Path(address), place)
    faults = list(find_faults(two_nights))
    assert faults
    assert all(address in fault and member.name.partition(".")[0] in fault for fault in faults)


def test_a_flipped_bit_between_or_behind_the_samples_of_a_shard_is_found(two_nights):
    shard = two_nights / "train-000001.tar"
    flip(shard, -1)
    (fault,) = find_faults(two_nights)
    assert "train-000001.tar is damaged after the last sample" in fault
    with tarfile.open(shard) as tar:
        member = tar.next()
    flip(shard, member.offset_data + member.size)
    assert member.name.partition(".")[0] in next(find_faults(two_nights))


@pytest.mark.parametrize("lost", ["README.md", "manifest.parquet", "train-000001.tar", "../{home}/train-000000.tar"])
def test_a_lost_file_is_named(two_nights, lost):
    home = json.loads((two_nights / "dataset.json").read_text())["parent_digest"]
    path = two_nights / lost.format(home=home)
    path.unlink()
    faults = list(find_faults(two_nights))
    assert faults
    assert all(path.name in fault for fault in faults)


def resealed(folder, forge=lambda folder, facts: None):
    """Change the dataset, then the hashes in its description to those of the files as they are, as a forger would."""
    facts = json.loads((folder / "dataset.json").read_text())
    del facts["self_sha256"]
    forge(folder, facts)
    facts["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["files"]}
    for shard in facts["shards"]:
        data = (folder.parent / (shard["home_digest"] or folder.name) / shard["shard"]).read_bytes()
        shard |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (folder / "dataset.json").write_bytes(description_bytes(facts))


def without(column):
    def forge(folder, _):
        write_table(folder / "manifest.parquet", read_manifest(folder).drop_columns(column))

    return forge


def other_title(folder, _):
    manifest = read_manifest(folder)
    index, titles = manifest.schema.get_field_index("title"), ["Another", *manifest["title"].to_pylist()[1:]]
    write_table(folder / "manifest.parquet", manifest.set_column(index, manifest.schema.field(index), pa.array(titles)))


def in_own_shard(split, /, **changes):
    def forge(_, facts):
        own = (shard for shard in facts["shards"] if shard["split"] == split and shard["home_digest"] is None)
        next(own).update(changes)

    return forge


@pytest.mark.parametrize(
    ("forge", "faults"),
    [
        (lambda _, facts: facts.update(counts={}), ["the counts is"]),
        (lambda _, facts: facts.update(digest="0" * 32), ["the digest is"]),
        (lambda _, facts: facts.update(inputs_digest="0" * 32), ["the digest is"]),
        (lambda _, facts: facts["files"].pop("manifest.parquet"), ["has no hash of manifest.parquet"]),
        (lambda _, facts: facts["files"].pop("test_tiles.txt"), ["the test list is None"]),
        (lambda folder, _: (folder / "test_tiles.txt").write_text(""), ["the test list is"]),
        (without("title"), ["does not have the columns"]),
        (without("view"), [".json differs from the manifest's row"]),  # a column that older versions lack
        (other_title, [".json differs from the manifest's row"]),
        (in_own_shard("test", num_samples=1), ["the number of samples is 39, but 40", "has 1 samples"]),
        (in_own_shard("val", split="train"), ["the sample belongs to split val, but the shard to train"]),
    ],
)
def test_a_forged_dataset_whose_parts_contradict_each_other_is_found(two_nights, forge, faults):
    resealed(two_nights, forge)
    found = list(find_faults(two_nights))
    assert all(any(fault in line for line in found) for fault in faults)


def test_a_damaged_shard_is_found_although_the_manifest_has_a_fault(two_nights):
    resealed(two_nights, without("title"))
    flip(two_nights / "train-000001.tar", 2000)
    columns, shard = find_faults(two_nights)
    assert "does not have the columns" in columns
    assert "train-000001.tar is damaged" in shard


def test_the_command_prints_one_line_a_fault_and_ends_with_2(two_nights, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(two_nights)])
    assert ended.value.code == 0
    assert "is intact" in capfd.readouterr().out
    flip(two_nights / "README.md", 9)
    flip(two_nights / "sky/partition_info.csv", 9)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(two_nights)])
    assert ended.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("hubbleclip: ") for line in lines)


def test_a_folder_without_a_dataset_is_one_line_that_names_one_in_it(built):
    for place, hint in ((built / "sky", "see `hubbleclip datasets`"), (built.parent, f"the 1 in it, such as {built}")):
        (fault,) = find_faults(place)
        assert "is not a dataset" in fault and fault.endswith(hint)
