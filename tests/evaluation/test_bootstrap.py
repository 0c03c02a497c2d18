import numpy as np
import pytest

from hubbleclip.evaluation.metrics import bootstrap


def clusters(rng, num_groups):
    """Hits of tiles whose chance of a hit varies from group to group (mean 0.7), and their groups."""
    sizes = rng.integers(1, 7, num_groups)
    group_q = np.repeat(np.arange(num_groups), sizes)
    chance_g = rng.beta(2.1, 0.9, num_groups)
    return (rng.random(len(group_q)) < chance_g[group_q]).astype(float), group_q


def test_intervals_hold_the_truth_95_times_in_100():
    rng = np.random.default_rng(4)
    held, trials = 0, 1500
    for trial in range(trials):
        hits_q, group_q = clusters(rng, 50)
        weights_bg = bootstrap.draw_weights(50, 400, trial)
        low, high = bootstrap.percentile_interval(
            bootstrap.resampled_means(hits_q[:, None], group_q, weights_bg)[:, 0], 50
        )
        held += low <= 0.7 <= high
    assert held / trials == pytest.approx(0.95, abs=0.02)


def test_resampling_tiles_instead_of_groups_would_be_too_narrow():
    hits_q, group_q = clusters(np.random.default_rng(3), 200)
    hits_q = np.round(np.bincount(group_q, hits_q) / np.bincount(group_q))[group_q]
    alone_q = np.arange(len(hits_q))

    def width(groups):
        weights_bg = bootstrap.draw_weights(groups.max() + 1, 500, 0)
        low, high = bootstrap.percentile_interval(
            bootstrap.resampled_means(hits_q[:, None], groups, weights_bg)[:, 0], groups.max() + 1
        )
        return high - low

    assert width(group_q) > 1.4 * width(alone_q)


def test_means_and_medians_equal_those_of_the_resampled_lists():
    rng = np.random.default_rng(5)
    group_q = np.sort(rng.integers(0, 8, 25))
    group_q = np.unique(group_q, return_inverse=True)[1]
    values_q = rng.integers(0, 10, 25).astype(float)
    weights_bg = bootstrap.draw_weights(group_q.max() + 1, 60, 1)
    means = bootstrap.resampled_means(values_q[:, None], group_q, weights_bg)[:, 0]
    medians = bootstrap.resampled_medians(values_q, group_q, weights_bg)
    for weights_g, mean, median in zip(weights_bg, means, medians, strict=True):
        listed = np.repeat(values_q, weights_g[group_q])
        assert mean == pytest.approx(listed.mean())
        assert median == pytest.approx(np.median(listed))


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    first, again, other = (bootstrap.draw_weights(9, 50, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (first.sum(axis=1) == 9).all()


def test_agreement_of_all_groups_is_not_taken_for_certainty():
    low, high = bootstrap.proportion_interval(np.ones(500), 30)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)
    assert bootstrap.proportion_interval(np.zeros(500), 30) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))


def test_fewer_groups_give_wider_intervals_from_the_same_draws():
    draws_b = np.random.default_rng(0).normal(size=4000)
    narrow, wide = bootstrap.percentile_interval(draws_b, 1000), bootstrap.percentile_interval(draws_b, 10)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert narrow[1] == pytest.approx(1.96, abs=0.15)
