import hashlib
import json
import tarfile

import pyarrow as pa
import pytest
from synthetic_samples import build, make_samples_with_pngs

from hubbleclip.cli.app import main
from hubbleclip.dataset import manifest as directory
from hubbleclip.dataset.verify import find_faults


@pytest.fixture
def built(tmp_path):
    samples, pngs = make_samples_with_pngs()
    build(samples[:30], pngs, tmp_path)
    return tmp_path / build(samples, pngs, tmp_path).dataset.digest


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_a_sound_dataset_has_no_fault(built):
    assert list(find_faults(built)) == []


@pytest.mark.parametrize("share", [0, 0.9])
@pytest.mark.parametrize(
    "name", ["manifest.parquet", "dataset.json", "README.md", "croissant.json", "sky/hats.properties", "test_tiles.txt"]
)
def test_a_flipped_bit_beside_the_shards_is_found_and_its_file_named(built, name, share):
    flip(built / name, int(share * (built / name).stat().st_size))
    (fault,) = find_faults(built)
    assert name in fault


@pytest.mark.parametrize("suffix", ["json", "png", "txt"])
@pytest.mark.parametrize("part", ["header", "content"])
@pytest.mark.parametrize("whose", ["own", "parent's"])
def test_a_flipped_bit_in_a_shard_names_file_and_sample(built, suffix, part, whose):
    shard = "train-000001.tar" if whose == "own" else "train-000000.tar"
    address = directory.read_dataset(built).addresses[shard]
    with tarfile.open(address) as tar:
        member = [member for member in tar if member.name.endswith(suffix)][1]
    place = member.offset_data + member.size // 2 if part == "content" else member.offset + 100
    flip(directory.Path(address), place)
    faults = list(find_faults(built))
    assert faults
    assert all(address in fault and member.name.partition(".")[0] in fault for fault in faults)


def test_a_flipped_bit_between_or_behind_the_samples_of_a_shard_is_found(built):
    shard = built / "train-000001.tar"
    flip(shard, -1)
    (fault,) = find_faults(built)
    assert "train-000001.tar is damaged after the last sample" in fault
    with tarfile.open(shard) as tar:
        member = tar.next()
    flip(shard, member.offset_data + member.size)
    assert member.name.partition(".")[0] in next(find_faults(built))


@pytest.mark.parametrize("lost", ["README.md", "manifest.parquet", "train-000001.tar", "../{home}/train-000000.tar"])
def test_a_lost_file_is_named(built, lost):
    home = json.loads((built / "dataset.json").read_text())["parent_digest"]
    path = built / lost.format(home=home)
    path.unlink()
    faults = list(find_faults(built))
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
    (folder / "dataset.json").write_bytes(directory.description_bytes(facts))


def without_title(folder, _):
    directory.write_table(folder / "manifest.parquet", directory.read_manifest(folder).drop_columns("title"))


def other_title(folder, _):
    manifest = directory.read_manifest(folder)
    index, titles = manifest.schema.get_field_index("title"), ["Another", *manifest["title"].to_pylist()[1:]]
    directory.write_table(
        folder / "manifest.parquet", manifest.set_column(index, manifest.schema.field(index), pa.array(titles))
    )


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
        (lambda folder, _: (folder / "test_tiles.txt").write_text(""), ["the test list is"]),
        (without_title, ["does not have the columns"]),
        (other_title, [".json differs from the manifest's row"]),
        (in_own_shard("test", num_samples=1), ["the number of samples is 39, but 40", "has 1 samples"]),
        (in_own_shard("val", split="train"), ["the sample belongs to split val, but the shard to train"]),
    ],
)
def test_a_forged_dataset_whose_parts_contradict_each_other_is_found(built, forge, faults):
    resealed(built, forge)
    found = list(find_faults(built))
    assert all(any(fault in line for line in found) for fault in faults)


def test_a_damaged_shard_is_found_although_the_manifest_has_a_fault(built):
    resealed(built, without_title)
    flip(built / "train-000001.tar", 2000)
    columns, shard = find_faults(built)
    assert "does not have the columns" in columns
    assert "train-000001.tar is damaged" in shard


def test_the_command_prints_one_line_a_fault_and_ends_with_2(built, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(built)])
    assert ended.value.code == 0
    assert "is intact" in capfd.readouterr().out
    flip(built / "README.md", 9)
    flip(built / "sky/partition_info.csv", 9)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(built)])
    assert ended.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("hubbleclip: ") for line in lines)


def test_a_folder_without_a_dataset_is_one_line(tmp_path):
    (fault,) = find_faults(tmp_path)
    assert "not a dataset" in fault
