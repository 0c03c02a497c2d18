"""Descriptions and manifests from elsewhere: no name in them reaches the disk unchecked, and every damage is found."""

import json
import os

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
from hubbleclip.dataset.manifest import read_manifest
from hubbleclip.dataset.verify import find_faults


@pytest.fixture
def built(tmp_path):
    return built_in(tmp_path, *make_samples_with_pngs())


@pytest.mark.parametrize("version", ["1.0.7", "{}.{}", "{}.{}.99"])
def test_a_dataset_of_an_older_version_or_another_patch_opens(built, version):
    facts = json.loads((built / "dataset.json").read_text())
    facts |= {"contract_version": version.format(*contract_version("shards").split("."))}
    (built / "dataset.json").write_text(json.dumps(facts))
    assert read_dataset(built).digest == built.name


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
        pa.table({"captions": texts, "tile_id": [os.urandom(16).hex() for _ in range(num)]}),
        tmp_path / "manifest.parquet",
    )
    with pytest.raises(DatasetError, match="texts unpack to more than"):
        read_manifest(tmp_path)


def test_the_command_prints_one_line_a_fault_and_ends_with_2(built, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(built)])
    assert ended.value.code == 0
    assert "is intact" in capfd.readouterr().out
    for name in ("README.md", "sky/partition_info.csv"):
        (built / name).write_text("other")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(built)])
    assert ended.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("hubbleclip: ") for line in lines)


def test_a_folder_without_a_dataset_is_one_line_that_names_one_in_it(built):
    for place, hint in ((built / "sky", "see `hubbleclip datasets`"), (built.parent, f"in it, such as {built}")):
        (fault,) = find_faults(place)
        assert "is not a dataset" in fault and fault.endswith(hint)
