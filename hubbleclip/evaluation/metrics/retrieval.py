"""Compute retrieval metrics from the rank of each query's best positive among all items.

A positive is an item that is a right answer to the query. Each query has at least one positive. The best positive is
the positive with the highest score. Items with equal scores count as if they were in random order: metrics are
expectations over all orders of tied items. A scorer that gives every item the same score therefore gets exactly the
metrics of chance.

The suffix of an array's name gives its axes: q for queries, i for items, t for tiles, c for captions, g for groups,
b for resamples, and d for feature dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from hubbleclip.core.errors import EvaluationError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer[Any] | np.floating[Any]]
"""Whole numbers, stored as integers or as floating-point numbers."""

Number = TypeVar("Number", int, Ints, int | Ints)

PERCENTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""Cutoffs of the retrieval curve, in per cent of the items."""
RECALLS = (1, 5, 10)
"""Cutoffs of recall, as numbers of items."""
SCORE_STEP = 1e-6
"""Cosine similarities are rounded to multiples of this value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiedRanks:
    """The rank of each query's best positive among `num_items` items, described by three counts of shape (q,).

    `above_q` is the number of items that score higher than the best positive. `tied_q` is the number of items that have
    the same score as the best positive, including the best positive. `positives_q` is the number of positives among the
    tied items. On resamples, the counts have shape (q, b) and `num_items` has shape (b,).
    """

    above_q: Counts
    tied_q: Counts
    positives_q: Counts
    num_items: Any  # int or Ints


def cosine_scores(feat_qd: Floats, feat_id: Floats) -> Floats:
    """Compute cosine similarities, rounded to multiples of `SCORE_STEP`."""
    # Products of equal features may differ in their last bits. Rounding makes such products equal on every machine.
    return np.rint(feat_qd.astype(np.float64) @ feat_id.astype(np.float64).T / SCORE_STEP) * SCORE_STEP


def top_count(percent: int, num_items: Number) -> Number:
    """Compute the number of items in the top `percent` %.

    The number is rounded down, because rounding up would make the metric too high. The result is at least 1.
    """
    count: Number = np.maximum(1, percent * num_items // 100)
    return count


def hit_cutoffs(direction: str, num_items: Number) -> dict[str, Number]:
    """Compute the cutoff of each accuracy and recall of one direction, as a number of top-ranked items."""
    accuracies = {f"{direction}_accuracy_at_{percent}pct": top_count(percent, num_items) for percent in PERCENTS}
    return accuracies | {f"{direction}_recall_at_{count}": np.minimum(count, num_items) for count in RECALLS}


def best_positive_scores(scores_qi: Floats, positive_qi: Bools) -> Floats:
    """Find the score of each query's best positive."""
    best_q: Floats = np.where(positive_qi, scores_qi, -np.inf).max(axis=1)
    is_bad_q = ~np.isfinite(best_q) | np.isnan(scores_qi).any(axis=1)
    if is_bad_q.any():
        raise EvaluationError(f"the scores of query {np.argmax(is_bad_q)} are not finite: check its features")
    return best_q


def rank_best_positives(scores_qi: Floats, positive_qi: Bools) -> TiedRanks:
    """Compute the rank of each query's best positive among all items."""
    best_q = best_positive_scores(scores_qi, positive_qi)
    tied_qi = scores_qi == best_q[:, None]
    return TiedRanks(
        above_q=(scores_qi > best_q[:, None]).sum(axis=1),
        tied_q=tied_qi.sum(axis=1),
        positives_q=(tied_qi & positive_qi).sum(axis=1),
        num_items=scores_qi.shape[1],
    )


def hit_probability(ranks: TiedRanks, num_top: int | Ints) -> Floats:
    """Compute the probability that at least one positive is among the first `num_top` items.

    Tied items count as if they were in random order.

    Let e be the number of items that are tied with the best positive, p the number of positives among these e items,
    and m the number of these e items among the first `num_top`. The probability is then 1 - C(e - p, m) / C(e, m), by
    the hypergeometric distribution. Factorials of large numbers overflow, so the binomial coefficients C are computed
    by log-gamma functions.
    """
    drawn_q = np.clip(num_top - ranks.above_q, 0, ranks.tied_q)  # tied items that are among the first num_top
    negatives_q = ranks.tied_q - ranks.positives_q
    # If no tied item is drawn, the query misses. If more tied items are drawn than there are negatives, at least one
    # drawn item is a positive.
    is_open_q = (drawn_q > 0) & (drawn_q <= negatives_q)
    drawn, negatives, tied = (
        counts_q[is_open_q].astype(np.float64) for counts_q in (drawn_q, negatives_q, ranks.tied_q)
    )
    log_miss = gammaln(negatives + 1) - gammaln(negatives - drawn + 1) + gammaln(tied - drawn + 1) - gammaln(tied + 1)
    hit_q = (drawn_q > 0).astype(np.float64)
    hit_q[is_open_q] = np.round(1.0 - np.exp(log_miss), 12)
    return hit_q


def expected_rank(ranks: TiedRanks) -> Floats:
    """Compute the expected rank of each query's best positive, with tied items in random order.

    The smallest of p numbers drawn without replacement from 1 to e has the mean (e + 1) / (p + 1).
    """
    return np.asarray(ranks.above_q + (ranks.tied_q + 1) / (ranks.positives_q + 1), dtype=np.float64)


def expected_recall(scores_qi: Floats, positive_qi: Bools, num_top: int) -> Floats:
    """Compute the expected share of each query's positives that are among its first `num_top` items.

    Tied items count as if they were in random order.
    """
    share_q = np.empty(len(scores_qi))
    for row, (scores_i, positive_i) in enumerate(zip(scores_qi, positive_qi, strict=True)):
        ascending_i = np.sort(scores_i)
        below_p = np.searchsorted(ascending_i, scores_i[positive_i], side="left")
        upto_p = np.searchsorted(ascending_i, scores_i[positive_i], side="right")
        # The items with higher scores come first. The tied items, including the positive, are in random order in the
        # next places. The probability that the positive is among the first `num_top` items is the number of these
        # places that are among the first `num_top`, divided by the number of tied items.
        share_q[row] = np.clip((num_top - (len(scores_i) - upto_p)) / (upto_p - below_p), 0.0, 1.0).mean()
    return share_q
