"""Intervals of shares and differences: coverage, width, monotony, agreement of all groups."""

import numpy as np
import pytest
from evaluation_samples import estimate

from hubbleclip.evaluation.metrics import bootstrap, intervals
from hubbleclip.evaluation.metrics.protocols import Chance, difference


def estimate_of(hits_g, tiles_g, num_resamples=300, name="i2t_accuracy_at_10pct"):
    """The share of hits of groups of tiles, as evaluation estimates it."""
    hits_g, tiles_g = np.asarray(hits_g), np.asarray(tiles_g)
    hit_q = np.concatenate([np.arange(size) < hits for hits, size in zip(hits_g, tiles_g, strict=True)]).astype(float)
    group_q = np.repeat(np.arange(len(tiles_g)), tiles_g)
    weights_bg = bootstrap.draw_weights(len(tiles_g), num_resamples, 0)
    draws_b = bootstrap.resampled_means(hit_q[:, None], group_q, weights_bg)[:, 0]
    correlation = intervals.correlation_of(hits_g, tiles_g)
    changes = {"draws_b": draws_b, "num_groups": len(tiles_g), "sizes_g": tiles_g, "correlation": correlation}
    return estimate(hit_q.mean(), name=name, **changes)


def test_one_caption_per_group_gives_little_more_than_the_exact_interval_of_clopper_and_pearson():
    hits_g = np.r_[np.ones(48, dtype=int), np.zeros(6, dtype=int)]
    ones, variance = np.ones(54, dtype=int), (48 / 54) * (6 / 54)
    low, high = intervals.share_interval(48 / 54, variance / 54, ones, 1.0)
    assert 0.7737 - 0.006 < low < 0.7737 and 0.9581 < high < 0.9581 + 0.002
    assert estimate_of(hits_g, np.ones(54, dtype=int), 4000).interval() == pytest.approx((low, high), abs=0.01)


def test_the_variance_over_few_groups_is_that_of_their_mean():
    values_g = np.array([0.0, 1, 2, 5])
    draws_b = bootstrap.draw_weights(4, 20_000, 0) @ values_g / 4
    assert intervals.variance_of(draws_b, 4) == pytest.approx(values_g.var(ddof=1) / 4, rel=0.03)


def test_groups_of_unequal_sizes_count_by_the_group_of_a_random_value():
    """Without any miss, only the sizes are known: a random one of these 4 values is in a group of 2.5 on average."""
    found = intervals.design_ratio(1.0, 0.0, np.array([1, 3]), 0.0)
    assert found == pytest.approx((1 + (2.5 - 1) * 0.525) * 2 / 4)


def test_agreement_of_all_groups_is_not_taken_for_certainty():
    low, high = estimate_of(np.ones(30, dtype=int), np.ones(30, dtype=int)).interval()
    assert (low, high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)
    low, high = estimate_of(np.zeros(30, dtype=int), np.ones(30, dtype=int)).interval()
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))


@pytest.mark.parametrize("size", [1, 3, 10])
def test_more_misses_never_raise_an_end_of_the_interval(size):
    """Single tiles of different groups are missed. The first two may, since they show that tiles of a group differ."""
    tiles_g, hits_g = np.full(54, size), np.full(54, size)
    ends = []
    for miss in range(54 * size):
        ends.append(estimate_of(hits_g, tiles_g).interval())
        hits_g[miss % 54] -= 1
    low, high = np.array(ends).T
    assert (np.diff(low)[2 if size > 1 else 0 :] <= 1e-3).all()
    assert (np.diff(high)[: -1 if size > 1 else None] <= 1e-3).all()  # the last has one hit


def test_scorers_that_never_differ_are_not_known_to_be_equal():
    ones = np.ones(54, dtype=int)
    same = difference(estimate_of(ones, ones), estimate_of(ones, ones))
    low, high = same.interval()
    assert (same.value, high) == (0, -low)
    assert high == pytest.approx(1.96 / 56, rel=1e-3)
    assert 0.1 < (1 - high) ** 54 < 0.2  # the probability that 54 groups miss a difference of this size


def test_an_interval_holds_its_value_and_stays_in_range():
    rng = np.random.default_rng(1)
    for _ in range(50):
        tiles_g = rng.integers(1, 6, 8)
        one, other = (estimate_of(rng.binomial(tiles_g, rng.random()), tiles_g, 50) for _ in range(2))
        for share, lowest in ((one, 0), (difference(one, other), -1)):
            low, high = share.interval()
            assert lowest <= low <= share.value <= high <= 1


def test_a_difference_of_one_value_per_group_has_the_interval_of_agresti_and_min():
    """Adjusted Wald interval of paired shares: half a group is added to each of the four outcomes."""
    only_ours, only_other, num_groups = 10, 3, 54
    value = (only_ours - only_other) / num_groups
    variance = ((only_ours + only_other) / num_groups - value**2) / num_groups
    b, c, n = only_ours + 0.5, only_other + 0.5, num_groups + 2
    centre, error = (b - c) / n, np.sqrt(b + c - (b - c) ** 2 / n) / n
    found = intervals.difference_interval(value, variance, num_groups, 1.0)
    assert found == pytest.approx((centre - 1.959964 * error, centre + 1.959964 * error))
    wide = intervals.difference_interval(value, variance, num_groups, 4.0)
    assert wide[1] - wide[0] > found[1] - found[0]


@pytest.mark.parametrize(("num_groups", "tail"), [(10, 0.008551), (40, 0.020258)])
def test_percentiles_are_expanded_by_students_t_and_the_correction_of_the_variance(num_groups, tail):
    """Tail of the normal distribution beyond sqrt(n / (n - 1)) t(0.975, n - 1): 2.3845 for n = 10, 2.0485 for 40."""
    low, high = intervals.percentile_interval(np.linspace(0, 1, 100_001), num_groups)
    assert (low, high) == (pytest.approx(tail, abs=2e-5), pytest.approx(1 - tail, abs=2e-5))


@pytest.mark.parametrize("known", [0.9, None], ids=["known correlation", "unknown correlation"])
def test_the_ratio_mixes_the_variance_with_that_of_sizes_and_correlation(known) -> None:
    """Sizes 1, 2, 3 and 6 and a share of 0.75, with a variance of 0.02, worked out by hand."""
    seen = 4 * 0.75 * 0.25
    misses = (0.75 * 0.25) ** 2 / 0.02 * (1.959964 / 3.182446) ** 2  # Student's t of three degrees of freedom
    weight, modelled = 0.4, 1
    if known is not None:
        certainty = 3 * misses**2  # 3 of 12 values are missed
        correlation = (0.9 * certainty + 0.525 * 0.8) / (certainty + 0.8)
        size_of_mean_value = (1 + 4 + 9 + 36) / 12
        modelled = (1 + correlation * (size_of_mean_value - 1)) / 3  # 3 values per group
        misses, weight = misses**2 / (misses + 1), 12
    found = intervals.design_ratio(0.75, 0.02, np.array([1, 2, 3, 6]), known)
    assert found == pytest.approx((seen + weight * modelled) / (misses + weight), rel=1e-5)


@pytest.mark.parametrize("value", [0.1, 0.5, 0.9])
def test_the_interval_of_chance_is_the_range_of_random_orders_extended_to_its_exact_value(value):
    draws_b, sizes_g = np.linspace(0.4, 0.6, 41), np.ones(5, np.int64)
    chance = Chance(protocol="fair", scorer="random", name="i2t_map", value=value, draws_b=draws_b, sizes_g=sizes_g)
    assert chance.interval() == pytest.approx((min(value, 0.405), max(value, 0.595)))
