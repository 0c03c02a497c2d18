"""Measure the effects of single design choices.

A comparison trains two arms, which differ in one choice, with several seeds each. The result is the difference between
the arms, with its interval.

An interval combines two variances: the variance over proposals, estimated by bootstrap resampling of proposal groups,
and the variance over seeds. Two arms that are scored on the same test tiles are compared as pairs with the same groups
and the same seeds. All trainings of the arm "second half, fine-tuned" start from the same single run; the intervals do
not include the variance over such runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from hubbleclip.evaluation.metrics.bootstrap import TAIL
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.metrics.retrieval import Floats

METRICS = ("i2t_accuracy_at_10pct", "t2i_accuracy_at_10pct")
CLEAN, RANDOM_TILES = "clean", "random split of tiles"
GUARDED, UNGUARDED = "groups by text, with the sky guard", "groups by text, without the sky guard"
FIRST_HALF, SECOND_HALF = "first half of the categories", "second half of the categories"
BASELINE = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    `dataset` is the name of the dataset, and `loss` replaces the loss of the settings unless it is None. With
    `is_pretrained` the training starts from the model that was trained on the first half of the categories.
    """

    name: str
    dataset: str = CLEAN
    loss: str | None = None
    is_pretrained: bool = False


ARMS = (
    Arm(name=BASELINE),
    Arm(name="one positive a row", loss="info_nce"),
    Arm(name=GUARDED, dataset=GUARDED),
    Arm(name=UNGUARDED, dataset=UNGUARDED),
    Arm(name=RANDOM_TILES, dataset=RANDOM_TILES),
    Arm(name="second half, from scratch", dataset=SECOND_HALF),
    Arm(name="second half, fine-tuned", dataset=SECOND_HALF, is_pretrained=True),
)
COMPARISONS = {
    "a random split of tiles against the clean split": (RANDOM_TILES, BASELINE),
    "without the sky guard against with it": (UNGUARDED, GUARDED),
    "fine-tuned against scratch": ("second half, fine-tuned", "second half, from scratch"),
    "several positives against one": (BASELINE, "one positive a row"),
}
"""The two arms of each comparison, by the name of the comparison; the difference is the first arm minus the second arm.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A metric of an arm, or the difference of a metric between two arms.

    `low` and `high` are the limits of the 95 % interval. `seeds` has one value per seed. `is_paired` is true if
    both arms of a difference were scored on the same test tiles, and None for a metric of one arm.
    """

    name: str
    metric: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    is_paired: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmScores:
    """One metric of one arm on the test split that `digest` identifies.

    `value_s` has one value per seed. `draws_b` has one value per bootstrap resample of the groups, averaged over the
    seeds.
    """

    value_s: Floats
    draws_b: Floats
    num_groups: int
    digest: str


def pool(estimates: Sequence[Estimate], digest: str) -> ArmScores:
    """Combine the estimates of all seeds of an arm.

    Parameters
    ----------
    estimates
        Estimates of one metric, one per seed, all with the same bootstrap resamples.
    digest
        Digest that identifies the test split.

    Returns
    -------
    ArmScores
        The metric over all seeds.

    """
    return ArmScores(
        value_s=np.array([one.value for one in estimates]),
        # These averages vary only with the groups; `half_width_over_seeds` adds the variance over seeds.
        draws_b=np.mean([one.draws_b for one in estimates], axis=0),
        num_groups=estimates[0].num_groups,
        digest=digest,
    )


def compare_arms(scores: Mapping[tuple[str, str], ArmScores], seed: int) -> tuple[list[Effect], list[Effect]]:
    """Compute the metrics of each arm, and the differences between the arms of each entry of `COMPARISONS`.

    Parameters
    ----------
    scores
        Scores by the names of the arm and of the metric.
    seed
        Seed for shuffling the resamples of arms that were scored on different test splits.

    Returns
    -------
    tuple[list[Effect], list[Effect]]
        The metrics of all arms, and the differences.

    """
    figures = [_effect(arm, metric, one.value_s, one.draws_b, one.num_groups) for (arm, metric), one in scores.items()]
    differences = []
    for name, (first, second) in COMPARISONS.items():
        for metric in METRICS:
            ours, other = scores[first, metric], scores[second, metric]
            is_paired = ours.digest == other.digest  # then resample b has the same groups in both arms
            # with different test tiles, shuffling the resamples makes the two metrics independent
            other_b = other.draws_b if is_paired else np.random.default_rng(seed).permutation(other.draws_b)
            differences.append(
                _effect(
                    name, metric, ours.value_s - other.value_s, ours.draws_b - other_b,
                    min(ours.num_groups, other.num_groups), is_paired=is_paired,
                )
            )  # fmt: skip
    return figures, differences


def _effect(  # noqa: PLR0917
    name: str, metric: str, value_s: Floats, draws_b: Floats, num_groups: int, is_paired: bool | None = None
) -> Effect:
    """Average a metric or a difference over the seeds, and compute its interval; values are rounded to 6 digits."""
    value, reach = float(value_s.mean()), half_width_over_seeds(value_s, draws_b, num_groups)
    seeds = tuple(round(float(one), 6) for one in value_s)
    return Effect(
        name=name, metric=metric, value=round(value, 6), low=round(value - reach, 6), high=round(value + reach, 6),
        seeds=seeds, is_paired=is_paired,
    )  # fmt: skip


def study_results(figures: Sequence[Effect], differences: Sequence[Effect], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the results into plain values for JSON.

    Parameters
    ----------
    figures
        Metrics of all arms.
    differences
        Differences between arms.
    facts
        Description of the study.

    Returns
    -------
    dict[str, Any]
        The entries of `facts`, the metrics as `arms`, and the differences as `questions`.

    """
    return {**facts, "arms": [asdict(one) for one in figures], "questions": [asdict(one) for one in differences]}


def half_width_over_seeds(value_s: Floats, draws_b: Floats, num_groups: int) -> float:
    """Compute half the width of the 95 % interval of a metric's mean over training seeds.

    Parameters
    ----------
    value_s : ndarray
        Value (s,) of the metric for each seed.
    draws_b : ndarray
        Resampled values (b,) of the mean over the seeds.
    num_groups : int
        Number of groups that were resampled, at least 2.

    Returns
    -------
    float
        Half the width of the interval, in the unit of the metric.

    Notes
    -----
    The variance over resampled groups and the variance between seeds are added. A variance that is estimated from few
    seeds is uncertain, so Student's t is used with the effective degrees of freedom of the sum (Satterthwaite 1946).

    """
    num_seeds = len(value_s)
    # The variance over resamples of n groups is too small by the factor (n - 1) / n.
    variance_of_groups = draws_b.var() * num_groups / (num_groups - 1)
    variance_of_seeds = value_s.var(ddof=1) / num_seeds if num_seeds > 1 else 0.0
    variance = variance_of_groups + variance_of_seeds
    if variance == 0:
        return 0.0
    degrees_of_freedom = variance**2 / (
        variance_of_groups**2 / (num_groups - 1) + variance_of_seeds**2 / max(1, num_seeds - 1)
    )
    return float(stats.t.ppf(1 - TAIL, degrees_of_freedom) * np.sqrt(variance))
