"""Tiles embedded part by part in other processes: the same features, bit by bit."""

import pickle

import made_dataset
import numpy as np
import pytest

from hubbleclip.dataset.build import read_dataset
from hubbleclip.evaluation import embed_parallel as parts
from hubbleclip.evaluation.embed_parallel import ModelSource, embed_splits

BATCH_SIZE = 3


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    dataset_dir = made_dataset.build(root / "datasets", num_groups=14, tiles_per_group=2, num_test_groups=8)
    run_dir = made_dataset.train_briefly(dataset_dir, root / "runs", steps=2)
    return read_dataset(dataset_dir), run_dir


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_that_cross_to_other_processes_give_the_features_of_whole_splits(made, precision):
    info, run_dir = made
    best, start = (ModelSource(run_dir=run_dir, start_seed=seed, precision=precision) for seed in (None, 3))
    wanted = [(best, "test"), (best, "train"), (start, "test"), (best, "test")]
    models, asked = {one: one.load() for one in (best, start)}, []

    def elsewhere(work, items):
        asked.extend(items)
        return [sent(sent(work)(sent(item))) for item in items]

    whole = embed_splits(models, wanted, info, BATCH_SIZE)
    apart = embed_splits(models, wanted, info, BATCH_SIZE, elsewhere)
    assert list(apart) == list(whole) == wanted[:3]
    for key, (tile_ids, features) in whole.items():
        assert apart[key][0] == tile_ids
        np.testing.assert_array_equal(apart[key][1], features)
    assert not np.array_equal(whole[best, "test"][1], whole[start, "test"][1])
    assert [(part.start, part.stop) for part in asked if (part.model, part.split) == wanted[0]] == [(0, 12), (12, 16)]


def test_a_process_loads_a_model_once_however_many_parts_it_gets(made):
    info, run_dir = made
    model = ModelSource(run_dir=run_dir, precision="fp32")
    before = parts._loaded.cache_info()
    embed_splits({}, [(model, split) for split in ("train", "val", "test")], info, 1, lambda *told: [*map(*told)])
    after = parts._loaded.cache_info()
    assert after.misses - before.misses <= 1
    assert after.hits - before.hits > 5
