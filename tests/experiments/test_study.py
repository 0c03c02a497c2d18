"""Comparisons of a study: resamples of proposals and seeds, paired where the test tiles are the same."""

import numpy as np
import pytest
from evaluation_samples import sample
from sky_cases import material, proposal, square, tile

from experiments.study import comparisons as study
from experiments.study.leaky_splits import by_tile, half_of, with_and_without_guard
from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.evaluation.metrics.bootstrap import draw_weights, half_width_over_seeds
from hubbleclip.evaluation.metrics.protocols import Estimate


def plan(tile: str, group: str, split: str) -> SplitAssignment:
    return SplitAssignment(tile_id=tile, group_id=group, split=split, reason=None)


def test_without_the_guard_train_tiles_come_back_and_nothing_else_moves() -> None:
    rng = np.random.default_rng(4)
    owners = [f"p{n}" for n in range(40) for _ in range(3)]
    places = rng.uniform(0, 0.03, (len(owners), 2))
    tiles = [tile(n, owner, square(*places[n], 8)) for n, owner in enumerate(owners)]
    proposals = {owner: proposal(owner, f"abstract of {owner} alone") for owner in owners}
    settings = SplitSettings(val_share=0.2, test_share=0.2)
    guarded, unguarded = with_and_without_guard(material(tiles, {}, proposals), settings)
    moved = {key for key in guarded if guarded[key] != unguarded[key]}
    assert moved
    assert {(guarded[key].split, unguarded[key].split) for key in moved} == {("excluded", "train")}
    assert "sky_guard:overlap" in {plan.reason for plan in unguarded.values()}  # a val tile that gave way to test


def test_a_split_by_tile_tears_groups_apart_by_the_salt_alone() -> None:
    settings = SplitSettings(val_share=0.2, test_share=0.3)
    many = {str(n): plan(str(n), f"g{n % 5}", "train") for n in range(400)}
    drawn = by_tile(many, settings)
    assert drawn == by_tile(many, settings) != by_tile(many, settings.model_copy(update={"salt": "other"}))
    assert len({(p.group_id, p.split) for p in drawn.values()}) == 15
    assert sum(p.split == "test" for p in drawn.values()) / 400 == pytest.approx(0.3, abs=0.06)


def test_halves_share_no_category() -> None:
    samples = [sample(i, i, category=f"C{i % 5}", split="train") for i in range(20)]
    first, second = (half_of(samples, half, ["train"]) for half in (0, 1))
    assert not {s.category for s in first} & {s.category for s in second}
    assert len(first) + len(second) == 20


def estimate(value: float, rng: np.random.Generator, shared_b: np.ndarray) -> Estimate:
    return Estimate(protocol="fair", scorer="r", name=study.METRICS[0], value=value,
                    draws_b=value + shared_b + rng.normal(0, 0.002, len(shared_b)), num_groups=60)  # fmt: skip


def scored(values: dict[str, float], digests: dict[str, str]) -> dict:
    rng = np.random.default_rng(0)
    shared_b = rng.normal(0, 0.05, 1000)
    return {
        (arm.name, metric): study.pool(
            [estimate(values.get(arm.name, 0.5) + luck, rng, shared_b) for luck in (-0.01, 0, 0.01)],
            digests.get(arm.name, "test"),
        )
        for arm in study.ARMS for metric in study.METRICS
    }  # fmt: skip


def test_paired_arms_are_distinguished_where_their_own_intervals_overlap() -> None:
    random_split = study.RANDOM_TILES
    figures, differences = study.compare_arms(
        scored({study.UNGUARDED: 0.53, random_split: 0.53}, {random_split: "own"}), seed=1
    )
    by_name = {one.name: one for one in differences if one.metric == study.METRICS[0]}
    guard, leak = (by_name[name] for name in list(study.COMPARISONS)[1::-1])
    assert guard.is_paired and guard.low > 0
    assert leak.is_paired is False and leak.low < 0 < leak.high
    assert guard.value == leak.value == pytest.approx(0.03)
    assert all(one.low <= one.value <= one.high for one in (*figures, *differences))


@pytest.mark.parametrize(
    ("of_groups", "of_seeds", "of_both"), [(0.3, 0.02, 0.2), (0.1, 0.03, 0.3), (0.05, 0.05, 0.2), (0.0, 0.1, 0.1)]
)
def test_three_seeds_and_the_groups_together_hold_the_truth_95_times_in_100(of_groups, of_seeds, of_both) -> None:
    rng, num_groups, num_seeds, trials, held = np.random.default_rng(1), 54, 3, 700, 0
    for trial in range(trials):
        values_sg = rng.normal(0, of_groups, num_groups) + rng.normal(0, of_seeds, (num_seeds, 1))
        values_sg = values_sg + rng.normal(0, of_both, (num_seeds, num_groups))
        weights_bg = draw_weights(num_groups, 200, trial)
        value_s, draws_b = values_sg.mean(axis=1), weights_bg @ values_sg.mean(axis=0) / num_groups
        held += abs(value_s.mean()) <= half_width_over_seeds(value_s, draws_b, num_groups)
    assert 0.92 <= held / trials <= 0.99


def test_seeds_that_disagree_widen_the_interval_as_few_seeds_must() -> None:
    draws_b = np.random.default_rng(0).normal(0, 0.001, 1000)
    agreed, torn = (
        half_width_over_seeds(np.array(values), draws_b, 60) for values in ((0.5, 0.5, 0.5), (0.3, 0.5, 0.7))
    )
    assert agreed == pytest.approx(0.002, rel=0.1)
    assert torn == pytest.approx(4.303 * 0.2 / np.sqrt(3), rel=0.01)  # Student's t of two degrees of freedom


def test_one_seed_leaves_the_interval_of_the_groups_and_equal_figures_none() -> None:
    draws_b = np.random.default_rng(0).normal(0, 0.05, 1000)
    assert half_width_over_seeds(np.array([0.5]), draws_b, 1000) == pytest.approx(0.098, rel=0.1)
    assert half_width_over_seeds(np.zeros(3), np.zeros(9), 60) == 0.0
