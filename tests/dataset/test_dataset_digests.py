"""Digests of a dataset's inputs and content beside a plain computation of them."""

import hashlib
import json

import pytest
from synthetic_samples import make_samples_with_pngs, moved

from hubbleclip.config.settings import ShardSettings
from hubbleclip.contracts.schema import compatible_version
from hubbleclip.core.records import to_row
from hubbleclip.dataset.build import content_digest, inputs_digest

SETTINGS = ShardSettings()


def plain_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_digest_of_the_inputs_is_that_of_the_format_the_contract_the_settings_and_the_rows_by_tile():
    samples, _ = make_samples_with_pngs(12, 6)
    rows = [plain_json(to_row(one)) + b"\n" for one in sorted(samples, key=lambda one: one.tile_id)]
    head = plain_json(["webdataset-1", compatible_version("shards"), SETTINGS.digest()])
    expected = hashlib.sha256(b"".join([head, *rows])).hexdigest()[:32]
    assert inputs_digest(samples, SETTINGS) == inputs_digest(samples[::-1], SETTINGS) == expected


def test_samples_outside_the_splits_do_not_change_the_digest_of_the_inputs():
    samples, _ = make_samples_with_pngs(12, 6)
    assert inputs_digest([moved(samples[0], "excluded"), *samples[1:]], SETTINGS) == inputs_digest(
        samples[1:], SETTINGS
    )


@pytest.mark.parametrize("step", [1, -1])
def test_the_digest_of_the_content_is_that_of_the_inputs_and_of_name_hash_and_home_of_each_shard(step):
    shards = [
        {"shard": "val-000000.tar", "sha256": "b" * 64, "home_digest": "c" * 32, "size_bytes": 1},
        {"shard": "train-000000.tar", "sha256": "a" * 64, "home_digest": None, "size_bytes": 2},
    ]
    lines = ["d" * 32, f"train-000000.tar {'a' * 64} None", f"val-000000.tar {'b' * 64} {'c' * 32}"]
    assert content_digest("d" * 32, shards[::step]) == hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
