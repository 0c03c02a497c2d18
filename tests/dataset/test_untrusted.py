"""Descriptions and manifests from elsewhere: no name in them reaches the disk unchecked."""

import json

import pyarrow as pa
import pytest
from made_samples import make_samples_with_pngs

from hubbleclip.dataset.directory import read_manifest, write_table
from hubbleclip.dataset.shards import build_dataset, read_dataset
from hubbleclip.errors import DatasetError
from hubbleclip.settings import ShardSettings


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
    with pytest.raises(DatasetError, match=r"val-000000\.tar has .* bytes in place of"):
        read_dataset(built)
