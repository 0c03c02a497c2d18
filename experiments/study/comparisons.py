"""What each choice is worth: one thing changed at a time, several seeds each, differences with intervals.

An interval knows the luck of proposals, from resamples of groups, and that of seeds, from how far they lie apart. Arms
that are scored on the same test tiles are paired: the same groups, the same seeds. "Fine-tuned" starts from a single
run, whose own luck no interval knows.
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
    """One way to train, on one of the datasets; `is_pretrained` starts from the run on the first half."""

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
QUESTIONS = {
    "a random split of tiles against the clean split": (RANDOM_TILES, BASELINE),
    "without the sky guard against with it": (UNGUARDED, GUARDED),
    "fine-tuned against scratch": ("second half, fine-tuned", "second half, from scratch"),
    "several positives against one": (BASELINE, "one positive a row"),
}
"""Each question with its two arms: the first minus the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A figure, or a difference of two, with its 95 % interval. `seeds` has the figure of each seed."""

    name: str
    metric: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    is_paired: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """An arm's figure on the test split of `digest`: by seed `value_s`, by resample of groups `draws_b`, their mean."""

    value_s: Floats
    draws_b: Floats
    num_groups: int
    digest: str


def pool(estimates: Sequence[Estimate], digest: str) -> Scored:
    """One figure over its seeds, which were all resampled alike."""
    return Scored(
        value_s=np.array([one.value for one in estimates]),
        draws_b=np.mean([one.draws_b for one in estimates], axis=0),
        num_groups=estimates[0].num_groups,
        digest=digest,
    )


def answers(scored: Mapping[tuple[str, str], Scored], seed: int) -> tuple[list[Answer], list[Answer]]:
    """Figures by arm, and the answers to the questions; `scored` is by arm and metric."""
    figures = [_answer(arm, metric, one.value_s, one.draws_b, one.num_groups) for (arm, metric), one in scored.items()]
    found = []
    for question, (first, second) in QUESTIONS.items():
        for metric in METRICS:
            ours, other = scored[first, metric], scored[second, metric]
            is_paired = ours.digest == other.digest
            other_b = other.draws_b if is_paired else np.random.default_rng(seed).permutation(other.draws_b)
            found.append(
                _answer(
                    question, metric, ours.value_s - other.value_s, ours.draws_b - other_b,
                    min(ours.num_groups, other.num_groups), is_paired=is_paired,
                )
            )  # fmt: skip
    return figures, found


def _answer(  # noqa: PLR0917
    name: str, metric: str, value_s: Floats, draws_b: Floats, num_groups: int, is_paired: bool | None = None
) -> Answer:
    value, reach = float(value_s.mean()), half_width_over_seeds(value_s, draws_b, num_groups)
    seeds = tuple(round(float(one), 6) for one in value_s)
    return Answer(
        name=name, metric=metric, value=round(value, 6), low=round(value - reach, 6), high=round(value + reach, 6),
        seeds=seeds, is_paired=is_paired,
    )  # fmt: skip


def told(figures: Sequence[Answer], found: Sequence[Answer], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All as plain values, fit for JSON."""
    return {**facts, "arms": [asdict(one) for one in figures], "questions": [asdict(one) for one in found]}
