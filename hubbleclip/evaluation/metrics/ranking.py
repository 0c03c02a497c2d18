"""Compute metrics of a whole ranking: average precision, nDCG and diversity.

All orders of tied items are equally likely, as in the module `retrieval`. The value of a metric is its expectation
over these orders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma

from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints, TiedRanks, hit_probability

NUM_TOP = 10
"""Number of top-ranked items that nDCG and diversity are computed from."""
DISCOUNT = np.r_[0, np.cumsum(1 / np.log2(np.arange(2, NUM_TOP + 2)))]
"""Sum of the discounts of nDCG over the first n ranks, for n from 0 to `NUM_TOP`."""
NUM_CHANCE = 2000
"""Number of random orders that are simulated for each number of positives."""


def ranking_metrics(scores_qi: Floats, positive_qi: Bools) -> tuple[Floats, Floats]:
    """Compute the expected average precision and the expected nDCG at `NUM_TOP` of each query.

    The average precision is the mean of the precisions at the ranks of the positives. The normalised discounted
    cumulative gain (nDCG) is 1 for the best possible order.
    """
    once_1i = np.ones((1, scores_qi.shape[1]), dtype=np.int64)  # without a bootstrap, every item counts once
    rows = [resampled_ranking_metrics(*query, once_1i) for query in zip(scores_qi, positive_qi, strict=True)]
    values_q2 = np.array(rows, dtype=np.float64).reshape(-1, 2)  # two columns even if there are no queries
    precision_q, ndcg_q = np.round(values_q2, 12).T  # rounded, so that perfect orders give exactly 1
    return precision_q, ndcg_q


def resampled_ranking_metrics(scores_i: Floats, positive_i: Bools, weights_bi: Ints) -> tuple[Floats, Floats]:
    """Compute average precision and nDCG at `NUM_TOP` of one query on resamples of its items; NaN without positives.

    In a block of e tied items with p positives, each position holds a positive with probability p / e. Let n be the
    number of items and m the number of positives in earlier blocks. If the position at offset w in the block holds a
    positive, then m + 1 + w r positives are expected up to and including that position, where r = (p - 1) / (e - 1)
    (McSherry & Najork 2008). The sum over w of (m + 1 + w r) / (n + 1 + w) is
    r e + (m + 1 - r (n + 1)) (H(n + e) - H(n)), where H(n) is the n-th harmonic number.
    A positive has a gain of 1, which nDCG divides by log2(k + 1) at rank k (Jarvelin & Kekalainen 2002).
    """
    start_bk, end_bk, before_bk, positives_bk = _tied_blocks(scores_i, positive_i, weights_bi)
    size_bk, total_b = end_bk - start_bk, positives_bk.sum(axis=1)
    share_bk = positives_bk / np.maximum(size_bk, 1)  # p / e; the size is 0 if a resample lacks the block
    slope_bk = np.maximum(positives_bk - 1, 0) / np.maximum(size_bk - 1, 1)  # r
    harmonic_bk = digamma(end_bk + 1) - digamma(start_bk + 1)  # H(n + e) - H(n)
    sums_bk = share_bk * (slope_bk * size_bk + (before_bk + 1 - slope_bk * (start_bk + 1)) * harmonic_bk)
    gain_bk = share_bk * (DISCOUNT[np.minimum(end_bk, NUM_TOP)] - DISCOUNT[np.minimum(start_bk, NUM_TOP)])
    with np.errstate(invalid="ignore"):
        return sums_bk.sum(axis=1) / total_b, gain_bk.sum(axis=1) / DISCOUNT[np.minimum(total_b, NUM_TOP)]


def resampled_ndcg(scores_i: Floats, gains_i: Floats, weights_bi: Ints) -> Floats:
    """Compute nDCG at `NUM_TOP` of one query on resamples of its items; NaN for a resample with only gains of 0.

    `gains_i` is the gain of each item. In the best possible order, the items are sorted by gain.
    """

    def discounted(scores_i: Floats) -> Floats:
        start_bk, end_bk, _, gains_bk = _tied_blocks(scores_i, gains_i, weights_bi)
        discount_bk = DISCOUNT[np.minimum(end_bk, NUM_TOP)] - DISCOUNT[np.minimum(start_bk, NUM_TOP)]
        return np.asarray((gains_bk / np.maximum(end_bk - start_bk, 1) * discount_bk).sum(axis=1))

    with np.errstate(invalid="ignore"):
        return np.asarray(discounted(scores_i) / discounted(gains_i))


def resampled_precision(scores_i: Floats, positive_i: Bools, weights_bi: Ints, num_top: int) -> Floats:
    """Compute the precision at `num_top` of one query on resamples of its items; NaN without positives."""
    start_bk, end_bk, _, positives_bk = _tied_blocks(scores_i, positive_i, weights_bi)
    size_bk, total_b = end_bk - start_bk, positives_bk.sum(axis=1)
    taken_bk = np.clip(num_top - start_bk, 0, size_bk)  # items of the block among the first `num_top`
    found_b = (positives_bk * taken_bk / np.maximum(size_bk, 1)).sum(axis=1)
    return np.where(total_b > 0, found_b / num_top, np.nan)


def _tied_blocks(scores_i: Floats, gain_i: Bools | Floats, weights_bi: Ints) -> tuple[Ints, Ints, Any, Any]:
    """Find the blocks of tied items that contain a positive, on each resample, best first.

    Returns four arrays (b, k): the number of items before each block, the number of items up to the end of the block,
    the sum of gains before the block, and the sum of gains in the block. Positives are the items with a gain above 0.
    If all gains are 0 or 1, the sums are numbers of positives.
    """
    order_i = np.argsort(-scores_i, kind="stable")
    sorted_i, is_positive_i = scores_i[order_i], gain_i[order_i] > 0
    block_i = np.cumsum(np.r_[False, sorted_i[1:] != sorted_i[:-1]])  # a block begins where the sorted score changes
    # Only blocks of tied items that contain a positive (axis k) contribute to a metric. The copies of items are counted
    # in segments (axis s): a segment is one such block, or all items between two such blocks. Counting in every block
    # would be slower.
    blocks_k, first_k = np.unique(block_i[is_positive_i], return_index=True)
    starts_k, ends_k = (np.searchsorted(block_i, blocks_k, side) for side in ("left", "right"))
    starts_s = np.unique(np.r_[0, starts_k, ends_k[ends_k < len(block_i)]])
    size_bs, k_in_s = np.add.reduceat(weights_bi[:, order_i], starts_s, axis=1), np.searchsorted(starts_s, starts_k)
    size_bk, end_bk = size_bs[:, k_in_s], np.cumsum(size_bs, axis=1)[:, k_in_s]
    # `positives_bk` gets the memory order of `size_bk`, because this order changes the last bits of sums.
    positive_p = order_i[is_positive_i]
    positives_bk = np.asfortranarray(np.add.reduceat(weights_bi[:, positive_p] * gain_i[positive_p], first_k, axis=1))
    start_bk, before_bk = end_bk - size_bk, np.cumsum(positives_bk, axis=1) - positives_bk
    return start_bk, end_bk, before_bk, positives_bk


def diversity(scores_qi: Floats, group_i: Ints, num_top: int = NUM_TOP) -> Floats:
    """Compute the expected number of distinct proposal groups among the top-ranked items, as a share of these items."""
    num_top = min(num_top, scores_qi.shape[1])
    threshold_q = -np.partition(-scores_qi, num_top - 1, axis=1)[:, num_top - 1]
    distinct_q = np.empty(len(scores_qi))
    for row, (scores_i, threshold) in enumerate(zip(scores_qi, threshold_q, strict=True)):
        above_i = scores_i > threshold  # items that are among the first `num_top` in every order of ties
        certain = np.unique(group_i[above_i])
        tied_i = scores_i == threshold
        tied_groups, count_g = np.unique(group_i[tied_i], return_counts=True)
        # Some groups have tied items but no certain item. Each such group counts with the probability that at least
        # one of its tied items is among the first `num_top` items.
        new_g = count_g[~np.isin(tied_groups, certain)]
        tie = TiedRanks(
            above_q=np.full(len(new_g), above_i.sum()),
            tied_q=np.full(len(new_g), tied_i.sum()),
            positives_q=new_g,
            num_items=len(scores_i),
        )
        distinct_q[row] = len(certain) + hit_probability(tie, num_top).sum()
    return distinct_q / num_top


def chance_precision_and_ndcg(positives: int, num_items: int, seed: int) -> tuple[Floats, Floats]:
    """Simulate the average precision and the nDCG at `NUM_TOP` of a query whose items are in random order."""
    rng = np.random.default_rng([seed, positives, num_items])
    rank_bp = np.sort([rng.choice(num_items, positives, replace=False) + 1 for _ in range(NUM_CHANCE)], axis=1)
    precision_bp = np.arange(1, positives + 1) / rank_bp  # precision at the rank of each positive
    gain_bp = np.where(rank_bp <= NUM_TOP, 1 / np.log2(rank_bp + 1), 0.0)
    best = float(np.sum(1 / np.log2(np.arange(2, min(positives, NUM_TOP, num_items) + 2))))
    return precision_bp.mean(axis=1), gain_bp.sum(axis=1) / best
