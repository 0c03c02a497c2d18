"""Cross-validation by proposal group.

Every picture is tested once, by a model that was trained without the pictures of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate, Values, bootstrap_estimates, values_of
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, positive_pairs

DIRECTIONS = ("i2t", "t2i")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldScores:
    """Scores of the test pictures of one fold against the captions of their groups.

    `scores_tg` has one row per picture and one column per group. `group_t` and `group_g` are the group numbers of the
    rows and the columns. A group has the same number in all folds.
    """

    scores_tg: Floats
    group_t: Ints
    group_g: Ints


def draw_folds(num_groups: int, num_folds: int, seed: int) -> Ints:
    """Assign groups to folds at random.

    Parameters
    ----------
    num_groups
        Number of groups, g.
    num_folds
        Number of folds.
    seed
        Seed of the random assignment.

    Returns
    -------
    Ints
        Fold number of each group, shape (g,). The numbers of groups per fold differ by at most 1.

    """
    # the frequencies of the fold numbers differ by at most 1
    return np.random.default_rng(seed).permutation(num_groups) % num_folds


def pooled_estimates(scorer: str, folds: Sequence[FoldScores], weights_bg: Ints) -> list[Estimate]:
    """Compute the metrics of the protocol `fair` over the queries of all folds.

    The candidates of a query are ranked within the fold of the query.

    Parameters
    ----------
    scorer
        Name of the method, which is recorded in the estimates.
    folds
        Scores of all folds of all repetitions.
    weights_bg
        Bootstrap weights, shape (b, g): the number of times that resample b contains group g. The same weights apply to
        every fold and repetition.

    Returns
    -------
    list[Estimate]
        One estimate per metric and direction.

    """
    return [
        estimate
        for direction in DIRECTIONS
        for estimate in bootstrap_estimates(
            FAIR, scorer, _pooled([_values(direction, fold) for fold in folds]), weights_bg
        )
    ]


def _values(direction: str, fold: FoldScores) -> Values:
    """Compute the metrics of each query of a fold, in one direction."""
    positive_tg = positive_pairs(fold.group_t, fold.group_g)
    if direction == "i2t":
        return values_of(direction, fold.scores_tg, positive_tg, fold.group_t)
    return values_of(direction, fold.scores_tg.T, positive_tg.T, fold.group_g)


def _pooled(parts: Sequence[Values]) -> Values:
    """Concatenate the metrics of all folds, except the ranks, because folds differ in the number of candidates."""
    return Values(
        means={name: np.concatenate([part.means[name] for part in parts]) for name in parts[0].means},
        group_q=np.concatenate([part.group_q for part in parts]),
    )
