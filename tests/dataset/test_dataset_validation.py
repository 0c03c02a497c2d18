"""Descriptions and manifests from elsewhere: no name in them reaches the disk unchecked."""

import json

import pyarrow as pa
import pytest
from synthetic_samples import make_samples_with_pngs

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import build_dataset, read_dataset
from hubbleclip.dataset.manifest import read_manifest, write_table


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
