"""Folds by group, and figures pooled over them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.pairs.folds import FoldScores, draw_folds, groups_ahead, pooled_estimates
from hubbleclip.evaluation.metrics.bootstrap import draw_weights


@given(num_groups=st.integers(5, 60), num_folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_hold_as_many_groups_each_but_for_one(num_groups: int, num_folds: int, seed: int) -> None:
    sizes = np.bincount(draw_folds(num_groups, num_folds, seed), minlength=num_folds)
    assert sizes.sum() == num_groups
    assert sizes.max() - sizes.min() <= 1


def fold(groups: list[int], scores: np.ndarray) -> FoldScores:
    return FoldScores(scores_tt=scores, group_t=np.array(groups))


def slow_groups_ahead(scores: np.ndarray, groups: list[int]) -> list[float]:
    """For each query, the sum over the other groups of the share of their answers that score higher; ties are halves."""
    found = []
    for query, group in enumerate(groups):
        shares = []
        for other in set(groups) - {group}:
            answers = [scores[query, index] for index, name in enumerate(groups) if name == other]
            right = scores[query, query]
            shares.append(np.mean([1.0 if one > right else 0.5 if one == right else 0.0 for one in answers]))
        found.append(sum(shares))
    return found


@given(groups=st.lists(st.integers(0, 5), min_size=2, max_size=12), seed=st.integers(0, 99))
def test_other_groups_count_once_each_and_answers_of_the_own_group_not_at_all(groups: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, size=(len(groups), len(groups))).astype(float)
    assert groups_ahead(scores, np.array(groups)) == pytest.approx(slow_groups_ahead(scores, groups))


def test_a_query_is_ranked_within_its_fold_and_the_folds_are_averaged() -> None:
    right, wrong = np.eye(10), 1 - np.eye(10)
    folds = [fold(list(range(10)), right), fold(list(range(10, 20)), wrong)]
    values = {one.name: one.value for one in pooled_estimates("any", folds, draw_weights(20, 200, 1))}
    assert values["i2t_top_10pct"] == values["t2i_top_10pct"] == pytest.approx(0.5)
    assert values["i2t_auc"] == values["t2i_auc"] == pytest.approx(0.5)


def test_a_large_group_counts_as_much_as_a_small_one() -> None:
    groups = [0] * 11 + list(range(1, 10))
    scores = np.eye(20)
    scores[:11] = 1 - scores[:11]  # all pictures of the large group are missed
    values = {one.name: one.value for one in pooled_estimates("any", [fold(groups, scores)], draw_weights(10, 200, 1))}
    assert values["i2t_top_10pct"] == pytest.approx(0.9)
