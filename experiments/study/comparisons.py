"""Effects of single design choices: one thing changed at a time, several seeds each, differences with intervals.

An interval combines the variance over proposals, from bootstrap resamples of groups, and over seeds. Arms that are
scored on the same test tiles are paired: same groups, same seeds. "Fine-tuned" starts from a single run, whose own
variance no interval includes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hubbleclip.evaluation.metrics.bootstrap import half_width_over_seeds
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.metrics.retrieval import Floats

METRICS = ("i2t_accuracy_at_10pct", "t2i_accuracy_at_10pct")
CLEAN, RANDOM_TILES = "clean", "random split of tiles"
GUARDED, UNGUARDED = "groups by text, with the sky guard", "groups by text, without the sky guard"
FIRST_HALF, SECOND_HALF = "first half of the categories", "second half of the categories"
BASELINE = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A way to train, on one of the datasets; `is_pretrained` starts from the run on the first half."""

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
"""Each comparison with its two arms: the first minus the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A metric, or a difference of two, with its 95 % interval. `seeds` has the value of each seed."""

    name: str
    metric: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    is_paired: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmScores:
    """A metric of an arm on the test split of `digest`.

    `value_s` has a value per seed, `draws_b` the mean over seeds per resample of groups.
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
        One metric, by seed, all with the same bootstrap resamples.
    digest
        Identifies the test split.

    Returns
    -------
    ArmScores
        The metric over all seeds.

    """
    return ArmScores(
        value_s=np.array([one.value for one in estimates]),
        # Averaging over seeds keeps the variance over groups only; `half_width_over_seeds` adds that of seeds.
        draws_b=np.mean([one.draws_b for one in estimates], axis=0),
        num_groups=estimates[0].num_groups,
        digest=digest,
    )


def compare_arms(scores: Mapping[tuple[str, str], ArmScores], seed: int) -> tuple[list[Effect], list[Effect]]:
    """Compute each arm's metrics and the differences of `COMPARISONS`.

    Parameters
    ----------
    scores
        Scores by arm and metric.
    seed
        Seed that shuffles the resamples of arms on different test splits.

    Returns
    -------
    tuple[list[Effect], list[Effect]]
        Metrics by arm, and differences.

    """
    figures = [_effect(arm, metric, one.value_s, one.draws_b, one.num_groups) for (arm, metric), one in scores.items()]
    differences = []
    for name, (first, second) in COMPARISONS.items():
        for metric in METRICS:
            ours, other = scores[first, metric], scores[second, metric]
            is_paired = ours.digest == other.digest  # the same test tiles, so resample b is the same in both
            # other test tiles: shuffling the resamples makes the two figures independent
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
    """Mean over seeds with its interval, rounded to 6 digits."""
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
        Metrics by arm.
    differences
        Differences between arms.
    facts
        Description of the study.

    Returns
    -------
    dict[str, Any]
        `facts` with `arms` and `questions`.

    """
    return {**facts, "arms": [asdict(one) for one in figures], "questions": [asdict(one) for one in differences]}
