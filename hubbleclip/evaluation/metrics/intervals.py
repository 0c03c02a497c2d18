"""Compute 95 % confidence intervals of shares and of paired differences, from their variance over proposal groups.

The variance is that of bootstrap resamples of whole groups. Near 0 and 100 % few groups differ from the others, and
their variance says little. Both intervals therefore add a few pseudo-groups to the variance, and none to the value. The
methods were chosen by their simulated coverage: see `experiments/coverage/README.md`, which `make coverage` writes.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from hubbleclip.evaluation.metrics.bootstrap import TAIL
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

NORMAL_QUANTILE = 1.959964
PSEUDO_GROUPS = NORMAL_QUANTILE**2 / 2
"""Number of groups of hits, and of groups of misses, that are added to the variance of a share (Agresti & Coull 1998).
"""
PSEUDO_DIFFERENCES = 0.5
"""Number of groups that are added to each of the four outcomes of a pair of scorers (Agresti & Min 2005)."""
PRIOR_CORRELATION = 0.5
"""Assumed correlation between the values of one pseudo-group."""


def variance_of(draws_b: Floats, num_groups: int) -> float:
    """Estimate the variance of a metric from its values on bootstrap resamples."""
    return float(draws_b.var()) * num_groups / (num_groups - 1)


def design_ratio(value: float, variance: float, sizes_g: Ints) -> float:
    """Compute the ratio of a share's variance to the variance that it would have if each group were a single value.

    `PSEUDO_GROUPS` groups of hits and as many groups of misses are added to both variances. The values of these groups
    have the correlation `PRIOR_CORRELATION`, and their size is that of the group of a random value. The pseudo-groups
    hardly change the ratio if there are many hits and misses, and dominate it if there are too few to estimate it.

    The estimated variance is multiplied by (t(g - 1) / t(n - 1))^2, with quantiles of Student's t for g groups and n
    values; Korn & Graubard divide the number of trials by this factor (see `share_interval`).
    """
    num_groups, num_values = len(sizes_g), int(sizes_g.sum())
    padded = (num_groups * value + PSEUDO_GROUPS) / (num_groups + 2 * PSEUDO_GROUPS)
    seen = num_groups * value * (1 - value)
    added = (num_groups + 2 * PSEUDO_GROUPS) * padded * (1 - padded) - seen
    mean_group_of_value = float((sizes_g**2).sum()) / num_values  # the size of the group of a random value
    prior = (1 + (mean_group_of_value - 1) * PRIOR_CORRELATION) * num_groups / num_values
    t_of_groups, t_of_values = special.stdtrit([num_groups - 1, num_values - 1], 1 - TAIL)
    return float((num_groups**2 * variance * (t_of_groups / t_of_values) ** 2 + prior * added) / (seen + added))


def share_interval(value: float, variance: float, sizes_g: Ints) -> tuple[float, float]:
    """Compute the 95 % interval of a share; it has a width even if every value is a hit, or every value a miss.

    The interval is the exact one of Clopper & Pearson 1934 for `num_groups / design_ratio` trials: the interval of
    Korn & Graubard 1998 (Survey Methodology 24, p. 193), which the National Center for Health Statistics prescribes for
    shares from clusters (Parker et al. 2017, Vital and Health Statistics 2(175)). Korn & Graubard take
    p (1 - p) / variance trials, times (t(n - 1) / t(g - 1))^2 for n values in g groups. Their interval is undefined if
    all values are equal, and too narrow if few values differ, because it trusts a variance estimated from these few.
    """
    num_trials = len(sizes_g) / design_ratio(value, variance, sizes_g)
    num_hits = num_trials * value
    low = special.betaincinv(num_hits, num_trials - num_hits + 1, TAIL) if value > 0 else 0.0
    high = special.betaincinv(num_hits + 1, num_trials - num_hits, 1 - TAIL) if value < 1 else 1.0
    return float(low), float(high)


def difference_interval(value: float, variance: float, num_groups: int, ratio: float) -> tuple[float, float]:
    """Compute the 95 % interval of the paired difference of two shares; it has a width even if the two never differ.

    This is the adjusted Wald interval of Agresti & Min 2005 (Statistics in Medicine 24, p. 729): half a group is added
    to each of the four outcomes (both scorers hit, neither, only the first, only the second). The variance
    that these half-groups contribute is multiplied by `ratio`. Otherwise they would count as if the scorers differed on
    all values of a group, which is rare.
    """
    padded_groups = num_groups + 4 * PSEUDO_DIFFERENCES
    centre = value * num_groups / padded_groups
    added = num_groups * (value - centre) ** 2 + 2 * PSEUDO_DIFFERENCES * (1 + 2 * centre**2)
    reach = NORMAL_QUANTILE * math.sqrt(num_groups**2 * variance + ratio * added) / padded_groups
    return max(centre - reach, -1.0), min(centre + reach, 1.0)


def percentile_interval(draws_b: Floats, num_groups: int) -> tuple[float, float]:
    """Compute the 95 % interval of a metric that is not a share, by expanded percentiles of its resampled values.

    Plain percentiles are too narrow if the number n of groups is small. The quantile of Student's t therefore replaces
    that of the normal distribution, and the variance is multiplied by n / (n - 1) (Hesterberg 2015, arXiv 1411.5279,
    section 5.3).
    """
    num_sigmas = math.sqrt(num_groups / (num_groups - 1)) * special.stdtrit(num_groups - 1, 1 - TAIL)
    tail = special.ndtr(-num_sigmas)
    low, high = np.quantile(draws_b, [tail, 1 - tail])
    return float(low), float(high)
