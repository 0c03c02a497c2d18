"""Compute metrics on resamples of whole proposal groups (cluster bootstrap), as input of the module `intervals`.

Tiles of one group share a caption and often a field of view, so these tiles are not independent. Resampling single
tiles would give intervals that are too narrow. Every scorer gets the same resamples, so that differences between
scorers are paired.
"""

from __future__ import annotations

import numpy as np

from hubbleclip.config.model import BOOTSTRAP_SEED
from hubbleclip.evaluation.metrics.retrieval import (
    Bools,
    Floats,
    Ints,
    TiedRanks,
    best_positive_scores,
    expected_rank,
    hit_cutoffs,
    hit_probability,
)

TAIL = 0.025
"""Probability below the lower end of a 95 % interval, and above its upper end."""
RESAMPLES_PER_BLOCK = 100
"""Number of resamples whose ranks are in memory at once."""


def draw_weights(num_groups: int, num_resamples: int, seed: int = BOOTSTRAP_SEED) -> Ints:
    """Draw bootstrap resamples of the groups; a resample is described by the number of copies of each group."""
    shares_g = np.full(num_groups, 1 / num_groups)
    return np.asarray(np.random.default_rng(seed).multinomial(num_groups, shares_g, size=num_resamples))


def resampled_means(values_qm: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Compute the mean of each metric over the queries of each resample; the result has the shape (b, m)."""
    num_groups = weights_bg.shape[1]
    # The values are first summed per group. One small matrix product then gives the means of all resamples.
    sums_gm = np.zeros((num_groups, values_qm.shape[1]))
    np.add.at(sums_gm, group_q, values_qm)
    counts_g = np.bincount(group_q, minlength=num_groups)  # number of queries per group
    return np.asarray((weights_bg @ sums_gm) / np.maximum(weights_bg @ counts_g, 1)[:, None])


def resampled_medians(values_qb: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Compute the median over the queries of each resample; the result has the shape (b,)."""
    order_qb = np.argsort(values_qb, axis=0, kind="stable")
    sorted_qb = np.take_along_axis(values_qb, order_qb, axis=0)
    copies_qb = np.take_along_axis(weights_bg.T[group_q], order_qb, axis=0)
    total_qb = np.cumsum(copies_qb, axis=0)  # number of copies of this value and all lower values
    half_b = total_qb[-1] / 2
    lower_b = np.argmax(total_qb >= half_b, axis=0)
    upper_b = np.argmax(total_qb > half_b, axis=0)  # may differ from lower_b only if the number of queries is even
    resamples = np.arange(len(weights_bg))
    return np.asarray((sorted_qb[lower_b, resamples] + sorted_qb[upper_b, resamples]) / 2)


def resampled_retrieval(
    direction: str, scores_qi: Floats, positive_qi: Bools, group_q: Ints, group_i: Ints, *, weights_bg: Ints
) -> dict[str, Floats]:
    """Compute mean hits and ranks on resamples of the groups; a resample has the queries and the items of its groups.

    If a resample contains a group twice, each query of the group counts twice, and each item of the group is ranked
    twice. The interval therefore also covers the random choice of the items of the test set.
    """
    best_q1 = best_positive_scores(scores_qi, positive_qi)[:, None]
    is_tied_qi = scores_qi == best_q1
    items_ig = (group_i[:, None] == np.arange(weights_bg.shape[1])).astype(np.float32)
    # Counts of at most 2^24 are exact in float32, in which the matrix products are fast.
    above_qg, tied_qg, positives_qg = (
        is_counted_qi.astype(np.float32) @ items_ig
        for is_counted_qi in (scores_qi > best_q1, is_tied_qi, is_tied_qi & positive_qi)
    )
    blocks = []
    for start in range(0, len(weights_bg), RESAMPLES_PER_BLOCK):
        block_bg = weights_bg[start : start + RESAMPLES_PER_BLOCK]
        weights_gb = block_bg.T.astype(np.float32)
        ranks = TiedRanks(
            above_q=above_qg @ weights_gb,
            tied_q=tied_qg @ weights_gb,
            positives_q=positives_qg @ weights_gb,
            num_items=block_bg @ np.bincount(group_i, minlength=weights_bg.shape[1]),
        )
        values = {name: hit_probability(ranks, top) for name, top in hit_cutoffs(direction, ranks.num_items).items()}
        rank_qb = expected_rank(ranks)
        values[f"{direction}_normalised_rank"] = rank_qb / ranks.num_items
        copies_qb = block_bg.T[group_q]
        num_queries_b = np.maximum(copies_qb.sum(axis=0), 1)
        means = {name: (copies_qb * values_qb).sum(axis=0) / num_queries_b for name, values_qb in values.items()}
        blocks.append(means | {f"{direction}_median_rank": resampled_medians(rank_qb, group_q, block_bg)})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
