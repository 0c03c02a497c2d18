"""Which texts are embedded; at less precision and in other processes the features are the same."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import small_dataset
import torch
from evaluation_samples import sample
from small_dataset import MODEL, SMALL_MODEL

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.build import read_dataset
from hubbleclip.evaluation import embed
from hubbleclip.evaluation.embed import ModelSource, embed_split, embed_test_set, embed_vocabulary
from hubbleclip.evaluation.metrics.zeroshot import TASKS, Labels
from hubbleclip.evaluation.test_set import make_test_set
from hubbleclip.training.embeddings import DTYPES, embed_texts, prepare_for_embedding, resolve_precision
from hubbleclip.training.models.builder import load_model

TEXTS = ["a spiral galaxy", "We propose to observe a comet. Its tail tells of its age."]


@pytest.mark.parametrize("model", [MODEL, SMALL_MODEL], ids=lambda m: m.name)
def test_rounded_weights_give_nearly_the_same_features(model) -> None:
    full, rounded = (prepare_for_embedding(load_model(model, 1), precision) for precision in ("fp32", "bf16"))
    size = full.image_size
    tiles = torch.randint(0, 256, (4, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    pairs = [
        (full.encode_images(tiles).numpy(), rounded.encode_images(tiles).numpy()),
        (embed_texts(full, TEXTS, 8), embed_texts(rounded, TEXTS, 8)),
    ]
    for exact, near in pairs:
        assert np.min(np.sum(exact * near, axis=1)) > 0.999
        np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, atol=1e-6)
        assert not np.array_equal(exact, near)


@pytest.mark.parametrize(("has", "expected"), [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("avx2", "fp32")])
def test_automatic_precision_is_one_that_the_processor_multiplies_in(has, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True, "amx_int8": True})
    assert [resolve_precision(one) for one in ("auto", "fp32", "bf16")] == [expected, "fp32", "bf16"]
    assert prepare_for_embedding(load_model(SMALL_MODEL, 1), "auto").dtype == DTYPES[expected]


BATCH_SIZE = 3


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranges")
    dataset_dir = small_dataset.build(root / "datasets", num_groups=14, tiles_per_group=2, num_test_groups=8)
    run_dir = small_dataset.train_small_run(dataset_dir, root / "runs", steps=2, model=SMALL_MODEL)
    return read_dataset(dataset_dir), run_dir


def test_parts_that_cross_to_other_processes_give_the_features_of_a_whole_split(trained):
    info, run_dir = trained
    best, start = (ModelSource(run_dir=run_dir, is_base=is_base, precision="fp32") for is_base in (False, True))
    models, ranges = {one: one.load() for one in (best, start)}, []

    def fake_map(work, items):
        torch.set_num_threads(num_threads + 1)  # as in a process that begins
        ranges.extend(items)
        return [pickled(pickled(work)(pickled(item))) for item in items]

    serial = embed_split(models, "test", info, BATCH_SIZE)
    num_threads, num_loaded = torch.get_num_threads(), embed._load_model.cache_info().misses
    parallel = embed_split(models, "test", info, BATCH_SIZE, fake_map)
    assert embed._load_model.cache_info().misses - num_loaded == 2  # once for all ranges of a model
    assert torch.get_num_threads() == num_threads
    assert replace(best, precision="bf16").load().dtype == torch.bfloat16
    assert list(parallel) == list(serial) == [best, start]
    for key, (tile_ids, features) in serial.items():
        assert parallel[key][0] == tile_ids
        np.testing.assert_array_equal(parallel[key][1], features)
    assert not np.array_equal(serial[best][1], serial[start][1])
    assert [(one.start, one.stop) for one in ranges if one.model == best] == [(0, 12), (12, 16)]


def test_texts_and_labels_are_embedded_with_their_own_prompts() -> None:
    """The feature of a phrase is the normalised mean of the features of its prompts in this task."""
    loaded = load_model(SMALL_MODEL, 1)
    test_set = make_test_set([sample(i, i, captions=[f"Aim {i} is long. " * 9 + "Dust."]) for i in range(3)])
    labels = {
        task: Labels(phrases=phrases, prompts=prompts, is_positive_kt=np.ones((2, 3), dtype=bool))
        for task, phrases, prompts in (
            ("kind", ("comet", "galaxy"), ("{}", "a Hubble image of a {}", "observations of the {}")),
            ("category", ("stars", "cosmology"), ("{}", "a Hubble image about {}")),
        )
    }
    tile_ids, tiles_td = [one.tile_id for one in test_set.samples], np.eye(3)
    features = embed_test_set(loaded, (tile_ids, tiles_td), test_set, labels, 2)
    for task, of_task in labels.items():
        for feature_d, phrase in zip(features.labels_kd[task], of_task.phrases, strict=True):
            prompts = loaded.encode_texts([prompt.format(phrase) for prompt in of_task.prompts]).double().numpy()
            np.testing.assert_allclose(feature_d, unit(prompts.mean(axis=0)), atol=1e-6)
    assert features.tiles_td is tiles_td
    with pytest.raises(EvaluationError, match="not sorted by tile id"):
        embed_test_set(loaded, (tile_ids[::-1], tiles_td), test_set, labels, 2)
    for feature_d, caption in zip(features.captions_cd, test_set.captions_c, strict=True):
        np.testing.assert_allclose(feature_d, embed_texts(loaded, [caption], 8)[0], atol=1e-6)
    (aim_d,) = embed_vocabulary(loaded, {"science_hypotheses": ("map dust",)}, 2)["science_hypotheses"]
    aims_pd = loaded.encode_texts(["map dust", "we propose to map dust"]).double().numpy()
    np.testing.assert_allclose(aim_d, unit(aims_pd.mean(axis=0)), atol=1e-6)
    assert {task: prompts for task, (_, prompts) in TASKS.items()} == {
        task: one.prompts for task, one in labels.items()
    }
