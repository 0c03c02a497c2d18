"""Which scorers and protocols an evaluation estimates, from what features, and the rows that it leaves in the catalog."""

from dataclasses import astuple

import numpy as np
import pytest
from evaluation_samples import estimate, sample

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.vectors import unit
from hubbleclip.evaluation import estimates
from hubbleclip.evaluation.embed import ModelFeatures, embed_test_set
from hubbleclip.evaluation.metrics.baselines import bm25_scores, hybrid_scores
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.metrics.zeroshot import classification_estimates, make_labels, phrase_retrieval_estimates
from hubbleclip.evaluation.test_set import make_test_set

NAMES = ("fine_tuned", "base", "shuffled")
TEST_SET = make_test_set(
    [
        sample(
            tile,
            group,
            target_name=f"SPIRAL {tile}",
            category=("Galaxies", "Stars", None)[group % 3],
            proposal_id=f"simulated:{group}-{tile % 2}",
        )
        for tile, group in enumerate(np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4]).tolist())
    ]
)
LABELS = make_labels(TEST_SET.samples, TEST_SET.group_t)


def made_features(seed: int, scale: float) -> ModelFeatures:
    rng = np.random.default_rng(seed)
    captions_cd = unit(rng.normal(size=(len(TEST_SET.captions_c), 6)))
    tiles_td = unit(captions_cd[TEST_SET.caption_t] + rng.normal(size=(len(TEST_SET.samples), 6)))
    labels_kd = {task: unit(rng.normal(size=(len(one.phrases), 6))) for task, one in LABELS.items()}
    return ModelFeatures(tiles_td=tiles_td, captions_cd=captions_cd, labels_kd=labels_kd, logit_scale=scale)


FEATURES = {name: made_features(number, 3.0 + 7 * number) for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str], Estimate]:
    made = estimates.all_estimates(TEST_SET, FEATURES, LABELS, 100)
    return {(one.protocol, one.scorer, one.name): one for one in made}


def test_zero_shot_classification_uses_the_scale_of_each_model_and_search_the_caption_of_each_tile(found) -> None:
    weights_bg = draw_weights(TEST_SET.num_groups, 100)
    drawn = {"group_t": TEST_SET.group_t, "weights_bg": weights_bg}
    for task, labels in LABELS.items():
        by_scorer = {}
        for name, features in FEATURES.items():
            by_scorer[name] = np.round(features.labels_kd[task] @ features.tiles_td.T, 6)
            logits_tk = features.logit_scale * by_scorer[name].T
            for one in classification_estimates(task, name, logits_tk, labels, **drawn):
                same = found["zero_shot", name, one.name]
                assert [same.value, *same.interval()] == pytest.approx([one.value, *one.interval()], abs=1e-9)
        texts = [TEST_SET.captions_c[caption] for caption in TEST_SET.caption_t]
        by_scorer["bm25"] = bm25_scores(labels.phrases, texts)
        by_scorer["hybrid"] = hybrid_scores(
            by_scorer["bm25"], FEATURES["fine_tuned"].labels_kd[task], FEATURES["fine_tuned"].tiles_td
        )
        by_scorer["random"] = np.zeros((len(labels.phrases), len(texts)))
        for name, scores_kt in by_scorer.items():
            for one in phrase_retrieval_estimates(task, name, scores_kt, labels, **drawn):
                assert found["zero_shot", name, one.name].value == pytest.approx(one.value), (name, one.name)
    errors = {found["zero_shot", name, "kind_calibration_error"].value for name in NAMES}
    assert len(errors) == len(NAMES)


def test_chance_finds_related_images_as_often_as_all_in_random_order(found) -> None:
    group_t, num = TEST_SET.group_t, len(TEST_SET.samples)
    shares = [((group_t == group).sum() - 1) / (num - 1) for group in group_t if (group_t == group).sum() > 1]
    assert found["image_to_image", "random", "same_proposal_recall_at_1"].value == pytest.approx(np.mean(shares))


def test_a_row_of_the_catalog_is_of_the_test_split_and_has_six_decimals() -> None:
    names = {"scorer": "bm25", "name": "i2t_map"}
    one = estimate(1 / 3, **names, draws_b=np.array([0.2, 0.4, 0.5]), num_groups=40, sizes_g=np.full(40, 2))
    low, high = one.interval()
    names = ("run", "fair", "test", "bm25", "i2t_map")
    assert astuple(estimates.as_metric(one, "run")) == (*names, 0.333333, round(low, 6), round(high, 6))
    assert low < 1 / 3 < high


def test_features_of_tiles_in_another_order_are_refused() -> None:
    tile_ids = [one.tile_id for one in TEST_SET.samples]
    with pytest.raises(EvaluationError, match="not sorted by tile id"):
        embed_test_set(None, (tile_ids[::-1], FEATURES["base"].tiles_td), TEST_SET, {}, 8)
