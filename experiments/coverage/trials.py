"""Measure the share of simulated test sets whose interval contains the true value, and the mean width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.coverage.candidates import CANDIDATES, Interval, Sample, korn_graubard
from experiments.coverage.populations import Similarities, draw_hits, draw_similarities
from hubbleclip.evaluation.metrics.bootstrap import draw_weights, resampled_retrieval
from hubbleclip.evaluation.metrics.intervals import NORMAL_QUANTILE
from hubbleclip.evaluation.metrics.protocols import Estimate, Values, bootstrap_estimates, difference
from hubbleclip.evaluation.metrics.retrieval import (
    Bools,
    Floats,
    Ints,
    expected_rank,
    hit_cutoffs,
    hit_probability,
    rank_best_positives,
    top_count,
)
from hubbleclip.evaluation.metrics.zeroshot import Labels, classification_estimates, phrase_retrieval_estimates

NUM_RESAMPLES = 400
SETS_PER_BLOCK = 100
"""Number of test sets that have the same resamples."""
AGREEMENT = 0.9
"""Correlation of the scorers of a pair."""
SEED = 2077
RESAMPLED, JACKKNIFE = "candidates resampled", "jackknife of queries and candidates"
"""Other intervals of the recall at 1 than the chosen one, which holds the candidates fixed."""
Side = tuple[Floats, Bools, Ints, Ints]
"""Scores (q, i), right answers (q, i), group of each query and group of each item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of the intervals that contain the true value, and their mean width with its standard error.

    `ratio` is their mean width divided by that of a reference; None if it is not defined.
    """

    truth: float
    share: float
    num_trials: int
    width: float
    width_error: float
    ratio: float | None = None


def measure(interval: Interval, truth: float, reference: Interval | None = None) -> Coverage:
    """Count the intervals that contain the true value."""
    low_p, high_p = interval
    width = float((high_p - low_p).mean())
    ratio = None if reference is None else width / float((reference[1] - reference[0]).mean())
    share = float(((low_p <= truth) & (truth <= high_p)).mean())
    error = float((high_p - low_p).std()) / np.sqrt(len(low_p))
    return Coverage(truth=truth, share=share, num_trials=len(low_p), width=width, width_error=error, ratio=ratio)


def joined(parts: Sequence[Interval]) -> Interval:
    """Join the intervals of several blocks of test sets."""
    low_p, high_p = np.concatenate(parts, axis=1)
    return low_p, high_p


def blocks_of_samples(
    num_groups: int, accuracies: tuple[float, ...], correlation: float, max_tiles: int, num_trials: int
) -> Iterator[list[Sample]]:
    """Yield blocks of test sets, as one sample per scorer; every block has resamples of its own."""
    rng = np.random.default_rng([SEED, num_groups, *(int(1000 * accuracy) for accuracy in accuracies)])
    shape = (SETS_PER_BLOCK, num_groups)
    for block in range(num_trials // SETS_PER_BLOCK):
        hits = draw_hits(rng, shape, accuracies, correlation, max_tiles=max_tiles, agreement=AGREEMENT)
        weights_bg = draw_weights(num_groups, NUM_RESAMPLES, SEED + block).astype(np.float64)
        yield [Sample(tiles_pg=hits.tiles_pg, hits_pg=hits_pg, weights_bg=weights_bg) for hits_pg in hits.hits_spg]


def cluster_coverage(
    num_groups: int, accuracy: float, correlation: float, max_tiles: int, num_trials: int
) -> dict[str, Coverage]:
    """Measure every candidate for the accuracy of clusters of tiles."""
    blocks = [
        {name: method(sample) for name, method in CANDIDATES.items()}
        for (sample,) in blocks_of_samples(num_groups, (accuracy,), correlation, max_tiles, num_trials)
    ]
    intervals = {name: joined([block[name] for block in blocks]) for name in CANDIDATES}
    return {name: measure(one, accuracy, intervals["Korn-Graubard"]) for name, one in intervals.items()}


def difference_coverage(num_groups: int, accuracies: tuple[float, float], max_tiles: int, num_trials: int) -> Coverage:
    """Measure the interval of the paired difference of two scorers."""
    ends, references = [], []
    for samples in blocks_of_samples(num_groups, accuracies, 0.5, max_tiles, num_trials):
        ours, other = samples
        pairs = zip(estimates_of(ours), estimates_of(other), strict=True)
        ends += [difference(*pair).interval() for pair in pairs]
        references.append(mover(ours, other))
    low_p, high_p = np.array(ends).T
    return measure((low_p, high_p), accuracies[0] - accuracies[1], joined(references))


def estimates_of(sample: Sample) -> list[Estimate]:
    """Make the estimate of each test set."""
    cases = zip(sample.value_p, sample.draws_pb, sample.tiles_pg, sample.correlation_p, strict=True)
    return [
        Estimate(
            protocol="",
            scorer="",
            name="accuracy",
            value=float(value),
            draws_b=draws_b,
            sizes_g=sizes_g,
            correlation=correlation,
        )
        for value, draws_b, sizes_g, correlation in cases
    ]


def mover(ours: Sample, other: Sample) -> Interval:
    """Combine the intervals of Korn & Graubard of two scorers to one of their difference (Zou & Donner 2008)."""
    covariance_p = (ours.residuals_pg * other.residuals_pg).sum(axis=1)
    scale_p = np.sqrt((ours.residuals_pg**2).sum(axis=1) * (other.residuals_pg**2).sum(axis=1))
    spread_p = np.divide(covariance_p, scale_p, out=np.zeros_like(scale_p), where=scale_p > 0)
    (low_p, high_p), (other_low_p, other_high_p) = korn_graubard(ours), korn_graubard(other)
    value_p = ours.value_p - other.value_p

    def reach(one_p: Floats, two_p: Floats) -> Floats:
        squares_p = one_p**2 + two_p**2 - 2 * spread_p * one_p * two_p
        reach_p: Floats = np.sqrt(np.maximum(squares_p, 0))
        return reach_p

    return (
        value_p - reach(ours.value_p - low_p, other_high_p - other.value_p),
        value_p + reach(high_p - ours.value_p, other.value_p - other_low_p),
    )


def side_of(direction: str, test: Similarities, quality: float) -> Side:
    """Select queries and items of one direction, for a model of some quality."""
    scores_tc = test.scores_tc + quality * test.is_own_tc
    groups_c = np.arange(scores_tc.shape[1])
    if direction == "i2t":
        return scores_tc, test.is_own_tc, test.group_t, groups_c
    return scores_tc.T, test.is_own_tc.T, groups_c, test.group_t


def quality_of(direction: str, tests: list[Similarities], accuracy: float) -> float:
    """Find the quality at which the accuracy at the top 10 % is the given one over all test sets."""
    margins = []
    for test in tests:
        scores_qi, positive_qi, _, _ = side_of(direction, test, 0)
        best_q = np.where(positive_qi, scores_qi, -np.inf).max(axis=1)
        others_qi = np.sort(np.where(positive_qi, -np.inf, scores_qi), axis=1)
        margins.append(others_qi[:, -top_count(10, scores_qi.shape[1])] - best_q)
    return float(np.quantile(np.concatenate(margins), accuracy))


def retrieval_coverage(
    direction: str, num_groups: int, accuracy: float, max_tiles: int, num_trials: int
) -> dict[str, Coverage]:
    """Measure the intervals of retrieval where the true value is that over all test sets of queries and candidates."""
    rng = np.random.default_rng([SEED, num_groups])
    tests = [draw_similarities(rng, num_groups, max_tiles=max_tiles) for _ in range(num_trials)]
    quality = quality_of(direction, tests, accuracy)
    names = [f"{direction}_{name}" for name in ("accuracy_at_10pct", "recall_at_1", "recall_at_5", "median_rank")]
    estimates: dict[str, list[Estimate]] = defaultdict(list)
    ranks_of = []
    for number, test in enumerate(tests):
        weights_bg = draw_weights(num_groups, NUM_RESAMPLES, SEED + number)
        side = side_of(direction, test, quality)
        ranks = rank_best_positives(*side[:2])
        cutoffs = hit_cutoffs(direction, ranks.num_items)
        draws = resampled_retrieval(direction, *side, weights_bg=weights_bg)
        resampled_b = draws.pop(names[1])  # of the recall at 1, the candidates are held fixed
        ranks_of.append(expected_rank(ranks))
        values = Values(
            means={name: hit_probability(ranks, cutoffs[name]) for name in names[:-1]},
            medians={names[-1]: ranks_of[-1]},
            group_q=side[2],
            draws=draws,
        )
        for one in bootstrap_estimates("", "", values, weights_bg):
            estimates[one.name].append(one)
        recall, ones_gg = estimates[names[1]][-1], np.ones((num_groups, num_groups), dtype=np.int64)
        without_g = resampled_retrieval(direction, *side, weights_bg=ones_gg - np.eye(num_groups, dtype=np.int64))[
            names[1]
        ]
        estimates[RESAMPLED].append(replace(recall, draws_b=resampled_b))
        # scaled so that the variance of the estimate is that of the jackknife
        estimates[JACKKNIFE].append(replace(recall, draws_b=without_g * (num_groups - 1) / np.sqrt(num_groups)))
    # the median of a test set is a whole number, so its expectation is no value that an interval could aim at
    truths = {name: float(np.mean([one.value for one in of_name])) for name, of_name in estimates.items()}
    truths[names[-1]] = float(np.median(np.concatenate(ranks_of)))
    return {name: _coverage(estimates[name], truths[name]) for name in (*names, RESAMPLED, JACKKNIFE)}


def zero_shot_coverage(num_groups: int, quality: float, max_tiles: int, num_trials: int) -> dict[str, Coverage]:
    """Measure the intervals of zero-shot tasks with ten classes, each group of tiles being of one class."""
    rng = np.random.default_rng([SEED, num_groups, int(10 * quality)])
    estimates: dict[str, list[Estimate]] = {}
    for number in range(num_trials):
        weights_bg = draw_weights(num_groups, NUM_RESAMPLES, SEED + number)
        group_t = np.repeat(np.arange(num_groups), rng.integers(1, max_tiles + 1, num_groups))
        class_g = rng.permutation(num_groups) % 10
        noise_tk = np.sqrt(0.5) * (rng.normal(size=(num_groups, 10))[group_t] + rng.normal(size=(len(group_t), 10)))
        is_positive_kt = (class_g[group_t][:, None] == np.arange(10)).T
        scores_kt = noise_tk.T + quality * is_positive_kt
        labels = Labels(phrases=tuple("abcdefghij"), prompts=(), is_positive_kt=is_positive_kt)
        found = phrase_retrieval_estimates("kind", "", scores_kt, labels, group_t=group_t, weights_bg=weights_bg)
        found += classification_estimates("kind", "", scores_kt.T, labels, group_t=group_t, weights_bg=weights_bg)
        for one in found:
            estimates.setdefault(one.name, []).append(one)
    names = ("kind_map", "kind_ndcg_at_10", "kind_top1", "kind_top5")
    return {name: _coverage(estimates[name], float(np.mean([one.value for one in estimates[name]]))) for name in names}


def _coverage(estimates: list[Estimate], truth: float) -> Coverage:
    """Measure the intervals of one metric on all test sets."""
    low_p, high_p = np.array([one.interval() for one in estimates]).T
    ideal_p = 2 * NORMAL_QUANTILE * np.std([one.value for one in estimates])  # the width if the variance were known
    return measure((low_p, high_p), truth, (np.zeros(1), np.array([max(ideal_p, 1e-9)])))
