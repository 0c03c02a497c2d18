"""Tiles embedded range by range in other processes: the same features, bit by bit."""

import pickle

import numpy as np
import pytest
import small_dataset

from hubbleclip.dataset.build import read_dataset
from hubbleclip.evaluation import embed
from hubbleclip.evaluation.embed import ModelSource, embed_splits

BATCH_SIZE = 3


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranges")
    dataset_dir = small_dataset.build(root / "datasets", num_groups=14, tiles_per_group=2, num_test_groups=8)
    run_dir = small_dataset.train_small_run(dataset_dir, root / "runs", steps=2)
    return read_dataset(dataset_dir), run_dir


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_that_cross_to_other_processes_give_the_features_of_whole_splits(trained, precision):
    info, run_dir = trained
    best, start = (ModelSource(run_dir=run_dir, base_model_seed=seed, precision=precision) for seed in (None, 3))
    requests = [(best, "test"), (best, "train"), (start, "test"), (best, "test")]
    models, ranges = {one: one.load() for one in (best, start)}, []

    def fake_map(work, items):
        ranges.extend(items)
        return [pickled(pickled(work)(pickled(item))) for item in items]

    serial = embed_splits(models, requests, info, BATCH_SIZE)
    parallel = embed_splits(models, requests, info, BATCH_SIZE, fake_map)
    assert list(parallel) == list(serial) == requests[:3]
    for key, (tile_ids, features) in serial.items():
        assert parallel[key][0] == tile_ids
        np.testing.assert_array_equal(parallel[key][1], features)
    assert not np.array_equal(serial[best, "test"][1], serial[start, "test"][1])
    assert [(one.start, one.stop) for one in ranges if (one.model, one.split) == requests[0]] == [(0, 12), (12, 16)]


def test_a_process_loads_a_model_once_for_any_number_of_ranges(trained):
    info, run_dir = trained
    model = ModelSource(run_dir=run_dir, precision="fp32")
    before = embed._loaded.cache_info()
    embed_splits({}, [(model, split) for split in ("train", "val", "test")], info, 1, lambda *args: [*map(*args)])
    after = embed._loaded.cache_info()
    assert after.misses - before.misses <= 1
    assert after.hits - before.hits > 5
