"""Retrieval metrics with ties and shared captions: the rank of a query's best positive among all items.

Equal scores are never broken by position: a tie takes its expected rank and its probability of a hit, as if the tied
items were in random order. A scorer that gives every item the same score gets exactly the metrics of chance.

Array suffixes name the axes: q queries, i items, t tiles, c captions, g groups, b resamples, d feature dimensions.
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
"""Cutoffs of the retrieval curve, in per cent of the items."""
RECALLS = (1, 5, 10)
"""Cutoffs of recall, in items."""
SCORE_STEP = 1e-6
"""Cosine similarities are rounded to multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiedRanks:
    """Rank of each query's best positive, with its ties; integer arrays of shape (q,).

    Of `num_items` items, `above_q` score higher than the best positive and `tied_q` score the same (itself included);
    `positives_q` of the tied items are positives.
    """

    above_q: Ints
    tied_q: Ints
    positives_q: Ints
    num_items: int


def cosine_scores(feat_qd: Floats, feat_id: Floats) -> Floats:
    """Compute cosine similarities, rounded to `SCORE_STEP`.

    Parameters
    ----------
    feat_qd : ndarray
        Features (q, d) of the queries, of length 1.
    feat_id : ndarray
        Features (i, d) of the items, of length 1.

    Returns
    -------
    ndarray
        Similarities (q, i) in [-1, 1].

    """
    # Equal features may differ in the last bits of their products: rounding makes them ties on every machine.
    return np.rint(feat_qd.astype(np.float64) @ feat_id.astype(np.float64).T / SCORE_STEP) * SCORE_STEP


def top_count(percent: int, num_items: int) -> int:
    """Count the items in the top `percent` %, rounded down so as not to flatter the metric, but at least one.

    Parameters
    ----------
    percent : int
        Cutoff, 1 to 100.
    num_items : int
        Number of items.

    Returns
    -------
    int
        Number of items, 1 to `num_items`.

    """
    return max(1, percent * num_items // 100)


def positive_pairs(group_q: Ints, group_i: Ints) -> Bools:
    """Mark the pairs of a query and an item that belong to the same caption or group.

    Parameters
    ----------
    group_q : ndarray
        Caption or group (q,) of each query.
    group_i : ndarray
        Caption or group (i,) of each item.

    Returns
    -------
    ndarray
        Boolean matrix (q, i).

    """
    positive_qi: Bools = group_q[:, None] == group_i[None, :]
    return positive_qi


def rank_best_positives(scores_qi: Floats, positive_qi: Bools) -> TiedRanks:
    """Rank each query's best positive among all items.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    positive_qi : ndarray
        True (q, i) where the item is a right answer; at least one per row.

    Returns
    -------
    TiedRanks
        Counts of higher and of equal scores.

    """
    best_q = np.where(positive_qi, scores_qi, -np.inf).max(axis=1)  # score of the best positive
    tied_qi = scores_qi == best_q[:, None]
    return TiedRanks(
        above_q=(scores_qi > best_q[:, None]).sum(axis=1),
        tied_q=tied_qi.sum(axis=1),
        positives_q=(tied_qi & positive_qi).sum(axis=1),
        num_items=scores_qi.shape[1],
    )


def hit_probability(ranks: TiedRanks, num_top: int) -> Floats:
    """Compute the probability that at least one positive is among the first `num_top` items, ties in random order.

    Parameters
    ----------
    ranks : TiedRanks
        Rank of each query's best positive.
    num_top : int
        Number of items looked at.

    Returns
    -------
    ndarray
        Probability (q,) in [0, 1].

    Notes
    -----
    Of e tied items, p of them positive, m are among the first: 1 - C(e - p, m) / C(e, m), by the hypergeometric
    distribution. Binomials are computed as log-gamma, because they overflow for large ties.

    """
    drawn_q = np.clip(num_top - ranks.above_q, 0, ranks.tied_q)  # tied items that are among the first num_top
    negatives_q = ranks.tied_q - ranks.positives_q
    spare_q = np.maximum(negatives_q - drawn_q, 0)
    log_miss_q = gammaln(negatives_q + 1) - gammaln(spare_q + 1)
    log_miss_q += gammaln(ranks.tied_q - drawn_q + 1) - gammaln(ranks.tied_q + 1)
    # More draws than negatives: a positive is certain.
    miss_q = np.where(drawn_q > negatives_q, 0.0, np.exp(log_miss_q))
    return np.round(1.0 - miss_q, 12)


def expected_rank(ranks: TiedRanks) -> Floats:
    """Compute the expected rank of the best positive, ties in random order.

    Parameters
    ----------
    ranks : TiedRanks
        Rank of each query's best positive.

    Returns
    -------
    ndarray
        Rank (q,) from 1.

    Notes
    -----
    The least of p draws without replacement from 1 to e has the mean (e + 1) / (p + 1).

    """
    return ranks.above_q + (ranks.tied_q + 1) / (ranks.positives_q + 1)


def expected_recall(scores_qi: Floats, positive_qi: Bools, num_top: int) -> Floats:
    """Compute the expected share of a query's positives among its first `num_top` items, ties in random order.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    positive_qi : ndarray
        True (q, i) where the item is a right answer; at least one per row.
    num_top : int
        Number of items looked at.

    Returns
    -------
    ndarray
        Share (q,) in [0, 1]; by chance num_top / num_items.

    """
    share_q = np.empty(len(scores_qi))
    for row, (scores_i, positive_i) in enumerate(zip(scores_qi, positive_qi, strict=True)):
        ascending_i = np.sort(scores_i)
        below_p = np.searchsorted(ascending_i, scores_i[positive_i], side="left")
        upto_p = np.searchsorted(ascending_i, scores_i[positive_i], side="right")
        # Places left for a positive's tie, over the size of the tie: its probability to be among the first.
        share_q[row] = np.clip((num_top - (len(scores_i) - upto_p)) / (upto_p - below_p), 0.0, 1.0).mean()
    return share_q
