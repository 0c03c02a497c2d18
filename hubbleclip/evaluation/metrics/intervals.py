"""Compute 95 % confidence intervals of shares and of paired differences, from their variance over proposal groups.

The resampled variance is estimated from bootstrap resamples of whole groups. For shares near 0 or 100 %, few groups
differ from the others, and this estimate is uncertain. It is therefore averaged with the modelled variance, which
follows from the sizes of the groups and the correlation of the values within a group. The methods were chosen by their
simulated coverage and width: see `experiments/coverage/README.md`, which `make coverage` writes.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from hubbleclip.evaluation.metrics.bootstrap import TAIL
from hubbleclip.evaluation.metrics.retrieval import Counts, Floats, Ints

NORMAL_QUANTILE = 1.959964
MODEL_WEIGHT = 12.0
"""Weight of the modelled variance in the weighted mean of the modelled and the resampled variance.

The resampled variance has the weight n^2 / (n + 1). Here n is the effective number of misses: the number of independent
misses that would give the same variance.
"""
PRIOR_CORRELATION, PRIOR_WEIGHT = 0.525, 0.8
"""Assumed correlation of the values in a group, and the weight of the assumed correlation.

The modelled variance uses the weighted mean of the assumed and the estimated correlation. The estimated correlation has
the weight n^2 k. Here n is the effective number of misses, and k is the smaller of the numbers of misses and hits.
"""
GRADED_WEIGHT = 0.4
"""Weight of the modelled variance for graded values, which are not only 0 and 1.

The resampled variance has the weight n, the effective number of misses. The modelled variance is the variance that the
metric would have if each group were a single value.
"""
MIN_VARIANCE = 1e-6
"""Smallest informative variance of the values. Below it, the effective number of misses is set to 0."""
PSEUDO_DIFFERENCES = 0.5
"""Number of groups that are added to each of the four outcomes of a pair of scorers (Agresti & Min 2005)."""


def variance_of(draws_b: Floats, num_groups: int) -> float:
    """Estimate the variance of a metric from its values on bootstrap resamples."""
    return float(draws_b.var()) * num_groups / (num_groups - 1)


def correlation_of(hits_g: Counts, sizes_g: Ints) -> float:
    """Estimate the correlation between values (hits or misses) of the same group; 0 if all values are equal.

    The estimate is 1 minus the ratio of the variance within groups to the variance of all values.
    """
    num_values, num_hits = int(sizes_g.sum()), float(hits_g.sum())
    total = (num_hits - num_hits**2 / num_values) / (num_values - 1)
    within = (num_hits - float((hits_g**2 / sizes_g).sum())) / max(num_values - len(sizes_g), 1)
    return min(max(1 - within / total, 0.0), 1.0) if total > 0 else 0.0


def design_ratio(value: float, variance: float, sizes_g: Ints, correlation: float | None = None) -> float:
    """Compute the ratio of a share's variance to the variance that it would have if each group were a single value.

    The result is the weighted mean of two ratios. The first ratio is computed from `variance`. The second ratio is
    modelled, and is proportional to 1 + (m - 1) r (Kish 1965). Here m is the size of a value's group, averaged over the
    values, and r is the correlation. The weights depend on the number of misses (or hits): if this number is small,
    neither the variance nor the correlation can be estimated. If a correlation is given, `variance` is raised to the
    variance of independent values if necessary. If no correlation is given, as for graded values, the modelled ratio
    is 1.
    """
    num_groups, num_values, product = len(sizes_g), int(sizes_g.sum()), value * (1 - value)
    # With few groups the variance is uncertain. It is enlarged by the squared ratio of a Student's t quantile to the
    # normal quantile.
    variance *= (special.stdtrit(num_groups - 1, 1 - TAIL) / NORMAL_QUANTILE) ** 2
    if correlation is not None:
        variance = max(variance, product / num_values)
    misses = product**2 / variance if variance * num_values > MIN_VARIANCE else 0.0
    weight, modelled = GRADED_WEIGHT, 1.0
    if correlation is not None:
        certainty = num_values * min(value, 1 - value) * misses**2
        correlation = (certainty * correlation + PRIOR_WEIGHT * PRIOR_CORRELATION) / (certainty + PRIOR_WEIGHT)
        mean_group_of_value = float((sizes_g**2).sum()) / num_values  # averaged over the values
        weight, modelled = MODEL_WEIGHT, (1 + (mean_group_of_value - 1) * correlation) * num_groups / num_values
        # With few misses the resampled variance is uncertain. Reducing `misses` increases this variance and reduces
        # the weight of this variance.
        misses *= misses / (misses + 1)
    return float((num_groups * product + weight * modelled) / (misses + weight))


def share_interval(
    value: float, variance: float, sizes_g: Ints, correlation: float | None = None
) -> tuple[float, float]:
    """Compute the 95 % interval of a share; its width is above 0 even if all values are hits or all values are misses.

    The interval is the exact one of Clopper & Pearson 1934 for `num_groups / design_ratio` trials. The usual number of
    trials is p (1 - p) / variance, times a factor of Student's t (Korn & Graubard 1998, Survey Methodology 24, p. 193;
    Parker et al. 2017, Vital and Health Statistics 2(175)). This number is not used here: it is undefined if all values
    are equal, and it gives too narrow an interval if few values differ.
    """
    num_trials = len(sizes_g) / design_ratio(value, variance, sizes_g, correlation)
    num_hits = num_trials * value
    low = special.betaincinv(num_hits, num_trials - num_hits + 1, TAIL) if value > 0 else 0.0
    high = special.betaincinv(num_hits + 1, num_trials - num_hits, 1 - TAIL) if value < 1 else 1.0
    return float(low), float(high)


def difference_interval(value: float, variance: float, num_groups: int, ratio: float) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two scorers' shares; its width is above 0 even if no hits differ.

    This is the adjusted Wald interval of Agresti & Min 2005 (Statistics in Medicine 24, p. 729). Half a group is added
    to each of the four outcomes: both scorers hit, neither scorer hits, only the first hits, only the second hits.
    All values of an added group have the same outcome, but in a real group the two scorers differ on few values. The
    variance that the added groups contribute is therefore multiplied by `ratio`. The interval is extended to contain
    `value` if necessary.
    """
    padded_groups = num_groups + 4 * PSEUDO_DIFFERENCES
    centre = value * num_groups / padded_groups
    added = num_groups * (value - centre) ** 2 + 2 * PSEUDO_DIFFERENCES * (1 + 2 * centre**2)
    reach = NORMAL_QUANTILE * math.sqrt(num_groups**2 * variance + ratio * added) / padded_groups
    return max(min(centre - reach, value), -1.0), min(max(centre + reach, value), 1.0)


def percentile_interval(draws_b: Floats, num_groups: int) -> tuple[float, float]:
    """Compute the 95 % interval of a metric that is not a share, by expanded percentiles of its resampled values.

    Plain percentiles are too narrow if the number n of groups is small. A quantile of Student's t distribution
    therefore replaces the normal quantile, and the variance is multiplied by n / (n - 1) (Hesterberg 2015,
    arXiv 1411.5279, section 5.3).
    """
    num_sigmas = math.sqrt(num_groups / (num_groups - 1)) * special.stdtrit(num_groups - 1, 1 - TAIL)
    tail = special.ndtr(-num_sigmas)
    low, high = np.quantile(draws_b, [tail, 1 - tail])
    return float(low), float(high)
