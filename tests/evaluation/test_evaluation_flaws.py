"""The reference's flaws in evaluation, each by name, and that ours does not have it."""

import numpy as np
import pytest
import torch
from evaluation_samples import one_caption_per_group
from small_dataset import MODEL, build

from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.loader import iterate_eval_images
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation.embed import embed_tiles
from hubbleclip.evaluation.metrics import protocols
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Scores
from hubbleclip.evaluation.metrics.retrieval import cosine_scores
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models.builder import load_model


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return read_dataset(build(tmp_path_factory.mktemp("flaws"), num_groups=16, tiles_per_group=2, num_test_groups=9))


@pytest.fixture(scope="module")
def loaded():
    return load_model(MODEL, 1)


def test_unnormalised_scores(info, loaded) -> None:
    """A caption does not win by its length: every feature has length 1, however the model scales it."""
    with torch.no_grad():
        loaded.model.visual.head.proj.weight.mul_(50)
    _, tiles_td = embed_tiles(loaded, info, "test", 7)
    texts_gd = embed_texts(loaded, ["a comet", "a galaxy. " * 90], 8)
    for feat_nd in (tiles_td, texts_gd):
        np.testing.assert_allclose(np.linalg.norm(feat_nd, axis=1), 1, atol=1e-6)
    assert np.abs(cosine_scores(tiles_td, texts_gd)).max() <= 1 + 1e-6


def test_dropped_last_batches(info, loaded) -> None:
    """18 tiles in batches of 7 are 18 features."""
    tile_ids, tiles_td = embed_tiles(loaded, info, "test", 7)
    assert len(tile_ids) == len(tiles_td) == info.description["counts"]["test"]["samples"] == 18


def test_augmentation_at_evaluation(info, loaded) -> None:
    """A tile's feature is that of the whole tile, unturned, whatever the state of the random numbers."""
    tile_ids, tiles_td = embed_tiles(loaded, info, "test", 7)
    torch.manual_seed(99)
    np.random.seed(99)
    np.testing.assert_array_equal(embed_tiles(loaded, info, "test", 7)[1], tiles_td)
    (whole,) = iterate_eval_images(open_split(info, "test"), loaded.image_size, len(tile_ids))
    np.testing.assert_allclose(loaded.encode_images(whole).numpy(), tiles_td, atol=2e-6)


def test_single_positive_for_equal_captions() -> None:
    """A model that knows every caption gets full marks although tiles share captions; the diagonal alone gives less."""
    group_t = np.repeat(np.arange(10), 4)
    perfect_tg = (group_t[:, None] == np.arange(10)).astype(float)
    scores, weights_bg = Scores(scorer="m", i2t_tc=perfect_tg, t2i_ct=perfect_tg.T), draw_weights(10, 100, 0)
    fair = {
        one.name: one.value for one in protocols.fair_estimates(scores, *one_caption_per_group(group_t, weights_bg))
    }
    assert fair["i2t_recall_at_1"] == fair["t2i_recall_at_1"] == fair["t2i_map"] == 1
    single = {
        one.name: one.value
        for one in protocols.paperclip_estimates(scores, *one_caption_per_group(group_t, weights_bg))
    }
    assert single["t2i_accuracy_at_1pct"] == pytest.approx(0.25)
