"""Ranks, groups and fused ranks of rows, each beside its slow and obvious form."""

import numpy as np
import pytest

from hubbleclip.search.ranking import dense_ranks, first_of_groups, fuse


@pytest.mark.parametrize("num", [0, 1, 2, 7, 500])
def test_fast_functions_equal_the_obvious_ones(num: int) -> None:
    rng = np.random.default_rng(num)
    for _ in range(20):
        group_n = rng.integers(-3, max(1, num // 3), num)
        _, first_n = np.unique(group_n, return_index=True)
        assert first_of_groups(group_n).tolist() == np.union1d(first_n, np.flatnonzero(group_n < 0)).tolist()
        score_n = rng.integers(0, 50, num) / 7
        assert dense_ranks(score_n).tolist() == (np.unique(-score_n, return_inverse=True)[1] + 1).tolist()
        model_n, words_n = (rng.permutation(900)[:some].astype(np.int64) for some in (num, num // 2))
        ranks = {int(row): [rank, 0] for rank, row in enumerate(model_n, 1)}
        words_rank_n = rng.integers(1, 9, num // 2)
        for row, rank in zip(words_n.tolist(), words_rank_n, strict=True):
            ranks.setdefault(row, [0, 0])[1] = int(rank)
        score = {row: round(sum(1 / (60 + rank) for rank in both if rank), 12) for row, both in ranks.items()}
        fused = fuse(model_n, words_n, words_rank_n)
        assert fused.row_n.tolist() == sorted(ranks, key=lambda row: (-score[row], row))
        assert [list(both) for both in zip(fused.model_rank_n, fused.words_rank_n, strict=True)] == [
            ranks[row] for row in fused.row_n.tolist()
        ]
