"""Every metric of the protocol `fair` against its definition, where groups have several captions and unequal sizes."""

from itertools import chain

import numpy as np
import pytest
from evaluation_samples import drawn

from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Estimate, Scores, chance_estimates, fair_estimates

GROUP_C = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10, 11])
CAPTION_T = np.repeat(np.arange(len(GROUP_C)), [3, 1, 2, 4, 1, 1, 5, 2, 3, 1, 2, 6, 1, 2, 4, 5, 4])
GROUP_T = GROUP_C[CAPTION_T]
NUM_TILES, NUM_CAPTIONS = len(CAPTION_T), len(GROUP_C)
WEIGHTS_BG = draw_weights(12, 100, 3)


def scores_without_ties() -> Scores:
    """Scores of both directions, which differ as those of text search do."""
    rng = np.random.default_rng(4)
    own_tc = CAPTION_T[:, None] == np.arange(NUM_CAPTIONS)
    i2t_tc, t2i_ct = (rng.normal(size=shape) for shape in (own_tc.shape, own_tc.T.shape))
    return Scores(scorer="m", i2t_tc=i2t_tc + 0.7 * own_tc, t2i_ct=t2i_ct + 0.7 * own_tc.T)


BY_PROPOSAL = "i2t_accuracy_at_10pct_by_proposal"
FIXED = [f"{way}_{name}" for way in ("i2t", "t2i") for name in ("map", "ndcg_at_10", "recall_at_1")]
FIXED += ["t2i_found_at_10pct", "t2i_diversity_at_10"]
"""Metrics whose candidates are held fixed."""


def of_ranks(direction: str, ranks_of_queries: list[list[int]], num_items: int) -> dict[str, list[float]]:
    """Values of each query by the ranks of its right answers, from 1; the median rank is the list of best ranks."""
    best = [min(ranks) for ranks in ranks_of_queries]
    values = {
        f"{direction}_accuracy_at_{percent}pct": [rank <= max(1, num_items * percent // 100) for rank in best]
        for percent in (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    }
    values |= {f"{direction}_recall_at_{count}": [rank <= count for rank in best] for count in (1, 5, 10)}
    values[f"{direction}_map"] = [
        np.mean([number / rank for number, rank in enumerate(sorted(ranks), 1)]) for ranks in ranks_of_queries
    ]
    values[f"{direction}_ndcg_at_10"] = [
        sum(1 / np.log2(rank + 1) for rank in ranks if rank <= 10)
        / sum(1 / np.log2(place + 1) for place in range(1, min(10, len(ranks)) + 1))
        for ranks in ranks_of_queries
    ]
    values[f"{direction}_normalised_rank"] = [rank / num_items for rank in best]
    values[f"{direction}_median_rank"] = best
    return values


def expected_values(scores: Scores) -> dict[str, list[float]]:
    orders_t = [list(np.argsort(-row)) for row in scores.i2t_tc]
    orders_c = [list(np.argsort(-row)) for row in scores.t2i_ct]
    own_tiles = [np.flatnonzero(caption == CAPTION_T) for caption in range(NUM_CAPTIONS)]
    captions = [[order.index(own) + 1] for order, own in zip(orders_t, CAPTION_T, strict=True)]
    tiles = [[order.index(own) + 1 for own in of_one] for order, of_one in zip(orders_c, own_tiles, strict=True)]
    top = NUM_TILES // 10
    return {
        **of_ranks("i2t", captions, NUM_CAPTIONS),
        **of_ranks("t2i", tiles, NUM_TILES),
        "t2i_found_at_10pct": [np.mean([rank <= top for rank in ranks]) for ranks in tiles],
        "t2i_diversity_at_10": [len(set(GROUP_T[order[:10]])) / 10 for order in orders_c],
        BY_PROPOSAL: [np.mean([captions[tile][0] <= max(1, NUM_CAPTIONS // 10) for tile in own]) for own in own_tiles],
    }


@pytest.fixture(scope="module")
def found() -> dict[str, Estimate]:
    test_set, weights_bg = drawn(CAPTION_T, GROUP_C, WEIGHTS_BG)
    return {one.name: one for one in fair_estimates(scores_without_ties(), test_set, weights_bg)}


def test_each_metric_has_the_value_of_its_definition(found: dict[str, Estimate]) -> None:
    expected = {
        name: np.median(values) if "median" in name else np.mean(values)
        for name, values in expected_values(scores_without_ties()).items()
    }
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    assert 0.2 < expected["i2t_accuracy_at_10pct"] < 0.8
    assert 0.1 < expected["t2i_found_at_10pct"] < expected["t2i_accuracy_at_10pct"] < 1


def test_metrics_with_fixed_candidates_are_means_over_the_queries_of_the_drawn_groups(
    found: dict[str, Estimate],
) -> None:
    values = expected_values(scores_without_ties())
    for name in (*FIXED, BY_PROPOSAL):
        group_q = GROUP_T if name.startswith("i2t") and name != BY_PROPOSAL else GROUP_C
        for number in (0, 41, 99):
            copies = [[value] * WEIGHTS_BG[number, group] for value, group in zip(values[name], group_q, strict=True)]
            assert found[name].draws_b[number] == pytest.approx(np.mean(list(chain(*copies)))), name


def test_groups_count_by_their_tiles_from_image_to_text_and_by_their_captions_from_text_to_image(
    found: dict[str, Estimate],
) -> None:
    for name, one in found.items():
        sizes = np.bincount(GROUP_T if name.startswith("i2t") and name != BY_PROPOSAL else GROUP_C)
        assert (one.num_groups, one.sizes_g.tolist()) == (12, sizes.tolist()), name
        assert (one.protocol, one.scorer) == ("fair", "m")


def test_the_correlation_of_hits_is_that_of_their_variance_within_groups(found: dict[str, Estimate]) -> None:
    values = expected_values(scores_without_ties())
    known = {name: one.correlation for name, one in found.items() if one.correlation is not None}
    assert known.keys() == {name for name, of_queries in values.items() if {*of_queries} <= {0, 1}}
    assert len(known) > 20
    for name, correlation in known.items():
        group_q = GROUP_T if name.startswith("i2t") and name != BY_PROPOSAL else GROUP_C
        parts = [np.array(values[name], float)[group_q == group] for group in range(12)]
        within = sum(((part - part.mean()) ** 2).sum() for part in parts) / (len(group_q) - 12)
        variance = np.var(values[name], ddof=1)
        assert correlation == pytest.approx(np.clip(1 - within / variance, 0, 1) if variance else 0), name


def test_the_ranks_of_chance_are_those_of_the_smallest_of_numbers_drawn_at_random() -> None:
    test_set, weights_bg = drawn(CAPTION_T, GROUP_C, draw_weights(12, 1000, 0))
    chance = {one.name: one for one in chance_estimates(test_set, weights_bg, 0)}
    num_own = np.bincount(CAPTION_T)
    assert chance["i2t_normalised_rank"].value == pytest.approx((NUM_CAPTIONS + 1) / 2 / NUM_CAPTIONS)
    assert chance["t2i_normalised_rank"].value == pytest.approx(np.mean((NUM_TILES + 1) / (num_own + 1)) / NUM_TILES)
    assert chance["i2t_median_rank"].value == pytest.approx((NUM_CAPTIONS + 1) / 2, rel=0.05)
    rng = np.random.default_rng(1)
    medians = [np.median([rng.choice(NUM_TILES, own, replace=False).min() + 1 for own in num_own]) for _ in range(400)]
    assert chance["t2i_median_rank"].value == pytest.approx(np.mean(medians), rel=0.05)
