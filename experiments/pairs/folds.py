"""Cross-validation by proposal group: every tile is tested once, by a model that has seen nothing of its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate, Values, bootstrap_estimates, values_of
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, positive_pairs

DIRECTIONS = ("i2t", "t2i")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldScores:
    """Scores (t, g) of a fold's pictures for its groups' captions; groups by their numbers in the whole."""

    scores_tg: Floats
    group_t: Ints
    group_g: Ints


def draw_folds(num_groups: int, num_folds: int, seed: int) -> Ints:
    """The fold (g,) of each group; their sizes differ by one at most."""
    return np.random.default_rng(seed).permutation(num_groups) % num_folds


def pooled_estimates(scorer: str, folds: Sequence[FoldScores], weights_bg: Ints) -> list[Estimate]:
    """Figures of `fair` over the queries of all folds, each ranked within its own; a resampled group (b, g) brings its
    queries of every fold and every repetition.
    """
    return [
        estimate
        for direction in DIRECTIONS
        for estimate in bootstrap_estimates(
            FAIR, scorer, _pooled([_values(direction, fold) for fold in folds]), weights_bg
        )
    ]


def _values(direction: str, fold: FoldScores) -> Values:
    positive_tg = positive_pairs(fold.group_t, fold.group_g)
    if direction == "i2t":
        return values_of(direction, fold.scores_tg, positive_tg, fold.group_t)
    return values_of(direction, fold.scores_tg.T, positive_tg.T, fold.group_g)


def _pooled(parts: Sequence[Values]) -> Values:
    return Values(
        names=parts[0].names,
        shares_qm=np.concatenate([part.shares_qm for part in parts]),
        rank_name="",
        rank_q=np.empty(0),
        group_q=np.concatenate([part.group_q for part in parts]),
    )
