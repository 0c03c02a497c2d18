"""Descriptions and manifests from elsewhere: no name in them reaches the disk unchecked."""

import json

import pyarrow as pa
import pytest
from synthetic_samples import make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import build_dataset, read_dataset
from hubbleclip.dataset.manifest import description_bytes, read_catalog_rows, read_manifest, write_table
from hubbleclip.dataset.verify import find_faults


@pytest.fixture
def built(tmp_path):
    samples, pngs = make_samples_with_pngs()
    dataset = build_dataset(
        samples, pngs.__getitem__, tmp_path, ShardSettings(), contract_version="1", code_version="test"
    )
    return tmp_path / dataset.dataset.digest


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "../../train-000000.tar"},
        {"shard": "/etc/passwd"},
        {"shard": None},
        {"home_digest": ".."},
        {"home_digest": "../../" + "0" * 26},
        {"home_digest": 7},
    ],
)
def test_a_description_that_points_elsewhere_is_refused(built, change):
    path = built / "dataset.json"
    description = json.loads(path.read_text())
    description["shards"][0] |= change
    path.write_text(json.dumps(description))
    with pytest.raises(DatasetError, match="does not describe a dataset"):
        read_dataset(built)


@pytest.mark.parametrize("name", ["digest", "inputs_digest", "contract_version", "counts", "shards"])
def test_a_description_that_lacks_a_fact_is_refused_in_one_line(built, name):
    path = built / "dataset.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in description.items() if key != name}))
    with pytest.raises(DatasetError, match=f"does not describe a dataset .its {name} is None.*again$"):
        read_dataset(built)


@pytest.mark.parametrize("name", ["split", "sha256", "size_bytes", "num_samples"])
def test_a_description_whose_shard_lacks_a_fact_is_refused_in_one_line(built, name):
    path = built / "dataset.json"
    description = json.loads(path.read_text())
    del description["shards"][1][name]
    path.write_text(json.dumps(description))
    with pytest.raises(DatasetError, match=f"does not describe a dataset .its {name} is None.*again$"):
        read_dataset(built)


@pytest.mark.parametrize("name", ["tile_id", "split", "group_id", "captions", "shard", "offset", "length"])
def test_a_manifest_without_a_column_that_readers_need_is_refused(built, name):
    write_table(built / "manifest.parquet", read_manifest(built).drop_columns(name))
    with pytest.raises(DatasetError, match=rf"manifest\.parquet lacks the columns {name}: "):
        read_dataset(built)


def test_a_manifest_that_points_elsewhere_is_refused(built):
    manifest = read_manifest(built)
    index = manifest.schema.get_field_index("shard")
    names = pa.array(["../../other.tar", *manifest["shard"].to_pylist()[1:]])
    write_table(built / "manifest.parquet", manifest.set_column(index, manifest.schema.field(index), names))
    with pytest.raises(DatasetError, match="unknown shard"):
        read_dataset(built)


def test_a_shard_of_another_size_is_named(built):
    shard = built / "val-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DatasetError, match=r"val-000000\.tar has .* bytes instead of"):
        read_dataset(built)


@pytest.mark.parametrize("files", [None, [], 5, {"manifest.parquet": None}, {"manifest.parquet": {}}])
def test_a_description_with_odd_files_is_one_line(built, files):
    path = built / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": files}))
    with pytest.raises(DatasetError, match="does not describe a dataset .its files are .*again$"):
        read_dataset(built)


def test_a_description_without_files_is_read_and_is_a_fault(built):
    path = built / "dataset.json"
    description = json.loads(path.read_text())
    del description["files"], description["self_sha256"]
    path.write_bytes(description_bytes(description))
    assert read_dataset(built).description["files"] == {}
    assert read_catalog_rows(built).dataset.test_list_sha256 is None
    assert next(find_faults(built)).endswith("has no hash of manifest.parquet")


def test_a_description_of_great_depth_is_one_line(built):
    (built / "dataset.json").write_text("[" * 200_000)
    with pytest.raises(DatasetError, match=r"dataset\.json cannot be read"):
        read_dataset(built)


def with_column(built, name, values):
    manifest = read_manifest(built)
    index = manifest.column_names.index(name)
    write_table(built / "manifest.parquet", manifest.set_column(index, name, pa.array(values)))


@pytest.mark.parametrize("column", ["offset", "length"])
@pytest.mark.parametrize("value", [-1, 2**40, 2**63 - 1, -(2**63)])
def test_an_image_outside_of_its_shard_is_one_line(built, column, value):
    values = read_manifest(built)[column].to_pylist()
    with_column(built, column, [*values[:-1], value])
    with pytest.raises(DatasetError, match="places an image outside of its shard.*again$"):
        read_dataset(built)


@pytest.mark.parametrize("value", [None, [], [None], "a text", [5]])
def test_captions_that_are_no_texts_are_one_line(built, value):
    captions = read_manifest(built)["captions"].to_pylist()
    with_column(built, "captions", [value] * len(captions) if value in ("a text", [5]) else [*captions[:-1], value])
    with pytest.raises(DatasetError, match="has nulls or another type in captions.*again$"):
        read_dataset(built)


@pytest.mark.parametrize("column", ["tile_id", "split", "group_id", "offset"])
def test_a_null_in_a_required_column_is_one_line(built, column):
    values = read_manifest(built)[column].to_pylist()
    with_column(built, column, [*values[:-1], None])
    with pytest.raises(DatasetError, match=f"has nulls or another type in {column}.*again$"):
        read_dataset(built)
