"""Comparisons of a study: resamples of proposals and seeds, paired over the same test tiles."""

import numpy as np
import pytest

from experiments.study import comparisons as study
from experiments.study.datasets import by_tile, common_test_tiles
from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.evaluation.metrics.protocols import Estimate


def plan(tile: str, group: str, split: str) -> SplitAssignment:
    return SplitAssignment(tile_id=tile, group_id=group, split=split, reason=None)


def test_a_split_by_tile_tears_groups_apart_by_the_salt_alone() -> None:
    settings = SplitSettings(val_share=0.2, test_share=0.3)
    many = {str(n): plan(str(n), f"g{n % 5}", "train") for n in range(400)}
    drawn = by_tile(many, settings)
    assert drawn == by_tile(many, settings) != by_tile(many, settings.model_copy(update={"salt": "other"}))
    assert len({(p.group_id, p.split) for p in drawn.values()}) == 15
    assert sum(p.split == "test" for p in drawn.values()) / 400 == pytest.approx(0.3, abs=0.06)


def test_the_arms_are_scored_on_tiles_that_every_split_tests() -> None:
    clean = {name: plan(name, "g", split) for name, split in (("a", "test"), ("b", "test"), ("c", "train"))}
    other = {name: plan(name, "g", split) for name, split in (("a", "test"), ("b", "train"), ("c", "test"))}
    assert {name: one.split for name, one in common_test_tiles([clean, other]).items()} == {
        "a": "test",
        "b": "excluded",
        "c": "excluded",
    }


def estimate(value: float, rng: np.random.Generator, shared_b: np.ndarray) -> Estimate:
    return Estimate(
        protocol="fair",
        scorer="r",
        name=study.METRICS[0],
        value=value,
        draws_b=value + shared_b + rng.normal(0, 0.002, len(shared_b)),
        sizes_g=np.ones(60, np.int64),
    )


def scored(values: dict[str, float]) -> dict:
    rng = np.random.default_rng(0)
    shared_b = rng.normal(0, 0.05, 1000)
    return {
        (arm.name, metric): study.pool(
            [estimate(values.get(arm.name, 0.5) + luck, rng, shared_b) for luck in (-0.01, 0, 0.01)]
        )
        for arm in study.ARMS
        for metric in study.METRICS
    }


def effects(scores: dict) -> tuple[list[study.Effect], dict[str, study.Effect]]:
    figures, differences = study.compare_arms(scores)
    return figures, {one.name: one for one in differences if one.metric == study.METRICS[0]}


def test_paired_arms_are_distinguished_where_their_own_intervals_overlap() -> None:
    other_loss, random_split = study.ARMS[2].name, study.RANDOM_TILES
    figures, by_name = effects(scored({other_loss: 0.47, random_split: 0.53}))
    leak, loss = by_name.values()
    assert loss.low > 0 and leak.low > 0
    assert loss.value == leak.value == pytest.approx(0.03)
    assert all(one.low <= one.value <= one.high for one in (*figures, *by_name.values()))


def test_arms_that_never_differ_are_not_known_to_be_equal() -> None:
    """Their interval was [0, 0], and that of an arm that finds everything [1, 1]."""
    sizes_g = np.ones(60, np.int64)
    same = Estimate(protocol="fair", scorer="r", name=study.METRICS[0], value=1.0, draws_b=np.ones(9), sizes_g=sizes_g)
    one = {(arm.name, metric): study.pool([same] * 3) for arm in study.ARMS for metric in study.METRICS}
    figures, by_name = effects(one)
    assert all(arm.high == 1 and 0.9 < arm.low < 0.96 for arm in figures)
    assert all(-0.04 < effect.low < -0.02 and effect.high == -effect.low for effect in by_name.values())


def test_seeds_that_disagree_widen_the_interval_as_few_seeds_must() -> None:
    draws_b = np.random.default_rng(0).normal(0, 0.001, 1000)
    agreed, torn = (
        1.96 * np.sqrt(study.variance_over_seeds(np.array(values), draws_b, 60))
        for values in ((0.5, 0.5, 0.5), (0.3, 0.5, 0.7))
    )
    assert agreed == pytest.approx(0.002, rel=0.1)
    assert torn == pytest.approx(4.303 * 0.2 / np.sqrt(3), rel=0.01)  # Student's t of two degrees of freedom
