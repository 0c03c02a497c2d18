"""Metrics of whole rankings against slow, obvious implementations and CLIP_benchmark."""

import itertools
import math

import numpy as np
import pytest
import torch
from clip_benchmark.metrics.zeroshot_classification import average_precision_per_class
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.evaluation.metrics.ranking import NUM_TOP, chance_precision_and_ndcg, diversity, ranking_metrics


def mean_over_orders(scores, figure) -> float:
    """Mean of `figure(order)` over every order of the items that ranks higher scores first."""
    orders = [
        o
        for o in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))
    ]
    return float(np.mean([figure(order) for order in orders]))


def precision_of(order, positive) -> float:
    hits = [rank for rank, item in enumerate(order, 1) if positive[item]]
    return float(np.mean([number / rank for number, rank in enumerate(hits, 1)]))


def gain_of(order, positive, num_top) -> float:
    gains = [positive[item] / math.log2(rank + 1) for rank, item in enumerate(order, 1) if rank <= num_top]
    best = [1 / math.log2(rank + 1) for rank in range(1, min(sum(positive), num_top) + 1)]
    return sum(gains) / sum(best)


items = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 2)), min_size=2, max_size=6).filter(
    lambda rows: any(positive for _, positive, _ in rows)
)


@given(items, st.integers(1, 6))
def test_metrics_are_means_over_all_orders_of_ties(rows, num_top) -> None:
    scores, positive, group = (list(column) for column in zip(*rows, strict=True))
    scores_qi, positive_qi = np.array([scores], dtype=float), np.array([positive])
    top = min(num_top, len(rows))
    (precision,), (ndcg,) = ranking_metrics(scores_qi, positive_qi)
    assert precision == pytest.approx(mean_over_orders(scores, lambda order: precision_of(order, positive)))
    assert ndcg == pytest.approx(mean_over_orders(scores, lambda order: gain_of(order, positive, NUM_TOP)))
    assert diversity(scores_qi, np.array(group), num_top)[0] == pytest.approx(
        mean_over_orders(scores, lambda order: len({group[item] for item in order[:top]}) / top)
    )


def random_case(num_queries: int = 40, num_items: int = 70):
    rng = np.random.default_rng(5)
    positive_qi = rng.random((num_queries, num_items)) < 0.06
    positive_qi[:, 3] = True
    return rng.normal(size=(num_queries, num_items)), positive_qi


def test_average_precision_equals_clip_benchmark() -> None:
    scores_qi, positive_qi = random_case()
    theirs = average_precision_per_class(torch.from_numpy(scores_qi.T), torch.from_numpy(positive_qi.T))
    np.testing.assert_allclose(ranking_metrics(scores_qi, positive_qi)[0], theirs.numpy(), atol=1e-6)


def test_ndcg_counts_only_the_first_items() -> None:
    scores_qi, positive_qi = random_case()
    expected = [gain_of(np.argsort(-s_i), p_i, NUM_TOP) for s_i, p_i in zip(scores_qi, positive_qi, strict=True)]
    np.testing.assert_allclose(ranking_metrics(scores_qi, positive_qi)[1], expected)


@pytest.mark.parametrize("positives", [1, 4, 12])
def test_simulated_chance_equals_the_expectation_of_equal_scores(positives: int) -> None:
    positive_qi = np.arange(60)[None] < positives
    precision_b, gain_b = chance_precision_and_ndcg(positives, 60, seed=1)
    (precision,), (ndcg,) = ranking_metrics(np.zeros((1, 60)), positive_qi)
    assert precision_b.mean() == pytest.approx(precision, rel=0.05)
    assert gain_b.mean() == pytest.approx(ndcg, rel=0.08)


def test_no_query_gives_no_values():
    precision_q, ndcg_q = ranking_metrics(np.empty((0, 5)), np.empty((0, 5), dtype=bool))
    assert precision_q.shape == ndcg_q.shape == (0,)
