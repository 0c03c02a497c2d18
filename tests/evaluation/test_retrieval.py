import itertools
import math

import numpy as np
import pytest
import torch
from clip_benchmark.metrics.zeroshot_classification import average_precision_per_class
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbleclip.evaluation.metrics import bootstrap, retrieval
from hubbleclip.evaluation.metrics.ranking import NUM_TOP, chance_precision_and_ndcg, diversity, ranking_metrics


def orderings(scores_i):
    """Every order of the items that the scores allow, each as likely as the next."""
    levels = sorted(set(scores_i), reverse=True)
    tiers = [[i for i, score in enumerate(scores_i) if score == level] for level in levels]
    for choice in itertools.product(*(list(itertools.permutations(tier)) for tier in tiers)):
        yield [item for tier in choice for item in tier]


def slow_hit(scores_i, positive_i, num_top):
    hits = [any(positive_i[item] for item in order[:num_top]) for order in orderings(scores_i)]
    return sum(hits) / len(hits)


def slow_rank(scores_i, positive_i):
    ranks = [min(place for place, item in enumerate(order, 1) if positive_i[item]) for order in orderings(scores_i)]
    return sum(ranks) / len(ranks)


def slow_share(scores_i, positive_i, num_top):
    found = [sum(positive_i[item] for item in order[:num_top]) for order in orderings(scores_i)]
    return sum(found) / len(found) / sum(positive_i)


queries = st.integers(1, 6).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(0, 2), min_size=size, max_size=size),
        st.lists(st.booleans(), min_size=size, max_size=size).filter(any),
        st.integers(1, size),
    )
)


@settings(deadline=None, max_examples=60)
@given(queries)
def test_hits_ranks_and_shares_equal_the_mean_over_all_orders_of_the_ties(query):
    scores_i, positive_i, num_top = query
    scores_qi, positive_qi = np.array([scores_i], dtype=float), np.array([positive_i])
    ranking = retrieval.rank_best_positives(scores_qi, positive_qi)
    assert retrieval.hit_probability(ranking, num_top)[0] == pytest.approx(slow_hit(scores_i, positive_i, num_top))
    assert retrieval.expected_rank(ranking)[0] == pytest.approx(slow_rank(scores_i, positive_i))
    found = retrieval.expected_recall(scores_qi, positive_qi, num_top)[0]
    assert found == pytest.approx(slow_share(scores_i, positive_i, num_top))


def test_twins_whose_products_differ_in_the_last_bits_are_tied():
    rng = np.random.default_rng(2)
    query_qd, item_d = rng.normal(size=(50, 64)), rng.normal(size=64)
    query_qd /= np.linalg.norm(query_qd, axis=1, keepdims=True)
    item_d /= np.linalg.norm(item_d)
    twins_id = np.stack([item_d, item_d + 1e-11 * rng.normal(size=64)])
    assert (np.diff(query_qd @ twins_id.T) != 0).all()
    assert (np.diff(retrieval.cosine_scores(query_qd, twins_id)) == 0).all()


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


@pytest.mark.parametrize("positives", [1, 4, 12])
def test_simulated_chance_equals_the_expectation_of_equal_scores(positives: int) -> None:
    positive_qi = np.arange(60)[None] < positives
    precision_b, gain_b = chance_precision_and_ndcg(positives, 60, seed=1)
    (precision,), (ndcg,) = ranking_metrics(np.zeros((1, 60)), positive_qi)
    assert precision_b.mean() == pytest.approx(precision, rel=0.05)
    assert gain_b.mean() == pytest.approx(ndcg, rel=0.08)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_retrieval_on_resamples_equals_that_of_the_resampled_queries_and_items_written_out(levels):
    rng = np.random.default_rng(levels)
    group_q, group_i = np.repeat(np.arange(7), rng.integers(1, 5, 7)), np.repeat(np.arange(7), rng.integers(1, 3, 7))
    scores_qi = rng.integers(0, levels, (len(group_q), len(group_i))).astype(float)
    positive_qi = group_q[:, None] == group_i
    weights_bg = bootstrap.draw_weights(7, 120, 1)  # more than one block
    found = bootstrap.resampled_retrieval("t2i", scores_qi, positive_qi, group_q, group_i, weights_bg=weights_bg)
    for number in (0, 60, 119):
        rows, columns = (np.repeat(np.arange(len(g)), weights_bg[number][g]) for g in (group_q, group_i))
        chosen = np.ix_(rows, columns)
        # a query's best positive stays the best of the whole test set; here every copy of its group is present
        ranks = retrieval.rank_best_positives(scores_qi[chosen], positive_qi[chosen])
        for name, cutoff in retrieval.hit_cutoffs("t2i", len(columns)).items():
            assert found[name][number] == pytest.approx(retrieval.hit_probability(ranks, cutoff).mean()), name
        rank_q = retrieval.expected_rank(ranks)
        assert found["t2i_median_rank"][number] == pytest.approx(np.median(rank_q))
        assert found["t2i_normalised_rank"][number] == pytest.approx(rank_q.mean() / len(columns))
