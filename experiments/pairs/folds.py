"""Cross-validation by proposal group: every tile is tested once, by a model that was trained without its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate, Values, bootstrap_estimates, values_of
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, positive_pairs

DIRECTIONS = ("i2t", "t2i")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldScores:
    """Scores (t, g) of a fold's pictures against its groups' captions; groups have the same numbers in all folds."""

    scores_tg: Floats
    group_t: Ints
    group_g: Ints


def draw_folds(num_groups: int, num_folds: int, seed: int) -> Ints:
    """Assign groups to folds at random.

    Parameters
    ----------
    num_groups
        Number g of groups.
    num_folds
        Number of folds.
    seed
        Seed of the assignment.

    Returns
    -------
    Ints
        Fold (g,) of each group; sizes differ by at most 1.

    """
    return np.random.default_rng(seed).permutation(num_groups) % num_folds  # each residue equally often, up to 1


def pooled_estimates(scorer: str, folds: Sequence[FoldScores], weights_bg: Ints) -> list[Estimate]:
    """Compute the metrics of protocol `fair` over the queries of all folds, each ranked within its own fold.

    Parameters
    ----------
    scorer
        Name of the method, recorded in the estimates.
    folds
        Scores of all folds, and of all repetitions.
    weights_bg
        Bootstrap weights (b, g): how often each resample contains each group, in every fold and repetition.

    Returns
    -------
    list[Estimate]
        An estimate per metric and direction.

    """
    return [
        estimate
        for direction in DIRECTIONS
        for estimate in bootstrap_estimates(
            FAIR, scorer, _pooled([_values(direction, fold) for fold in folds]), weights_bg
        )
    ]


def _values(direction: str, fold: FoldScores) -> Values:
    """Metrics of each query of a fold, in one direction."""
    positive_tg = positive_pairs(fold.group_t, fold.group_g)
    if direction == "i2t":
        return values_of(direction, fold.scores_tg, positive_tg, fold.group_t)
    return values_of(direction, fold.scores_tg.T, positive_tg.T, fold.group_g)


def _pooled(parts: Sequence[Values]) -> Values:
    """Metrics of the queries of all folds."""
    return Values(
        names=parts[0].names,
        shares_qm=np.concatenate([part.shares_qm for part in parts]),
        rank_name="",  # ranks among different numbers of candidates cannot be pooled
        rank_q=np.empty(0),
        group_q=np.concatenate([part.group_q for part in parts]),
    )
