import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbleclip.core.errors import EvaluationError
from hubbleclip.evaluation.metrics import retrieval


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


@settings(deadline=None, max_examples=150)
@given(queries)
def test_hits_ranks_and_shares_equal_the_mean_over_all_orders_of_the_ties(query):
    scores_i, positive_i, num_top = query
    scores_qi, positive_qi = np.array([scores_i], dtype=float), np.array([positive_i])
    ranking = retrieval.rank_best_positives(scores_qi, positive_qi)
    assert retrieval.hit_probability(ranking, num_top)[0] == pytest.approx(slow_hit(scores_i, positive_i, num_top))
    assert retrieval.expected_rank(ranking)[0] == pytest.approx(slow_rank(scores_i, positive_i))
    found = retrieval.expected_recall(scores_qi, positive_qi, num_top)[0]
    assert found == pytest.approx(slow_share(scores_i, positive_i, num_top))


@pytest.mark.parametrize(
    ("percent", "num_items", "expected"),
    [(10, 64, 6), (10, 69, 6), (10, 70, 7), (1, 64, 1), (100, 64, 64), (29, 100, 29)],
)
def test_top_percent_is_rounded_down_but_never_empty(percent, num_items, expected):
    assert retrieval.top_count(percent, num_items) == expected


def test_a_score_that_is_no_number_has_no_rank():
    scores_qi = np.array([[0.1, 0.2], [np.nan, 0.2]])
    with pytest.raises(EvaluationError, match="query 1"):
        retrieval.rank_best_positives(scores_qi, np.eye(2, dtype=bool))


def test_twins_whose_products_differ_in_the_last_bits_are_tied():
    rng = np.random.default_rng(2)
    query_qd, item_d = rng.normal(size=(50, 64)), rng.normal(size=64)
    query_qd /= np.linalg.norm(query_qd, axis=1, keepdims=True)
    item_d /= np.linalg.norm(item_d)
    twins_id = np.stack([item_d, item_d + 1e-11 * rng.normal(size=64)])
    assert (np.diff(query_qd @ twins_id.T) != 0).all()
    assert (np.diff(retrieval.cosine_scores(query_qd, twins_id)) == 0).all()
