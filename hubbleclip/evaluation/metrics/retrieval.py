"""Retrieval with ties and shared captions: where a query finds the best of its positives among all items.

Equal scores are never broken by position: a tie takes its expected rank and its probability of a hit, as if the tied
items were drawn in random order. A scorer that gives every item the same score gets exactly what chance gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PERCENTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
RECALLS = (1, 5, 10)
SCORE_STEP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """For each of q queries: how many of `num_items` items score above its best positive, how many score the same
    (the best positives among them), and how many of these are positives. Integer arrays of shape (q,).
    """

    above_q: Ints
    tied_q: Ints
    positives_q: Ints
    num_items: int


def cosine_scores(feat_qd: Floats, feat_id: Floats) -> Floats:
    """Cosine similarities (q, i) in [-1, 1] of normalised features, rounded to 1e-6.

    The rounding makes twins of the arithmetic into the ties that they are, on every machine.
    """
    return np.rint(feat_qd.astype(np.float64) @ feat_id.astype(np.float64).T / SCORE_STEP) * SCORE_STEP


def top_count(percent: int, num_items: int) -> int:
    """Items in the top `percent` % of `num_items`: rounded down, never in our favour, but at least one."""
    return max(1, percent * num_items // 100)


def positive_pairs(group_q: Ints, group_i: Ints) -> Bools:
    """Matrix (q, i) that is true where query and item are of the same caption, or group."""
    positive_qi: Bools = group_q[:, None] == group_i[None, :]
    return positive_qi


def rank_positives(scores_qi: Floats, positive_qi: Bools) -> Ranking:
    """Ranking of each query's best positive. Every row of `positive_qi` must hold at least one true."""
    best_q = np.where(positive_qi, scores_qi, -np.inf).max(axis=1)
    tied_qi = scores_qi == best_q[:, None]
    return Ranking(
        above_q=(scores_qi > best_q[:, None]).sum(axis=1),
        tied_q=tied_qi.sum(axis=1),
        positives_q=(tied_qi & positive_qi).sum(axis=1),
        num_items=scores_qi.shape[1],
    )


def hit_probability(ranking: Ranking, num_top: int) -> Floats:
    """Probability (q,) that at least one positive is among the first `num_top` items, ties drawn in random order.

    Of e tied items, p positive, the first m are drawn: 1 - C(e - p, m) / C(e, m), the hypergeometric law.
    """
    drawn_q = np.clip(num_top - ranking.above_q, 0, ranking.tied_q)
    negatives_q = ranking.tied_q - ranking.positives_q
    spare_q = np.maximum(negatives_q - drawn_q, 0)
    log_miss_q = gammaln(negatives_q + 1) - gammaln(spare_q + 1)
    log_miss_q += gammaln(ranking.tied_q - drawn_q + 1) - gammaln(ranking.tied_q + 1)
    miss_q = np.where(drawn_q > negatives_q, 0.0, np.exp(log_miss_q))
    return np.round(1.0 - miss_q, 12)


def expected_rank(ranking: Ranking) -> Floats:
    """Rank (q,) to expect of the best positive, from 1: the least of p draws out of e averages (e + 1) / (p + 1)."""
    return ranking.above_q + (ranking.tied_q + 1) / (ranking.positives_q + 1)


def share_found(scores_qi: Floats, positive_qi: Bools, num_top: int) -> Floats:
    """Share (q,) of a query's positives to expect among its first `num_top` items; by chance num_top / num_items."""
    share_q = np.empty(len(scores_qi))
    for row, (scores_i, positive_i) in enumerate(zip(scores_qi, positive_qi, strict=True)):
        ordered_i = np.sort(scores_i)
        below_p = np.searchsorted(ordered_i, scores_i[positive_i], side="left")
        upto_p = np.searchsorted(ordered_i, scores_i[positive_i], side="right")
        share_q[row] = np.clip((num_top - (len(scores_i) - upto_p)) / (upto_p - below_p), 0.0, 1.0).mean()
    return share_q
