"""The protocols of the reference against naive transcriptions of its code and of its equation."""

import numpy as np
import pytest
from evaluation_samples import one_caption_per_group

from hubbleclip.evaluation.metrics import protocols
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Scores
from hubbleclip.evaluation.metrics.retrieval import PERCENTS

NUM_TILES = 200


def naive_equation(images, captions, k):
    """1/|V| sum_i 1[rank(x_i . y_i; {x_i . y_j}) <= floor(k/100 |V|)], equal ones in random order."""
    rng, hits = np.random.default_rng(0), 0.0
    for i, image in enumerate(images):
        scores = captions @ image
        tied, above = np.isclose(scores, scores[i], atol=1e-12), scores > scores[i] + 1e-12
        ranks = above.sum() + 1 + rng.permutation(tied.sum())
        hits += np.mean(ranks <= k * len(images) // 100)
    return hits / len(images)


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def random_case(num_groups: int):
    rng = np.random.default_rng(3)
    captions = unit(rng.normal(size=(num_groups, 8)))
    group_t = np.sort(
        rng.permutation(np.r_[np.arange(num_groups), rng.integers(0, num_groups, NUM_TILES - num_groups)])
    )
    images = unit(captions[group_t] + rng.normal(size=(NUM_TILES, 8)))
    scores_tg = images @ captions.T
    return images, captions, group_t, Scores(scorer="m", i2t_tc=scores_tg, t2i_ct=scores_tg.T)


def test_the_top_1_percent_of_fewer_than_100_captions_is_empty() -> None:
    perfect = Scores(scorer="m", i2t_tc=np.eye(40), t2i_ct=np.eye(40))
    found = protocols.equation_estimates(perfect, *one_caption_per_group(np.arange(40), draw_weights(40, 100, 0)))
    assert [one.value for one in found[:4]] == [0, 0, 1, 1]  # 1, 2, 5 and 10 %


@pytest.mark.parametrize("num_groups", [NUM_TILES, 40])
def test_paperclip_equals_the_equation_of_the_reference(num_groups: int) -> None:
    images, captions, group_t, scores = random_case(num_groups)
    found = protocols.equation_estimates(scores, *one_caption_per_group(group_t, draw_weights(num_groups, 100, 0)))
    assert [one.name for one in found] == [f"i2t_accuracy_at_{k}pct" for k in PERCENTS]
    for k, one in zip(PERCENTS, found, strict=True):
        assert one.value == pytest.approx(naive_equation(images, captions[group_t], k), abs=1e-6)
