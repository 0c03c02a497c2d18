"""Compute 95 % confidence intervals by resampling whole proposal groups (cluster bootstrap).

Tiles of one group share a caption and often a field of view, so these tiles are not independent. Resampling single
tiles would give intervals that are too narrow. Every scorer gets the same resamples, so that differences between
scorers are paired.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

TAIL = 0.025
"""Probability that a 95 % interval excludes at each of its two ends."""


def draw_weights(num_groups: int, num_resamples: int, seed: int) -> Ints:
    """Draw bootstrap resamples of the groups; a resample is described by the number of copies of each group.

    Parameters
    ----------
    num_groups : int
        Number g of groups.
    num_resamples : int
        Number b of resamples.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    ndarray
        Number (b, g) of copies of each group in each resample; each row has the sum `num_groups`.

    """
    rng = np.random.default_rng(seed)
    weights_bg: Ints = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples)
    return weights_bg


def resampled_means(values_qm: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Compute the mean of each metric over the queries of each resample; each copy of a group has all its queries.

    Parameters
    ----------
    values_qm : ndarray
        Values (q, m) of m metrics for q queries.
    group_q : ndarray
        Group (q,) of each query.
    weights_bg : ndarray
        Number (b, g) of copies of each group in each bootstrap resample.

    Returns
    -------
    ndarray
        Means (b, m); 0 for a resample without queries.

    """
    num_groups = weights_bg.shape[1]
    # The values are first summed per group. One small matrix product then gives the means of all resamples.
    sums_gm = np.zeros((num_groups, values_qm.shape[1]))
    np.add.at(sums_gm, group_q, values_qm)
    counts_g = np.bincount(group_q, minlength=num_groups)  # number of queries per group
    means_bm: Floats = (weights_bg @ sums_gm) / np.maximum(weights_bg @ counts_g, 1)[:, None]
    return means_bm


def resampled_medians(values_q: Floats, group_q: Ints, weights_bg: Ints) -> Floats:
    """Compute the median over the queries of each resample; for an even number of queries, the mean of the middle two.

    Parameters
    ----------
    values_q : ndarray
        Value (q,) of each query.
    group_q : ndarray
        Group (q,) of each query.
    weights_bg : ndarray
        Number (b, g) of copies of each group in each bootstrap resample.

    Returns
    -------
    ndarray
        Median (b,) of each resample.

    """
    order_q = np.argsort(values_q, kind="stable")
    total_bq = np.cumsum(weights_bg[:, group_q[order_q]], axis=1)  # number of copies of this value and all lower values
    half_b = total_bq[:, -1:] / 2
    lower_b = np.argmax(total_bq >= half_b, axis=1)
    upper_b = np.argmax(total_bq > half_b, axis=1)  # may differ from lower_b only if the number of queries is even
    medians_b: Floats = (values_q[order_q[lower_b]] + values_q[order_q[upper_b]]) / 2
    return medians_b


def tail_share(num_groups: int) -> float:
    """Compute the share of resamples that the 95 % interval excludes at each of its two ends.

    Parameters
    ----------
    num_groups : int
        Number of groups, at least 2.

    Returns
    -------
    float
        Share in (0, 0.025); smaller for fewer groups.

    Notes
    -----
    Plain percentile intervals are too narrow if the number n of groups is small. The quantile of Student's t
    therefore replaces that of the normal distribution, and the variance is multiplied by n / (n - 1). The result is the
    expanded percentile interval of Hesterberg 2015 (arXiv 1411.5279, section 5.3).

    """
    num_sigmas = np.sqrt(num_groups / (num_groups - 1)) * stats.t.ppf(1 - TAIL, num_groups - 1)
    return float(stats.norm.cdf(-num_sigmas))


def percentile_interval(estimates_b: Floats, num_groups: int) -> tuple[float, float]:
    """Compute the 95 % interval of a metric from its resampled values, as an expanded percentile interval.

    Parameters
    ----------
    estimates_b : ndarray
        Resampled values (b,) of a metric.
    num_groups : int
        Number of groups that were resampled, at least 2.

    Returns
    -------
    tuple of float
        Lower and upper end of the 95 % interval.

    """
    tail = tail_share(num_groups)
    low, high = np.quantile(estimates_b, [tail, 1 - tail])
    return float(low), float(high)


def proportion_interval(estimates_b: Floats, num_groups: int) -> tuple[float, float]:
    """Compute the 95 % interval of a proportion; it is wider than 0 even if all resamples are 0 or all are 1.

    Parameters
    ----------
    estimates_b : ndarray
        Resampled values (b,) of the proportion, in [0, 1].
    num_groups : int
        Number of groups that were resampled, at least 2.

    Returns
    -------
    tuple of float
        Lower and upper end of the 95 % interval, in [0, 1].

    Notes
    -----
    If all resamples are 0 or all are 1, the bootstrap interval has no width. The exact binomial bound of Clopper &
    Pearson (1934) is then used, for `num_groups` trials with the same outcome.

    """
    low, high = percentile_interval(estimates_b, num_groups)
    bound = float(TAIL ** (1 / num_groups))  # the proportion p for which n equal outcomes have probability p^n = 2.5 %
    if low == high == 1.0:
        return bound, 1.0
    if low == high == 0.0:
        return 0.0, 1.0 - bound
    return low, high
