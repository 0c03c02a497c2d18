"""Intervals of a share from clusters that were compared; the chosen one is `share_interval` of the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from hubbleclip.evaluation.metrics.bootstrap import TAIL
from hubbleclip.evaluation.metrics.intervals import correlation_of, share_interval
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

Interval = tuple[Floats, Floats]
"""Lower and upper ends (p,) of the intervals of p test sets."""
MIDDLE = (0.1, 0.9)
"""Values between which the candidate `percentile and Korn-Graubard` uses percentiles."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Test sets: number of tiles and of hits of each group (p, g), and copies (b, g) of each group in the resamples."""

    tiles_pg: Ints
    hits_pg: Ints
    weights_bg: Floats

    @property
    def num_groups(self) -> int:
        """Number of groups of each test set."""
        return int(self.tiles_pg.shape[1])

    @property
    def value_p(self) -> Floats:
        """Share (p,) of hits."""
        return np.asarray(self.hits_pg.sum(axis=1) / self.tiles_pg.sum(axis=1), dtype=np.float64)

    @cached_property
    def draws_pb(self) -> Floats:
        """Share (p, b) of hits on each resample."""
        draws_pb: Floats = (self.hits_pg @ self.weights_bg.T) / (self.tiles_pg @ self.weights_bg.T)
        return draws_pb

    @property
    def residuals_pg(self) -> Floats:
        """Contribution (p, g) of each group to the error of the share."""
        residuals_pg = self.hits_pg - self.value_p[:, None] * self.tiles_pg
        return np.asarray(residuals_pg / self.tiles_pg.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def variance_p(self) -> Floats:
        """Variance (p,) of the share over resamples of the groups."""
        variance_p: Floats = self.draws_pb.var(axis=1) * self.num_groups / (self.num_groups - 1)
        return variance_p

    @property
    def correlation_p(self) -> list[float]:
        """Estimated correlation (p,) of the hits of a group."""
        return [correlation_of(*case) for case in zip(self.hits_pg, self.tiles_pg, strict=True)]

    @property
    def student_t(self) -> float:
        """Quantile of Student's t for the number of groups."""
        return float(special.stdtrit(self.num_groups - 1, 1 - TAIL))


def percentile(sample: Sample) -> Interval:
    """Take the percentiles of the resampled values."""
    low_p, high_p = np.quantile(sample.draws_pb, [TAIL, 1 - TAIL], axis=1)
    return low_p, high_p


def expanded_percentile(sample: Sample) -> Interval:
    """Take expanded percentiles, and the exact bound where all groups agree."""
    size = sample.num_groups
    tail = special.ndtr(-np.sqrt(size / (size - 1)) * sample.student_t)
    low_p, high_p = np.quantile(sample.draws_pb, [tail, 1 - tail], axis=1)
    bound = TAIL ** (1 / size)
    return np.where(low_p == 1, bound, low_p), np.where(high_p == 0, 1 - bound, high_p)


def bias_corrected(sample: Sample) -> Interval:
    """Correct the percentiles for bias and acceleration (BCa; Efron 1987)."""
    draws_pb, value_p1, residuals_pg = np.sort(sample.draws_pb, axis=1), sample.value_p[:, None], sample.residuals_pg
    below_p = (draws_pb < value_p1).mean(axis=1) + (draws_pb == value_p1).mean(axis=1) / 2
    bias_p = special.ndtri(np.clip(below_p, 1e-3, 1 - 1e-3))
    spread_p = np.maximum((residuals_pg**2).sum(axis=1), 1e-30)
    acceleration_p = (residuals_pg**3).sum(axis=1) / (6 * spread_p**1.5)
    ends = []
    for quantile in special.ndtri([TAIL, 1 - TAIL]):
        shifted_p = bias_p + quantile
        share_p = special.ndtr(bias_p + shifted_p / (1 - acceleration_p * shifted_p))
        index_p1 = np.rint(share_p * (draws_pb.shape[1] - 1)).astype(int)[:, None]
        ends.append(np.take_along_axis(draws_pb, index_p1, axis=1)[:, 0])
    return ends[0], ends[1]


def studentised(sample: Sample) -> Interval:
    """Take the percentiles of the resampled t statistics (bootstrap-t); infinite ones count as 0."""
    tiles_pg, hits_pg, weights_gb, draws_pb = sample.tiles_pg, sample.hits_pg, sample.weights_bg.T, sample.draws_pb
    squares_pb = (hits_pg**2) @ weights_gb - 2 * draws_pb * ((hits_pg * tiles_pg) @ weights_gb)
    squares_pb += draws_pb**2 * ((tiles_pg**2) @ weights_gb)
    error_pb = np.sqrt(np.maximum(squares_pb, 0)) / (tiles_pg @ weights_gb)
    excess_pb = draws_pb - sample.value_p[:, None]
    t_pb = np.divide(excess_pb, error_pb, out=np.zeros_like(excess_pb), where=error_pb > 1e-9)
    low_p, high_p = np.quantile(t_pb, [TAIL, 1 - TAIL], axis=1)
    error_p = np.sqrt((sample.residuals_pg**2).sum(axis=1))
    return np.maximum(sample.value_p - high_p * error_p, 0), np.minimum(sample.value_p - low_p * error_p, 1)


def effective_size(sample: Sample) -> Floats:
    """Compute the number (p,) of independent values with the same variance; the number of groups if all agree."""
    value_p = sample.value_p
    is_mixed_p = (value_p > 0) & (value_p < 1)
    size_p = np.full(len(value_p), float(sample.num_groups))
    np.divide(value_p * (1 - value_p), sample.variance_p, out=size_p, where=is_mixed_p)
    return np.asarray(np.minimum(size_p, sample.tiles_pg.sum(axis=1)), dtype=np.float64)


def korn_graubard(sample: Sample) -> Interval:
    """Take the exact interval for the effective sample size, adjusted to the number of groups (Korn & Graubard 1998).

    If all values are equal, the effective size is undefined, and the number of groups is used.
    """
    value_p = sample.value_p
    adjustment_p = (special.stdtrit(sample.tiles_pg.sum(axis=1) - 1, 1 - TAIL) / sample.student_t) ** 2
    size_p = effective_size(sample) * np.where((value_p > 0) & (value_p < 1), adjustment_p, 1)
    hits_p, misses_p = size_p * value_p, size_p * (1 - value_p)
    low_p = np.where(hits_p > 0, special.betaincinv(np.maximum(hits_p, 1e-9), misses_p + 1, TAIL), 0)
    high_p = np.where(misses_p > 0, special.betaincinv(hits_p + 1, np.maximum(misses_p, 1e-9), 1 - TAIL), 1)
    return low_p, high_p


def wilson(sample: Sample) -> Interval:
    """Take Wilson's score interval for the effective sample size, with Student's t."""
    size_p, value_p, square = effective_size(sample), sample.value_p, sample.student_t**2
    centre_p = (size_p * value_p + square / 2) / (size_p + square)
    reach_p = np.sqrt(square * (size_p * value_p * (1 - value_p) + square / 4)) / (size_p + square)
    return centre_p - reach_p, centre_p + reach_p


def hybrid(sample: Sample) -> Interval:
    """Take expanded percentiles in the middle, and the interval of Korn & Graubard near 0 and 1."""
    is_middle_p = (sample.value_p > MIDDLE[0]) & (sample.value_p < MIDDLE[1])
    ends = zip(expanded_percentile(sample), korn_graubard(sample), strict=True)
    low_p, high_p = (np.where(is_middle_p, middle_p, outer_p) for middle_p, outer_p in ends)
    return low_p, high_p


def chosen(sample: Sample) -> Interval:
    """Take the interval of the evaluation."""
    cases = zip(sample.value_p, sample.variance_p, sample.tiles_pg, sample.correlation_p, strict=True)
    low_p, high_p = np.array([share_interval(*case) for case in cases]).T
    return low_p, high_p


CANDIDATES: dict[str, Callable[[Sample], Interval]] = {
    "percentile": percentile,
    "expanded percentile": expanded_percentile,
    "BCa": bias_corrected,
    "studentised": studentised,
    "Wilson, effective size": wilson,
    "percentile and Korn-Graubard": hybrid,
    "Korn-Graubard": korn_graubard,
    "chosen": chosen,
}
"""Intervals that were compared, by name."""
