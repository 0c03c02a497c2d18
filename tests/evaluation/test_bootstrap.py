import numpy as np
import pytest

from hubbleclip.evaluation.metrics import bootstrap, retrieval


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_retrieval_on_resamples_equals_that_of_the_resampled_queries_and_items_written_out(levels):
    rng = np.random.default_rng(levels)
    group_q, group_i = np.repeat(np.arange(7), rng.integers(1, 5, 7)), np.repeat(np.arange(7), rng.integers(1, 3, 7))
    scores_qi = rng.integers(0, levels, (len(group_q), len(group_i))).astype(float)
    positive_qi = group_q[:, None] == group_i
    weights_bg = bootstrap.draw_weights(7, 120, 1)  # more than one block
    found = bootstrap.resampled_retrieval("t2i", scores_qi, positive_qi, group_q, group_i, weights_bg=weights_bg)
    for number in (0, 60, 119):
        rows, columns = (np.repeat(np.arange(len(g)), weights_bg[number][g]) for g in (group_q, group_i))
        chosen = np.ix_(rows, columns)
        # a query's best positive stays the best of the whole test set; here every copy of its group is present
        ranks = retrieval.rank_best_positives(scores_qi[chosen], positive_qi[chosen])
        for name, cutoff in retrieval.hit_cutoffs("t2i", len(columns)).items():
            assert found[name][number] == pytest.approx(retrieval.hit_probability(ranks, cutoff).mean()), name
        rank_q = retrieval.expected_rank(ranks)
        assert found["t2i_median_rank"][number] == pytest.approx(np.median(rank_q))
        assert found["t2i_normalised_rank"][number] == pytest.approx(rank_q.mean() / len(columns))
