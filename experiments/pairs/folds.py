"""Cross-validation by group of related pictures, and metrics that count each group once.

Every picture is tested once per draw of the folds, by a model that was trained without the pictures of its group.

The right answer to a picture is its own caption, and the right answer to a caption is its own picture. It is compared
with the answers of all other groups of the test part. Other answers of the same group are not counted, because they may
be right or wrong: a caption of another picture of the Orion Nebula may fit. Each other group counts once, as the share
of its answers that score higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate, Values, bootstrap_estimates
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

DIRECTIONS = ("i2t", "t2i")
TOP_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldScores:
    """Scores of the test pictures of one fold (rows) against their captions (columns), and the pictures' groups.

    A group has the same number in all folds.
    """

    scores_tt: Floats
    group_t: Ints


def draw_folds(num_groups: int, num_folds: int, seed: int) -> Ints:
    """Assign groups to folds at random."""
    # n % num_folds over all n below num_groups gives each fold number equally often, or once more
    return np.random.default_rng(seed).permutation(num_groups) % num_folds


def groups_ahead(scores_qi: Floats, group_q: Ints) -> Floats:
    """Count the other groups that are ahead of each query's right answer."""
    right_q1 = np.diag(scores_qi)[:, None]
    ahead_qi = (scores_qi > right_q1) + 0.5 * (scores_qi == right_q1)
    _, index_q, size_g = np.unique(group_q, return_inverse=True, return_counts=True)
    is_other_qi = group_q[:, None] != group_q[None]
    ahead_q: Floats = (ahead_qi * is_other_qi / size_g[index_q][None]).sum(axis=1)
    return ahead_q


def pooled_estimates(method: str, folds: Sequence[FoldScores], weights_bg: Ints) -> list[Estimate]:
    """Estimate the metrics over the groups of all folds; each group counts once.

    `top_10pct` is the share of right answers in the top tenth of the groups of their fold. Of 18 groups the tenth is
    1.8: the first place counts 1 and the second one 0.8, so that chance gives exactly 10 %. `auc` is the share of other
    groups that the right answer is ahead of; chance gives 50 %.
    """
    return [
        estimate
        for direction in DIRECTIONS
        for estimate in bootstrap_estimates(FAIR, method, _pooled([_values(direction, f) for f in folds]), weights_bg)
    ]


def _values(direction: str, fold: FoldScores) -> Values:
    """Compute the mean metrics of each group of a fold, in one direction."""
    groups, index_t = np.unique(fold.group_t, return_inverse=True)
    ahead_t = groups_ahead(fold.scores_tt if direction == "i2t" else fold.scores_tt.T, fold.group_t)
    of_query = {
        f"{direction}_top_10pct": np.clip(TOP_SHARE * len(groups) - ahead_t, 0, 1),
        f"{direction}_auc": 1 - ahead_t / (len(groups) - 1),
    }
    size_g = np.bincount(index_t)
    return Values(
        means={name: np.bincount(index_t, weights=values_t) / size_g for name, values_t in of_query.items()},
        group_q=groups,
    )


def _pooled(parts: Sequence[Values]) -> Values:
    """Concatenate the metrics of all folds."""
    return Values(
        means={name: np.concatenate([part.means[name] for part in parts]) for name in parts[0].means},
        group_q=np.concatenate([part.group_q for part in parts]),
    )
