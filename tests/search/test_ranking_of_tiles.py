"""Ranks, groups and fused ranks of rows, each beside its slow and obvious form."""

import numpy as np
import pytest

from hubbleclip.search.ranking import dense_ranks, first_of_groups, fuse
from hubbleclip.search.stores.base import Scored


@pytest.mark.parametrize("num", [0, 1, 2, 7, 500])
def test_fast_functions_equal_the_obvious_ones(num: int) -> None:
    rng = np.random.default_rng(num)
    for _ in range(20):
        group_n = rng.integers(-3, max(1, num // 3), num)
        first = [n for n, group in enumerate(group_n) if group < 0 or group not in group_n[:n]]
        assert first_of_groups(group_n).tolist() == first
        score_n = rng.integers(0, 50, num) / 7
        assert dense_ranks(score_n, score_n).tolist() == (np.unique(-score_n, return_inverse=True)[1] + 1).tolist()
        model_n, words_n = (rng.permutation(900)[:some].astype(np.int64) for some in (num, num // 2))
        scored = Scored(words_n, rng.integers(1, 9, num // 2) / 4)
        compared_n = np.union1d(model_n, words_n[: num // 3])
        fused_n = rng.integers(-4, 9, len(compared_n)) / 8
        by_words, by_both = (dict(zip(*pair, strict=True)) for pair in (scored, (compared_n, fused_n)))
        admitted = {*words_n, *model_n, *range(900, 905)}
        sums = {row: by_both.get(row, by_words.get(row, 0) - 2) for row in admitted}
        depth = rng.integers(1, max(2, 2 * len(sums)))
        mask_n = np.isin(np.arange(910), [*admitted])
        fused = fuse(scored, model_n, Scored(compared_n, fused_n), mask_n, depth, others=-2.0)
        assert fused.row_n.tolist() == sorted(sums, key=lambda row: (-sums[row], row))[:depth]
        assert fused.is_complete == (depth >= len(sums))
        assert fused.score_n.tolist() == [sums[row] for row in fused.row_n]
        model_rank = {row: rank for rank, row in enumerate(model_n, 1)}
        words_rank = dict(zip(words_n, dense_ranks(scored.score_n, scored.score_n), strict=True))
        assert fused.model_rank_n.tolist() == [model_rank.get(row, 0) for row in fused.row_n]
        assert fused.words_rank_n.tolist() == [words_rank.get(row, 0) for row in fused.row_n]
