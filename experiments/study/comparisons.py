"""Measure the effects of single design choices.

A comparison trains two arms, which differ in one choice, with several seeds each. The result is the difference between
the arms, with its interval.

All arms are scored on the same tiles, which are in the test split of every dataset of the study, and compared as pairs
with the same groups and the same seeds. An interval combines two variances: the variance over proposals, estimated by
bootstrap resampling of proposal groups, and the variance over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.running import difference_with_interval, markdown
from hubbleclip.evaluation.metrics.bootstrap import TAIL
from hubbleclip.evaluation.metrics.intervals import (
    NORMAL_QUANTILE,
    difference_interval,
    share_interval,
    variance_of,
)
from hubbleclip.evaluation.metrics.protocols import Estimate, difference
from hubbleclip.evaluation.metrics.retrieval import Floats

PAGE = Path(__file__).with_name("README.md")
"""Page of the results of the study and of the recipe."""
METRIC_NAMES = {"i2t_accuracy_at_10pct": "image to text, top 10 %", "t2i_accuracy_at_10pct": "text to image, top 10 %"}
METRICS = tuple(METRIC_NAMES)
CLEAN, RANDOM_TILES, TESTED = "clean", "random split of tiles", "tested by both"
BASELINE = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train: the name of the dataset, and a loss that replaces that of the settings unless it is None."""

    name: str
    dataset: str = CLEAN
    loss: str | None = None


ARMS = (
    Arm(name=BASELINE),
    Arm(name=RANDOM_TILES, dataset=RANDOM_TILES),
    Arm(name="one positive a row", loss="info_nce"),
)
COMPARISONS = {
    "a random split of tiles against the clean split": (RANDOM_TILES, BASELINE),
    "several positives against one": (BASELINE, "one positive a row"),
}
"""The two arms of each comparison, by the name of the comparison; the difference is the first arm minus the second arm.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A metric of an arm, or the difference of a metric between two arms.

    `low` and `high` are the limits of the 95 % interval. `seeds` has one value per seed.
    """

    name: str
    metric: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmScores:
    """One metric of one arm.

    `value_s` has one value per seed. `mean` is the mean over the seeds, whose resampled values vary with the groups
    alone.
    """

    value_s: Floats
    mean: Estimate

    def interval(self) -> tuple[float, float]:
        """Compute the 95 % interval of the mean over seeds."""
        variance = variance_over_seeds(self.value_s, self.mean.draws_b, self.mean.num_groups)
        return share_interval(self.mean.value, variance, self.mean.sizes_g, self.mean.correlation)


def pool(estimates: Sequence[Estimate]) -> ArmScores:
    """Combine the estimates of all seeds of an arm."""
    value_s = np.array([one.value for one in estimates])
    draws_b = np.mean([one.draws_b for one in estimates], axis=0)
    mean = replace(estimates[0], value=float(value_s.mean()), draws_b=draws_b)
    return ArmScores(value_s=value_s, mean=mean)


def compare_arms(scores: Mapping[tuple[str, str], ArmScores]) -> tuple[list[Effect], list[Effect]]:
    """Compute the metrics of each arm, and the differences between the arms of each entry of `COMPARISONS`."""
    figures = [_effect(arm, metric, one.value_s, one.interval()) for (arm, metric), one in scores.items()]
    differences = []
    for name, arms in COMPARISONS.items():
        for metric in METRICS:
            ours, other = (scores[arm, metric] for arm in arms)
            differences.append(_effect(name, metric, ours.value_s - other.value_s, paired_interval(ours, other)))
    return figures, differences


def paired_interval(ours: ArmScores, other: ArmScores) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two arms that were scored on the same test tiles."""
    mean = difference(ours.mean, other.mean)
    variance = variance_over_seeds(ours.value_s - other.value_s, mean.draws_b, mean.num_groups)
    return difference_interval(mean.value, variance, mean.num_groups, mean.ratio)


def _effect(name: str, metric: str, value_s: Floats, ends: tuple[float, float]) -> Effect:
    """Describe a metric or a difference, averaged over the seeds; numbers are rounded to 6 decimal places."""
    low, high = ends
    return Effect(
        name=name,
        metric=metric,
        value=round(float(value_s.mean()), 6),
        low=round(low, 6),
        high=round(high, 6),
        seeds=tuple(round(float(one), 6) for one in value_s),
    )


def study_results(figures: Sequence[Effect], differences: Sequence[Effect], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the results into plain values for JSON."""
    return {**facts, "arms": [asdict(one) for one in figures], "questions": [asdict(one) for one in differences]}


def variance_over_seeds(value_s: Floats, draws_b: Floats, num_groups: int) -> float:
    """Compute the variance of a metric's mean over training seeds, for an interval with a quantile of the normal.

    Student's t has the effective degrees of freedom of the sum (Satterthwaite 1946).
    """
    num_seeds, of_groups = len(value_s), variance_of(draws_b, num_groups)
    of_seeds = float(value_s.var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    variance = of_groups + of_seeds
    if variance == 0:
        return 0.0
    degrees_of_freedom = variance**2 / (of_groups**2 / (num_groups - 1) + of_seeds**2 / max(1, num_seeds - 1))
    return variance * float(stats.t.ppf(1 - TAIL, degrees_of_freedom) / NORMAL_QUANTILE) ** 2


def table(results: Mapping[str, Any]) -> str:
    """Format the differences as a Markdown table."""
    figures = {(one["name"], one["metric"]): one["value"] for one in results["arms"]}
    differences = {(one["name"], one["metric"]): one for one in results["questions"]}
    return markdown(
        header(results),
        (
            [name, *(cell(differences[name, metric], *(figures[arm, metric] for arm in arms)) for metric in METRICS)]
            for name, arms in COMPARISONS.items()
        ),
    )


def header(results: Mapping[str, Any]) -> list[str]:
    """Make the header of a table with one column per metric."""
    return [f"{results['num_seeds']} seeds, {results['steps']} steps", *METRIC_NAMES.values()]


def cell(found: Mapping[str, Any], first: float, second: float) -> str:
    """Format one comparison as a table cell, such as `89.3 against 85.2: **+4.1** (+0.5 to +7.7)`."""
    gain = difference_with_interval(*(100 * found[name] for name in ("value", "low", "high")))
    return f"{100 * first:.1f} against {100 * second:.1f}: {gain}"
