"""Metrics of a whole ranking: average precision, nDCG and diversity.

Tied items count as in `retrieval`: every order of them is equally likely, and a metric is its expectation over these
orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints, TiedRanks, hit_probability

NUM_TOP = 10
"""Cutoff of nDCG and diversity, in items."""
NUM_CHANCE = 2000
"""Random orders simulated for each number of positives."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """A query's items by descending score: for each position (i,) its block of ties.

    `size_i` is the size of the block, `positives_i` the positives in it, `before_i` the positives in the blocks before
    it, and `within_i` the offset of the position in the block.
    """

    size_i: Ints
    positives_i: Ints
    before_i: Ints
    within_i: Ints


def _ties(scores_qi: Floats, positive_qi: Bools) -> Iterator[_Ties]:
    """Yield the blocks of ties of each query."""
    position_i = np.arange(scores_qi.shape[1])
    for scores_i, positive_i in zip(scores_qi, positive_qi, strict=True):
        order_i = np.argsort(-scores_i, kind="stable")
        sorted_i = scores_i[order_i]
        # Axis b is that of the blocks here: a block starts wherever the sorted score changes.
        starts_b = np.flatnonzero(np.r_[True, sorted_i[1:] != sorted_i[:-1]])
        size_b = np.diff(np.r_[starts_b, len(scores_i)])
        positives_b = np.add.reduceat(positive_i[order_i].astype(np.int64), starts_b)
        before_b = np.cumsum(positives_b) - positives_b
        block_i = np.repeat(np.arange(len(starts_b)), size_b)
        yield _Ties(size_b[block_i], positives_b[block_i], before_b[block_i], position_i - starts_b[block_i])


def average_precision(scores_qi: Floats, positive_qi: Bools) -> Floats:
    """Compute the expected average precision: the mean, over a query's positives, of the precision at their ranks.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    positive_qi : ndarray
        True (q, i) where the item is a right answer; at least one per row.

    Returns
    -------
    ndarray
        Average precision (q,) in (0, 1].

    Notes
    -----
    A position of a block of e ties with p positives, after b positives in earlier blocks, holds a positive with
    probability p / e; then b + 1 + w (p - 1) / (e - 1) positives are expected up to it, w the offset of the position in
    the block (McSherry & Najork 2008).

    """
    rank_i = np.arange(1, scores_qi.shape[1] + 1)
    total_q = positive_qi.sum(axis=1)
    sums = [
        float(np.sum(
            ties.positives_i / ties.size_i
            * (ties.before_i + 1 + ties.within_i * (ties.positives_i - 1) / np.maximum(ties.size_i - 1, 1)) / rank_i
        ))
        for ties in _ties(scores_qi, positive_qi)
    ]  # fmt: skip
    precision_q: Floats = np.array(sums) / total_q
    return precision_q


def ndcg(scores_qi: Floats, positive_qi: Bools, num_top: int = NUM_TOP) -> Floats:
    """Compute the expected normalised discounted cumulative gain, with a gain of 1 per positive.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    positive_qi : ndarray
        True (q, i) where the item is a right answer; at least one per row.
    num_top : int
        Cutoff in items.

    Returns
    -------
    ndarray
        nDCG (q,) in [0, 1], relative to the best possible order.

    Notes
    -----
    The gain at rank r is divided by log2(r + 1) (Jarvelin & Kekalainen 2002).

    """
    num_top = min(num_top, scores_qi.shape[1])
    discount_k = 1 / np.log2(np.arange(2, num_top + 2))
    # The best order has all positives first.
    best_q = np.cumsum(discount_k)[np.minimum(positive_qi.sum(axis=1), num_top) - 1]
    gains = [(ties.positives_i / ties.size_i)[:num_top] @ discount_k for ties in _ties(scores_qi, positive_qi)]
    ndcg_q: Floats = np.array(gains) / best_q
    return ndcg_q


def diversity(scores_qi: Floats, group_i: Ints, num_top: int = NUM_TOP) -> Floats:
    """Compute the expected number of distinct proposal groups among the first items, as a share of these.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i); higher is nearer.
    group_i : ndarray
        Group (i,) of each item.
    num_top : int
        Cutoff in items.

    Returns
    -------
    ndarray
        Share (q,) in (0, 1].

    """
    num_top = min(num_top, scores_qi.shape[1])
    threshold_q = -np.partition(-scores_qi, num_top - 1, axis=1)[:, num_top - 1]
    distinct_q = np.empty(len(scores_qi))
    for row, (scores_i, threshold) in enumerate(zip(scores_qi, threshold_q, strict=True)):
        above_i = scores_i > threshold  # certain to be among the first, whatever the order of ties
        certain = np.unique(group_i[above_i])
        tied_i = scores_i == threshold
        tied_groups, count_g = np.unique(group_i[tied_i], return_counts=True)
        # Groups that only the tie at the cutoff can add, each with the probability that one of its items is drawn.
        new_g = count_g[~np.isin(tied_groups, certain)]
        tie = TiedRanks(above_q=np.full(len(new_g), above_i.sum()), tied_q=np.full(len(new_g), tied_i.sum()),
                        positives_q=new_g, num_items=len(scores_i))  # fmt: skip
        distinct_q[row] = len(certain) + hit_probability(tie, num_top).sum()
    return distinct_q / num_top


def chance_precision_and_ndcg(positives: int, num_items: int, seed: int) -> tuple[Floats, Floats]:
    """Simulate average precision and nDCG at `NUM_TOP` of items in random order.

    Parameters
    ----------
    positives : int
        Number of right answers, at least 1.
    num_items : int
        Number of items.
    seed : int
        Seed of the random numbers; the draws also depend on both numbers.

    Returns
    -------
    tuple of ndarray
        Average precision (b,) and nDCG (b,) of `NUM_CHANCE` random orders.

    """
    rng = np.random.default_rng([seed, positives, num_items])
    rank_bp = np.sort([rng.choice(num_items, positives, replace=False) + 1 for _ in range(NUM_CHANCE)], axis=1)
    precision_bp = np.arange(1, positives + 1) / rank_bp  # precision at the rank of each positive
    gain_bp = np.where(rank_bp <= NUM_TOP, 1 / np.log2(rank_bp + 1), 0.0)
    best = float(np.sum(1 / np.log2(np.arange(2, min(positives, NUM_TOP, num_items) + 2))))
    return precision_bp.mean(axis=1), gain_bp.sum(axis=1) / best
