"""Compute metrics of a whole ranking: average precision, nDCG and diversity.

Every order of tied items counts as equally likely, as in the module `retrieval`. The value of a metric is its
expectation over these orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints, TiedRanks, hit_probability

NUM_TOP = 10
"""Number of top-ranked items that nDCG and diversity are computed from."""
NUM_CHANCE = 2000
"""Number of random orders that are simulated for each number of positives."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """The blocks of tied items of one query, with the items sorted by descending score.

    The arrays (i,) describe the block at each position of the sorted items. `size_i` is the number of items in the
    block, and `positives_i` is the number of positives in the block. `before_i` is the number of positives in all
    earlier blocks, and `within_i` is the offset of the position from the start of the block.
    """

    size_i: Ints
    positives_i: Ints
    before_i: Ints
    within_i: Ints


def _ties(scores_qi: Floats, positive_qi: Bools) -> Iterator[_Ties]:
    """Yield the blocks of tied items of each query."""
    position_i = np.arange(scores_qi.shape[1])
    for scores_i, positive_i in zip(scores_qi, positive_qi, strict=True):
        order_i = np.argsort(-scores_i, kind="stable")
        sorted_i = scores_i[order_i]
        # The suffix b names the axis of the blocks here. A block starts wherever the sorted score changes.
        starts_b = np.flatnonzero(np.r_[True, sorted_i[1:] != sorted_i[:-1]])
        size_b = np.diff(np.r_[starts_b, len(scores_i)])
        positives_b = np.add.reduceat(positive_i[order_i].astype(np.int64), starts_b)
        before_b = np.cumsum(positives_b) - positives_b
        block_i = np.repeat(np.arange(len(starts_b)), size_b)
        yield _Ties(size_b[block_i], positives_b[block_i], before_b[block_i], position_i - starts_b[block_i])


def average_precision(scores_qi: Floats, positive_qi: Bools) -> Floats:
    """Compute the expected average precision of each query: the mean of the precisions at the ranks of its positives.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i) of the items for the queries; a higher score means a better match.
    positive_qi : ndarray
        Boolean matrix (q, i), true where the item is a right answer; every row has at least one.

    Returns
    -------
    ndarray
        Average precision (q,) in (0, 1].

    Notes
    -----
    In a block of e tied items with p positives, each position holds a positive with probability p / e. Let b be the
    number of positives in earlier blocks. If the position at offset w in the block holds a positive, then
    b + 1 + w (p - 1) / (e - 1) positives are expected up to and including that position (McSherry & Najork 2008).

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
    """Compute the expected normalised discounted cumulative gain (nDCG) of each query; a positive has a gain of 1.

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
        nDCG (q,) in [0, 1]; 1 means the best possible order.

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
    """Compute the expected number of distinct proposal groups among the top-ranked items, as a share of these items.

    Parameters
    ----------
    scores_qi : ndarray
        Scores (q, i) of the items for the queries; a higher score means a better match.
    group_i : ndarray
        Proposal group (i,) of each item.
    num_top : int
        Number of top-ranked items that are counted.

    Returns
    -------
    ndarray
        Share (q,) in (0, 1].

    """
    num_top = min(num_top, scores_qi.shape[1])
    threshold_q = -np.partition(-scores_qi, num_top - 1, axis=1)[:, num_top - 1]
    distinct_q = np.empty(len(scores_qi))
    for row, (scores_i, threshold) in enumerate(zip(scores_qi, threshold_q, strict=True)):
        above_i = scores_i > threshold  # these items are among the first in every order of ties
        certain = np.unique(group_i[above_i])
        tied_i = scores_i == threshold
        tied_groups, count_g = np.unique(group_i[tied_i], return_counts=True)
        # Groups that occur only in the tie at the cutoff count with the probability that one of their items is drawn.
        new_g = count_g[~np.isin(tied_groups, certain)]
        tie = TiedRanks(above_q=np.full(len(new_g), above_i.sum()), tied_q=np.full(len(new_g), tied_i.sum()),
                        positives_q=new_g, num_items=len(scores_i))  # fmt: skip
        distinct_q[row] = len(certain) + hit_probability(tie, num_top).sum()
    return distinct_q / num_top


def chance_precision_and_ndcg(positives: int, num_items: int, seed: int) -> tuple[Floats, Floats]:
    """Simulate the average precision and the nDCG at `NUM_TOP` of a query whose items are in random order.

    Parameters
    ----------
    positives : int
        Number of right answers to the query; at least 1.
    num_items : int
        Number of items that are ranked.
    seed : int
        Seed of the random numbers; the draws also depend on `positives` and `num_items`.

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
