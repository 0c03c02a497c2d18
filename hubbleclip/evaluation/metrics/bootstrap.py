"""95 % intervals by resampling whole proposal groups.

Tiles of a group share a caption and often a field, so that they are not independent: resampling tiles would give
intervals that are too narrow. Every scorer gets the same draws, so differences between scorers are paired.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

TAIL = 0.025


def draw_weights(num_groups: int, num_resamples: int, seed: int) -> Ints:
    """How often each group stands in each resample: (b, g) counts, every row adding up to `num_groups`."""
    rng = np.random.default_rng(seed)
    weights_bg: Ints = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples)
    return weights_bg


def resampled_means(values_qm: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Means (b, m) of m columns of values over the queries of each resample; a drawn group brings all its queries."""
    num_groups = weights_bg.shape[1]
    sums_gm = np.zeros((num_groups, values_qm.shape[1]))
    np.add.at(sums_gm, group_q, values_qm)
    counts_g = np.bincount(group_q, minlength=num_groups)
    means_bm: Floats = (weights_bg @ sums_gm) / np.maximum(weights_bg @ counts_g, 1)[:, None]
    return means_bm


def resampled_medians(values_q: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Medians (b,) over the queries of each resample; an even count takes the mean of the two in the middle."""
    order_q = np.argsort(values_q, kind="stable")
    total_bq = np.cumsum(weights_bg[:, group_q[order_q]], axis=1)
    half_b = total_bq[:, -1:] / 2
    lower_b = np.argmax(total_bq >= half_b, axis=1)
    upper_b = np.argmax(total_bq > half_b, axis=1)
    medians_b: Floats = (values_q[order_q[lower_b]] + values_q[order_q[upper_b]]) / 2
    return medians_b


def tail_share(num_groups: int) -> float:
    """Share of resamples outside either end of the interval.

    Plain percentiles are too narrow for few groups; Student's t and the factor n / (n - 1) of the variance widen them
    (the expanded percentile interval of Hesterberg 2015, arXiv 1411.5279, section 5.3).
    """
    reach = np.sqrt(num_groups / (num_groups - 1)) * stats.t.ppf(1 - TAIL, num_groups - 1)
    return float(stats.norm.cdf(-reach))


def interval(estimates_b: Floats, num_groups: int) -> tuple[float, float]:
    """95 % interval from resampled estimates of `num_groups` groups (two or more)."""
    tail = tail_share(num_groups)
    low, high = np.quantile(estimates_b, [tail, 1 - tail])
    return float(low), float(high)


def share_interval(estimates_b: Floats, num_groups: int) -> tuple[float, float]:
    """95 % interval of a share. Where every resample says 0 or every one says 1, the bootstrap knows no width; the
    exact binomial bound of Clopper and Pearson for so many agreeing groups stands in.
    """
    low, high = interval(estimates_b, num_groups)
    bound = float(TAIL ** (1 / num_groups))
    if low == high == 1.0:
        return bound, 1.0
    if low == high == 0.0:
        return 0.0, 1.0 - bound
    return low, high


def reach_over_seeds(value_s: Floats, draws_b: Floats, num_groups: int) -> float:
    """Half the width of the 95 % interval of a mean over seeds, from each seed's value and resamples of the mean.

    The variances of resampled groups and between seeds add up. Three seeds drawn from each other would say too little
    of their own, so that Student's t stands in, with the degrees of freedom of such a sum (Satterthwaite 1946).
    """
    num_seeds = len(value_s)
    of_groups = draws_b.var() * num_groups / (num_groups - 1)
    of_seeds = value_s.var(ddof=1) / num_seeds if num_seeds > 1 else 0.0
    total = of_groups + of_seeds
    if total == 0:
        return 0.0
    freedom = total**2 / (of_groups**2 / (num_groups - 1) + of_seeds**2 / max(1, num_seeds - 1))
    return float(stats.t.ppf(1 - TAIL, freedom) * np.sqrt(total))
