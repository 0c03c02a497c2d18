"""Compute retrieval metrics from the rank of each query's best positive among all items.

A positive is an item that is a right answer to the query; the best positive has the highest score. Items with equal
scores count as if they were in random order: metrics are expectations over all orders of tied items. A scorer that
gives every item the same score therefore gets exactly the metrics of chance.

The suffix of an array's name gives its axes: q for queries, i for items, t for tiles, c for captions, g for groups,
b for resamples, and d for feature dimensions.
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
"""Cutoffs of recall, as numbers of items."""
SCORE_STEP = 1e-6
"""Cosine similarities are rounded to multiples of this value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiedRanks:
    """Range of ranks that ties allow for each query's best positive among `num_items` items, as three counts (q,).

    `above_q` is the number of items that score higher than the best positive. `tied_q` is the number of items that have
    the same score as the best positive, itself included. `positives_q` is the number of positives among the tied
    items.
    """

    above_q: Ints
    tied_q: Ints
    positives_q: Ints
    num_items: int


def cosine_scores(feat_qd: Floats, feat_id: Floats) -> Floats:
    """Compute cosine similarities, rounded to multiples of `SCORE_STEP`.

    Parameters
    ----------
    feat_qd : ndarray
        Features (q, d) of the queries; each row has length 1.
    feat_id : ndarray
        Features (i, d) of the items; each row has length 1.

    Returns
    -------
    ndarray
        Similarities (q, i) in [-1, 1].

    """
    # Products of equal features may differ in their last bits. Rounding makes such products equal on every machine.
    return np.rint(feat_qd.astype(np.float64) @ feat_id.astype(np.float64).T / SCORE_STEP) * SCORE_STEP


def top_count(percent: int, num_items: int) -> int:
    """Compute the number of items in the top `percent` %.

    The number is rounded down, because rounding up would make the metric too high. It is at least one.

    Parameters
    ----------
    percent : int
        Cutoff in per cent of the items, 1 to 100.
    num_items : int
        Number of items that are ranked.

    Returns
    -------
    int
        Number of items, 1 to `num_items`.

    """
    return max(1, percent * num_items // 100)


def positive_pairs(group_q: Ints, group_i: Ints) -> Bools:
    """Mark the pairs of a query and an item that have the same caption or group.

    Parameters
    ----------
    group_q : ndarray
        Caption or group (q,) of each query.
    group_i : ndarray
        Caption or group (i,) of each item.

    Returns
    -------
    ndarray
        Boolean matrix (q, i), true where query and item have the same caption or group.

    """
    positive_qi: Bools = group_q[:, None] == group_i[None, :]
    return positive_qi


def rank_best_positives(scores_qi: Floats, positive_qi: Bools) -> TiedRanks:
    """Compute the rank of each query's best positive among all items.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i) of the items for the queries; a higher score means a better match.
    positive_qi : ndarray
        Boolean matrix (q, i), true where the item is a right answer; every row has at least one.

    Returns
    -------
    TiedRanks
        For each query, the number of items that score higher than the best positive and of those that score the same.

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
    """Compute the probability that at least one positive is among the first `num_top` items.

    Tied items count as if they were in random order.

    Parameters
    ----------
    ranks : TiedRanks
        Rank of each query's best positive.
    num_top : int
        Number of top-ranked items that are counted.

    Returns
    -------
    ndarray
        Probability (q,) in [0, 1].

    Notes
    -----
    If p of e tied items are positives, and m of the e items are among the first `num_top`, then the probability is
    1 - C(e - p, m) / C(e, m), by the hypergeometric distribution. The logarithms of the binomial coefficients C
    are computed by log-gamma functions, because the coefficients themselves overflow for large ties.

    """
    drawn_q = np.clip(num_top - ranks.above_q, 0, ranks.tied_q)  # tied items that are among the first num_top
    negatives_q = ranks.tied_q - ranks.positives_q
    spare_q = np.maximum(negatives_q - drawn_q, 0)
    log_miss_q = gammaln(negatives_q + 1) - gammaln(spare_q + 1)
    log_miss_q += gammaln(ranks.tied_q - drawn_q + 1) - gammaln(ranks.tied_q + 1)
    # If more items are drawn than there are negatives, one of them is certainly a positive.
    miss_q = np.where(drawn_q > negatives_q, 0.0, np.exp(log_miss_q))
    return np.round(1.0 - miss_q, 12)


def expected_rank(ranks: TiedRanks) -> Floats:
    """Compute the expected rank of each query's best positive, with tied items in random order.

    Parameters
    ----------
    ranks : TiedRanks
        Rank of each query's best positive.

    Returns
    -------
    ndarray
        Expected rank (q,) of the best positive; the first rank is 1.

    Notes
    -----
    The smallest of p numbers drawn without replacement from 1 to e has the mean (e + 1) / (p + 1).

    """
    return ranks.above_q + (ranks.tied_q + 1) / (ranks.positives_q + 1)


def expected_recall(scores_qi: Floats, positive_qi: Bools, num_top: int) -> Floats:
    """Compute the expected share of each query's positives that are among its first `num_top` items.

    Tied items count as if they were in random order.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i) of the items for the queries; a higher score means a better match.
    positive_qi : ndarray
        Boolean matrix (q, i), true where the item is a right answer; every row has at least one.
    num_top : int
        Number of top-ranked items that are counted.

    Returns
    -------
    ndarray
        Share (q,) in [0, 1]; by chance it is `num_top` divided by the number of items.

    """
    share_q = np.empty(len(scores_qi))
    for row, (scores_i, positive_i) in enumerate(zip(scores_qi, positive_qi, strict=True)):
        ascending_i = np.sort(scores_i)
        below_p = np.searchsorted(ascending_i, scores_i[positive_i], side="left")
        upto_p = np.searchsorted(ascending_i, scores_i[positive_i], side="right")
        # The probability that a positive is among the first items is the number of places that remain for its tie,
        # divided by the number of items in the tie.
        share_q[row] = np.clip((num_top - (len(scores_i) - upto_p)) / (upto_p - below_p), 0.0, 1.0).mean()
    return share_q
