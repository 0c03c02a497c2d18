import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.sampler import GroupBatchSampler, derangement, draw_views, positive_ids


def sampler_of(sizes: list[int], batch_size: int, seed: int = 0, **options) -> GroupBatchSampler:
    ends = np.cumsum([0, *sizes])
    return GroupBatchSampler(
        rows_of_group=[np.arange(low, high) for low, high in itertools.pairwise(ends)],
        batch_size=batch_size,
        seed=seed,
        **options,
    )


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=30), batch=st.integers(2, 40), step=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_a_batch_has_as_few_tiles_a_group_as_the_data_allow(sizes, batch, step) -> None:
    sampler = sampler_of(sizes, batch)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    rows = sampler.rows(step)
    assert np.array_equal(group_of[rows], sampler.groups(step))
    most = np.bincount(group_of[rows]).max()
    assert most <= -(-batch // len(sizes))
    if batch <= sum(min(size, most) for size in sizes) and most <= min(sizes):
        assert len(set(rows.tolist())) == batch


@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=20), more=st.integers(1, 50), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_groups_that_do_not_fill_a_batch_show_their_tiles_equally_often(sizes, more, seed) -> None:
    sampler = sampler_of(sizes, len(sizes) + more, seed)
    seen = np.bincount(np.concatenate([sampler.rows(step) for step in range(30)]), minlength=sum(sizes))
    of_groups = np.split(seen, np.cumsum(sizes)[:-1])
    assert all(one.max() - one.min() <= 1 for one in of_groups)
    shown = [one.sum() for one in of_groups]
    assert max(shown) - min(shown) <= 1


@pytest.mark.parametrize(
    ("sizes", "batch_size", "expected"),
    [
        ([3, 1, 2, 2, 1, 2, 3], 3, [[5, 3, 2], [10, 7, 8], [4, 3, 11], [6, 13, 8], [1, 12, 9], [7, 8, 0]]),
        ([3, 1, 9, 2], 10, [[0, 3, 14, 2, 14, 3, 1, 7, 13, 12], [3, 13, 6, 1, 8, 3, 2, 14, 11, 3]]),
    ],
)
def test_the_batches_are_those_of_the_recorded_trainings(sizes, batch_size, expected) -> None:
    sampler = sampler_of(sizes, batch_size, seed=4)
    assert [sampler.rows(step).tolist() for step in range(len(expected))] == expected


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=20), share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_tile_follows_itself_and_groups_come_equally_often(sizes, share, seed) -> None:
    class_of_group = np.arange(len(sizes)) % 3
    sampler = sampler_of(
        sizes, max(1, round(share * len(sizes))), seed, class_of_group=class_of_group, hard_share=seed % 3 / 2
    )
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    shown = [[] for _ in sizes]
    for step in range(40):
        for row in sampler.rows(step):
            shown[group_of[row]].append(row)
        assert max(map(len, shown)) - min(map(len, shown)) <= 1
    several = [rows for rows, size in zip(shown, sizes, strict=True) if size > 1]
    assert not any(one == other for rows in several for one, other in itertools.pairwise(rows))


@given(num=st.integers(2, 60), seed=st.integers(0, 2**32))
def test_derangement_moves_every_group(num, seed) -> None:
    out = derangement(num, seed)
    assert sorted(out) == list(range(num))
    assert (out != np.arange(num)).all()


def test_one_group_cannot_be_shuffled() -> None:
    with pytest.raises(DatasetError, match="at least 2"):
        derangement(1, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abcdef")), min_size=1, max_size=12))
def test_rows_are_positives_where_group_or_text_is_equal_and_not_through_others(pairs) -> None:
    groups, texts = zip(*pairs, strict=True)
    ids = positive_ids(groups, texts)
    found = (ids[:, None] == ids[None, :]).any(axis=2)
    assert found.tolist() == [[g == h or t == u for h, u in pairs] for g, t in pairs]


def test_views_stay_inside_the_tile_and_keep_their_share() -> None:
    theta = draw_views(np.random.default_rng(0), 2000, 0.4).astype(float)
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)]).T
    assert np.abs(theta @ corners).max() <= 1 + 1e-6
    area = np.abs(np.linalg.det(theta[:, :, :2]))
    assert 0.4 - 1e-6 <= area.min() < 0.41
    assert 0.99 < area.max() <= 1 + 1e-6


def test_views_show_all_eight_orientations_alike() -> None:
    theta = draw_views(np.random.default_rng(0), 4000, 0.4)[:, :, :2]
    turns, counts = np.unique(np.sign(np.round(theta, 6)).reshape(-1, 4), axis=0, return_counts=True)
    assert len(turns) == 8
    assert counts.min() > 400


def test_views_and_shuffled_pairs_are_those_of_the_recorded_trainings() -> None:
    assert derangement(7, 5).tolist() == [6, 3, 1, 5, 0, 4, 2]
    theta = draw_views(np.random.default_rng(1), 3, 0.4, 0.3)
    expected = [
        [[0.0, 0.98447, 0.01018], [-0.98447, 0.0, -0.00282]],
        [[0.0, -0.76622, 0.02319], [-0.76622, 0.0, -0.22089]],
        [[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]],
    ]
    np.testing.assert_allclose(theta, expected, atol=1e-5)


@pytest.mark.parametrize(("whole_share", "num_whole"), [(0.0, 0), (1.0, 50)])
def test_the_share_of_whole_tiles_is_that_of_the_settings(whole_share, num_whole) -> None:
    theta = draw_views(np.random.default_rng(0), 50, 0.4, whole_share)
    assert np.isclose(np.abs(np.linalg.det(theta[:, :, :2])), 1).sum() == num_whole


def test_batches_with_hard_negatives_are_those_of_the_recorded_trainings() -> None:
    sampler = sampler_of([2] * 12, 4, seed=4, class_of_group=np.arange(12) % 3, hard_share=0.5)
    expected = [[17, 5, 12, 14], [1, 8, 19, 7], [11, 23, 20, 3], [0, 9, 22, 4], [6, 18, 10, 13], [2, 15, 21, 16]]
    expected += [[3, 14, 20, 12], [19, 23, 7, 8], [5, 11, 1, 17], [4, 16, 9, 10], [21, 2, 0, 22], [6, 18, 13, 15]]
    assert [sampler.rows(step).tolist() for step in range(12)] == expected


@pytest.mark.parametrize(("num_tiles", "is_new"), [(2, False), (3, True)])
def test_three_tiles_are_the_fewest_that_come_in_a_new_order_in_each_cycle(num_tiles, is_new) -> None:
    sampler = sampler_of([num_tiles] * 3, 3)
    shown = [min(sampler.rows(step).tolist()) for step in range(12 * num_tiles)]  # of the first group
    cycles = {tuple(shown[start : start + num_tiles]) for start in range(0, len(shown), num_tiles)}
    assert (len(cycles) > 1) == is_new
