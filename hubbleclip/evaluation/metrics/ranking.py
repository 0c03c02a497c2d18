"""Figures of a whole ranking: average precision, nDCG, diversity. Tied items count as in `retrieval`: every order of
them is equally likely, and a figure is its expectation over these orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hubbleclip.evaluation.metrics.retrieval import Bools, Floats, Ints, Ranking, hit_probability

TOP = 10
"""Items that nDCG and diversity look at."""
NUM_CHANCE = 2000
"""Random orders simulated for each number of positives."""


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """A query's items by falling score: for each place (i,) the size of its block of ties, the positives in it and in
    the blocks before, and how many places of the block come before this one.
    """

    size_i: Ints
    positives_i: Ints
    before_i: Ints
    within_i: Ints


def _places(scores_qi: Floats, positive_qi: Bools) -> Iterator[_Places]:
    place_i = np.arange(scores_qi.shape[1])
    for scores_i, positive_i in zip(scores_qi, positive_qi, strict=True):
        order_i = np.argsort(-scores_i, kind="stable")
        sorted_i = scores_i[order_i]
        starts_b = np.flatnonzero(np.r_[True, sorted_i[1:] != sorted_i[:-1]])
        size_b = np.diff(np.r_[starts_b, len(scores_i)])
        positives_b = np.add.reduceat(positive_i[order_i].astype(np.int64), starts_b)
        before_b = np.cumsum(positives_b) - positives_b
        block_i = np.repeat(np.arange(len(starts_b)), size_b)
        yield _Places(size_b[block_i], positives_b[block_i], before_b[block_i], place_i - starts_b[block_i])


def average_precision(scores_qi: Floats, positive_qi: Bools) -> Floats:
    """Average precision (q,) to expect: the mean, over a query's positives, of the precision at their ranks.

    At place i of a block of e ties with p positives after b others, a positive stands with probability p / e, and then
    b + 1 + w (p - 1) / (e - 1) positives stand up to it, w the places of the block before it (McSherry & Najork 2008).
    """
    place_i = np.arange(1, scores_qi.shape[1] + 1)
    total_q = positive_qi.sum(axis=1)
    sums = [
        float(np.sum(
            at.positives_i / at.size_i
            * (at.before_i + 1 + at.within_i * (at.positives_i - 1) / np.maximum(at.size_i - 1, 1)) / place_i
        ))
        for at in _places(scores_qi, positive_qi)
    ]  # fmt: skip
    precision_q: Floats = np.array(sums) / total_q
    return precision_q


def ndcg(scores_qi: Floats, positive_qi: Bools, num_top: int = TOP) -> Floats:
    """Normalised discounted gain (q,) at `num_top`, 1 for a positive, over that of the best order
    (Jarvelin & Kekalainen 2002).
    """
    num_top = min(num_top, scores_qi.shape[1])
    discount_k = 1 / np.log2(np.arange(2, num_top + 2))
    best_p = np.cumsum(discount_k)[np.minimum(positive_qi.sum(axis=1), num_top) - 1]
    gains = [(at.positives_i / at.size_i)[:num_top] @ discount_k for at in _places(scores_qi, positive_qi)]
    ndcg_q: Floats = np.array(gains) / best_p
    return ndcg_q


def diversity(scores_qi: Floats, group_i: Ints, num_top: int = TOP) -> Floats:
    """Distinct proposal groups (q,) to expect among the first `num_top` items, as a share of `num_top`."""
    num_top = min(num_top, scores_qi.shape[1])
    threshold_q = -np.partition(-scores_qi, num_top - 1, axis=1)[:, num_top - 1]
    distinct = np.empty(len(scores_qi))
    for row, (scores_i, threshold) in enumerate(zip(scores_qi, threshold_q, strict=True)):
        above_i = scores_i > threshold
        seen = np.unique(group_i[above_i])
        tied_i = scores_i == threshold
        rest, count_g = np.unique(group_i[tied_i], return_counts=True)
        open_g = count_g[~np.isin(rest, seen)]
        tie = Ranking(above_q=np.full(len(open_g), above_i.sum()), tied_q=np.full(len(open_g), tied_i.sum()),
                      positives_q=open_g, num_items=len(scores_i))  # fmt: skip
        distinct[row] = len(seen) + hit_probability(tie, num_top).sum()
    return distinct / num_top


def chance_values(positives: int, num_items: int, seed: int) -> tuple[Floats, Floats]:
    """Average precision and nDCG (b,) of simulated random orders of `num_items` items, `positives` of them wanted."""
    rng = np.random.default_rng([seed, positives, num_items])
    rank_bp = np.sort([rng.choice(num_items, positives, replace=False) + 1 for _ in range(NUM_CHANCE)], axis=1)
    precision_bp = np.arange(1, positives + 1) / rank_bp
    gain_bp = np.where(rank_bp <= TOP, 1 / np.log2(rank_bp + 1), 0.0)
    best = float(np.sum(1 / np.log2(np.arange(2, min(positives, TOP, num_items) + 2))))
    return precision_bp.mean(axis=1), gain_bp.sum(axis=1) / best
