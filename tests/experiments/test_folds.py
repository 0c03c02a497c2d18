"""Folds by group, and figures pooled over them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.pairs.folds import FoldScores, draw_folds, pooled_estimates
from hubbleclip.evaluation.metrics.bootstrap import draw_weights


@given(num_groups=st.integers(5, 60), num_folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_hold_as_many_groups_each_but_for_one(num_groups: int, num_folds: int, seed: int) -> None:
    sizes = np.bincount(draw_folds(num_groups, num_folds, seed), minlength=num_folds)
    assert sizes.sum() == num_groups
    assert sizes.max() - sizes.min() <= 1


def test_another_seed_draws_other_folds() -> None:
    assert draw_folds(40, 5, 1).tolist() != draw_folds(40, 5, 2).tolist()


def fold(groups: list[int], scores: np.ndarray) -> FoldScores:
    return FoldScores(scores_tg=scores, group_t=np.array(groups), group_g=np.array(groups))


def test_a_query_is_ranked_within_its_fold_and_the_folds_are_averaged() -> None:
    right, wrong = np.eye(10), 1 - np.eye(10)
    folds = [fold(list(range(10)), right), fold(list(range(10, 20)), wrong)]
    found = pooled_estimates("any", folds, draw_weights(20, 200, 1))
    values = {one.name: one.value for one in found}
    assert values["i2t_accuracy_at_10pct"] == values["t2i_accuracy_at_10pct"] == pytest.approx(0.5)


def test_repetitions_of_a_group_are_resampled_together() -> None:
    scores = np.eye(10)
    scores[5:] = 1 - scores[5:]
    folds = [fold(list(range(10)), scores)]
    weights = draw_weights(10, 500, 1)
    once, thrice = (pooled_estimates("any", folds * times, weights)[0] for times in (1, 3))
    assert np.array_equal(once.draws_b, thrice.draws_b)
