import numpy as np
import pytest
from evaluation_samples import estimate, one_caption_per_group

from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.metrics import protocols
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Scores
from hubbleclip.evaluation.metrics.retrieval import PERCENTS

GROUP_T = np.repeat(np.arange(20), np.tile([1, 2, 3, 4], 5))
NUM_TILES = len(GROUP_T)
WEIGHTS_BG = draw_weights(20, 200, 0)


def scores(scores_tg, name="model"):
    return Scores(scorer=name, i2t_tc=scores_tg, t2i_ct=scores_tg.T)


def by_name(estimates):
    return {one.name: one for one in estimates}


def own_group():
    return (GROUP_T[:, None] == np.arange(20)).astype(float)


def test_a_scorer_with_equal_scores_gets_the_metrics_of_chance():
    flat = by_name(
        protocols.fair_estimates(scores(np.zeros((NUM_TILES, 20))), *one_caption_per_group(GROUP_T, WEIGHTS_BG))
    )
    chance = by_name(protocols.chance_estimates(*one_caption_per_group(GROUP_T, draw_weights(20, 3000, 0)), 0))
    shares = [name for name in chance if "rank" not in name]
    for name in shares:
        assert flat[name].value == pytest.approx(chance[name].value), name
    assert chance["i2t_accuracy_at_10pct"].value == pytest.approx(0.1)


def test_the_interval_includes_the_chance_of_other_candidates():
    """Every query is ranked below the same half of the candidates: their number decides, and the bootstrap draws it."""
    num_groups = 40
    scores_tg = np.eye(num_groups) * 0.5 + (np.arange(num_groups) < 3)  # three captions come first for every tile
    found = by_name(
        protocols.fair_estimates(
            scores(scores_tg), *one_caption_per_group(np.arange(num_groups), draw_weights(num_groups, 400, 0))
        )
    )
    for name in ("i2t_accuracy_at_10pct", "i2t_recall_at_5"):
        assert found[name].value == 1
        assert found[name].draws_b.min() < 0.5  # where the three captions are drawn five times, no own caption is found


@pytest.mark.parametrize("value", [3.0, 9.0])
def test_the_interval_of_a_median_contains_it_even_if_no_resample_reaches_it(value):
    median = estimate(value, name="i2t_median_rank", draws_b=np.linspace(5, 6, 200))
    low, high = median.interval()
    assert low <= value <= high


def test_groups_without_queries_do_not_narrow_the_interval():
    group_q = np.array([0, 0, 2])
    values = protocols.Values(means={"i2t_map": np.array([0.2, 0.4, 0.9])}, group_q=group_q, medians={})
    (found,) = protocols.bootstrap_estimates("fair", "model", values, draw_weights(5, 50, 0))
    assert (found.num_groups, list(found.sizes_g)) == (2, [2, 1])


@pytest.mark.parametrize("num_tiles", [7, 110])
def test_batches_of_the_reference_have_100_tiles_in_order_and_ten_are_enough(num_tiles):
    rng = np.random.default_rng(num_tiles)
    i2t_tc, t2i_ct = (rng.normal(size=(num_tiles, num_tiles)) + 2 * np.eye(num_tiles) for _ in range(2))
    found = protocols.paperclip_estimates(
        Scores(scorer="m", i2t_tc=i2t_tc, t2i_ct=t2i_ct),
        *one_caption_per_group(np.arange(num_tiles), draw_weights(num_tiles, 100, 0)),
    )
    batches = [
        range(start, min(start + 100, num_tiles)) for start in range(0, num_tiles, 100)
    ]  # of 100 and 10 tiles, or of 7
    expected = {}
    for direction, scores_qi in (("i2t", i2t_tc), ("t2i", t2i_ct)):
        for percent in (1, 5, 10, 20):
            expected[f"{direction}_accuracy_at_{percent}pct"] = np.mean(
                [
                    sum(scores_qi[one, other] > scores_qi[one, one] for other in batch)
                    < max(1, percent * len(batch) // 100)
                    for batch in batches
                    for one in batch
                ]
            )
    assert {one.name: one.value for one in found} == pytest.approx(expected)
    assert {(one.protocol, one.scorer) for one in found} == {("paperclip", "m")}


def test_chance_finds_as_many_groups_as_there_are_tiles_in_a_test_set_of_fewer_than_ten_tiles():
    chance = by_name(protocols.chance_estimates(*one_caption_per_group(np.arange(4), draw_weights(4, 50, 0)), 0))
    diversity = chance["t2i_diversity_at_10"]
    assert diversity.value == pytest.approx(1)
    assert set(diversity.draws_b) == {1.0}


def test_chance_counts_each_caption_once_however_many_tiles_it_has():
    """One of ten tiles is drawn for each: the only one of the first caption, and one of the nine of the second."""
    caption_t = np.repeat([0, 1], [1, 9])
    chance = by_name(protocols.chance_estimates(*one_caption_per_group(caption_t, draw_weights(2, 200, 0)), 0))
    found = set(np.round(chance["t2i_found_at_10pct"].draws_b, 6))
    assert found == {round((first + second / 9) / 2, 6) for first in (0, 1) for second in (0, 1)}


def test_the_median_of_an_even_number_of_random_ranks_is_the_mean_of_the_middle_two():
    chance = by_name(protocols.chance_estimates(*one_caption_per_group(np.arange(2), draw_weights(2, 200, 0)), 0))
    assert set(chance["i2t_median_rank"].draws_b) == {1.0, 1.5, 2.0}


NUM_PAIRS = 200


def naive_equation(images, captions, k):
    """1/|V| sum_i 1[rank(x_i . y_i; {x_i . y_j}) <= floor(k/100 |V|)], equal ones in random order."""
    rng, hits = np.random.default_rng(0), 0.0
    for i, image in enumerate(images):
        scores = captions @ image
        tied, above = np.isclose(scores, scores[i], atol=1e-12), scores > scores[i] + 1e-12
        ranks = above.sum() + 1 + rng.permutation(tied.sum())
        hits += np.mean(ranks <= k * len(images) // 100)
    return hits / len(images)


def random_case(num_groups: int):
    rng = np.random.default_rng(3)
    captions = unit(rng.normal(size=(num_groups, 8)))
    group_t = np.sort(
        rng.permutation(np.r_[np.arange(num_groups), rng.integers(0, num_groups, NUM_PAIRS - num_groups)])
    )
    images = unit(captions[group_t] + rng.normal(size=(NUM_PAIRS, 8)))
    scores_tg = images @ captions.T
    return images, captions, group_t, Scores(scorer="m", i2t_tc=scores_tg, t2i_ct=scores_tg.T)


def test_the_top_1_percent_of_fewer_than_100_captions_is_empty() -> None:
    perfect = Scores(scorer="m", i2t_tc=np.eye(40), t2i_ct=np.eye(40))
    found = protocols.equation_estimates(perfect, *one_caption_per_group(np.arange(40), draw_weights(40, 100, 0)))
    assert [one.value for one in found[:4]] == [0, 0, 1, 1]  # 1, 2, 5 and 10 %


@pytest.mark.parametrize("num_groups", [NUM_PAIRS, 40])
def test_paperclip_equals_the_equation_of_the_reference(num_groups: int) -> None:
    images, captions, group_t, scores = random_case(num_groups)
    found = protocols.equation_estimates(scores, *one_caption_per_group(group_t, draw_weights(num_groups, 100, 0)))
    assert [one.name for one in found] == [f"i2t_accuracy_at_{k}pct" for k in PERCENTS]
    for k, one in zip(PERCENTS, found, strict=True):
        assert one.value == pytest.approx(naive_equation(images, captions[group_t], k), abs=1e-6)
