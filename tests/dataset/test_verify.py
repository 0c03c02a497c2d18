import hashlib
import json
import tarfile
from dataclasses import replace

import pyarrow as pa
import pytest
from synthetic_samples import build, make_samples_with_pngs

from hubbleclip.cli.app import main
from hubbleclip.dataset import manifest as directory
from hubbleclip.dataset.shard_writer import write_tar
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


def test_a_flipped_bit_in_the_end_of_a_shard_is_found(built):
    flip(built / "train-000001.tar", -1)
    (fault,) = find_faults(built)
    assert "train-000001.tar is damaged after the last sample" in fault


def test_a_flipped_bit_in_padding_is_found(built):
    with tarfile.open(built / "train-000001.tar") as tar:
        member = tar.next()
    flip(built / "train-000001.tar", member.offset_data + member.size)
    assert member.name.partition(".")[0] in next(find_faults(built))


@pytest.mark.parametrize("lost", ["README.md", "manifest.parquet", "train-000001.tar", "../{home}/train-000000.tar"])
def test_a_lost_file_is_named(built, lost):
    home = json.loads((built / "dataset.json").read_text())["parent_digest"]
    path = built / lost.format(home=home)
    path.unlink()
    faults = list(find_faults(built))
    assert faults
    assert all(path.name in fault for fault in faults)


def resealed(folder, **changes):
    """The description with other facts and hashes of the files as they are now, as a forger would leave it."""
    facts = json.loads((folder / "dataset.json").read_text())
    del facts["self_sha256"]
    facts["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in facts["files"]}
    for shard in facts["shards"]:
        data = (folder.parent / (shard["home_digest"] or folder.name) / shard["shard"]).read_bytes()
        shard |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (folder / "dataset.json").write_bytes(directory.description_bytes(facts | changes))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"counts": {}}, "counts"),
        ({"digest": "0" * 32}, "digest"),
        ({"inputs_digest": "0" * 32}, "digest"),
    ],
)
def test_a_description_that_its_files_contradict_is_found(built, change, field):
    resealed(built, **change)
    assert any(f"the {field} is" in fault for fault in find_faults(built))


def test_a_test_list_that_is_not_the_test_split_is_found(built):
    (built / "test_tiles.txt").write_text("f" * 32 + "\n")
    resealed(built)
    assert any("the test list is" in fault for fault in find_faults(built))


def test_a_manifest_row_that_its_sample_contradicts_names_the_sample(built):
    manifest = directory.read_manifest(built)
    titles = manifest["title"].to_pylist()
    titles[3] = "Another title"
    changed = manifest.set_column(
        manifest.schema.get_field_index("title"), manifest.schema.field("title"), pa.array(titles)
    )
    directory.write_table(built / "manifest.parquet", changed)
    resealed(built)
    assert any(f"{manifest['tile_id'][3]}" in fault and "json" in fault for fault in find_faults(built))


def test_a_manifest_with_other_columns_is_found(built):
    directory.write_table(built / "manifest.parquet", directory.read_manifest(built).drop_columns("title"))
    resealed(built)
    assert any("does not have the columns" in fault for fault in find_faults(built))


def test_a_shard_of_other_samples_is_found(built):
    samples, pngs = make_samples_with_pngs()
    others = [replace(one, title="Forged") for one in samples[30:] if one.split == "train"]
    write_tar(built / "train-000001.tar", others, pngs.__getitem__)
    resealed(built)
    assert sum("train-000001.tar is damaged in sample" in fault for fault in find_faults(built)) >= len(others)


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


def test_a_wrong_number_of_samples_of_a_shard_is_found(built):
    shards = json.loads((built / "dataset.json").read_text())["shards"]
    shards[-1]["num_samples"] += 1
    resealed(built, shards=shards)
    faults = list(find_faults(built))
    assert any("the number of samples is 41, but 40" in fault for fault in faults)
    assert any(f"{shards[-1]['shard']} has" in fault for fault in faults)


def test_a_shard_that_is_listed_under_another_split_is_found(built):
    shards = json.loads((built / "dataset.json").read_text())["shards"]
    (own,) = (shard for shard in shards if shard["split"] == "val" and shard["home_digest"] is None)
    own["split"] = "train"
    resealed(built, shards=shards)
    assert any("the sample belongs to split val, but the shard to train" in fault for fault in find_faults(built))


def test_a_manifest_without_a_hash_is_found(built):
    facts = json.loads((built / "dataset.json").read_text())
    resealed(built, files={name: sha256 for name, sha256 in facts["files"].items() if name != "manifest.parquet"})
    assert any("has no hash of manifest.parquet" in fault for fault in find_faults(built))
