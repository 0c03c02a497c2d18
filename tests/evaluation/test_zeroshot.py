"""Zero-shot tasks: labels, resampled metrics in closed form, calibration, image to image."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from evaluation_samples import sample
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.core.records import Sample
from hubbleclip.evaluation.metrics import zeroshot
from hubbleclip.evaluation.metrics.baselines import fused_scores
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.ranking import (
    ranking_metrics,
    resampled_ndcg,
    resampled_precision,
    resampled_ranking_metrics,
)


def labels_of(samples: Sequence[Sample]) -> dict[str, zeroshot.Labels]:
    _, group_t = np.unique([one.group_id for one in samples], return_inverse=True)
    return zeroshot.make_labels(samples, group_t)


rows = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 3)), min_size=2, max_size=8)


@given(rows)
def test_metrics_of_a_resample_equal_those_of_the_items_written_out(items) -> None:
    scores_i, positive_i, weight_i = (np.array(column) for column in zip(*items, strict=True))
    listed = np.repeat(np.arange(len(items)), weight_i)
    found = resampled_ranking_metrics(scores_i.astype(float), positive_i, weight_i[None])
    if not positive_i[listed].any():
        assert np.isnan(found).all()
        return
    np.testing.assert_allclose(found, ranking_metrics(scores_i[listed].astype(float)[None], positive_i[listed][None]))
    once_1i, scores_i, gains_i = np.ones((1, len(listed)), dtype=int), scores_i.astype(float), positive_i.astype(float)
    for metric in (resampled_ndcg, partial(resampled_precision, num_top=3)):
        written_out = metric(scores_i[listed], gains_i[listed], once_1i)
        np.testing.assert_allclose(metric(scores_i, gains_i, weight_i[None]), written_out)


def test_only_the_groups_of_the_kept_phrases_count_and_joined_groups_are_one() -> None:
    classes = ("GALAXY;COMET", "GALAXY;RING", "GALAXY", "GALAXY")
    samples = [
        sample(i, max(0, i - 1), target_class=name, category=None) for i, name in enumerate(classes)
    ]  # the class of all tiles is dropped
    assert labels_of(samples) == {}
    two = [sample(i, i, target_class=name, category=None) for i, name in enumerate(("GALAXY", "COMET", None))]
    assert list(zeroshot.make_labels(two, np.array([0, 1, 2]))) == ["kind"]
    assert zeroshot.make_labels(two, np.array([0, 0, 1])) == {}
    one_phrase = [sample(i, i, target_class=name, category=None) for i, name in enumerate(("COMET", "COMET", None))]
    assert labels_of(one_phrase) == {}


def test_metrics_have_intervals_where_few_groups_have_a_class() -> None:
    group_t, weights_bg = np.arange(6), draw_weights(6, 200, 0)
    samples = [sample(i, i, target_class=name) for i, name in enumerate(("GALAXY", "COMET", *[None] * 4))]
    labels, scores_tk = labels_of(samples)["kind"], np.eye(6)[:, :2]
    assert (weights_bg[:, :2].sum(axis=1) == 0).any()  # resamples without any class
    drawn = {"group_t": group_t, "weights_bg": weights_bg}
    found = zeroshot.phrase_retrieval_estimates("kind", "m", scores_tk.T, labels, **drawn)
    found += zeroshot.classification_estimates("kind", "m", scores_tk, labels, **drawn)
    assert len(found) == 5
    assert all(np.isfinite([one.value, *one.interval()]).all() for one in found)


def test_zero_shot_estimates_know_the_sizes_of_the_groups() -> None:
    """Without them, each group counts as one tile, and intervals near 100 % are wider than they have to be."""
    group_t = np.repeat(np.arange(4), [1, 5, 3, 7])
    samples = [sample(i, group, target_class=("GALAXY", "COMET")[group % 2]) for i, group in enumerate(group_t)]
    labels, drawn = labels_of(samples)["kind"], {"group_t": group_t, "weights_bg": draw_weights(4, 50, 0)}
    scores_tk = labels.is_positive_kt.T.astype(float)
    found = zeroshot.phrase_retrieval_estimates("kind", "m", scores_tk.T, labels, **drawn)
    found += zeroshot.classification_estimates("kind", "m", scores_tk, labels, **drawn)
    assert [one.sizes_g.tolist() for one in found] == [[1, 5, 3, 7]] * 5


def test_fusion_adds_words_and_the_similarity_to_the_query_and_to_the_best_three_by_words() -> None:
    words_i, feat_id = np.array([0.0, 3.0, 1.0, 0.5, 0.5]), np.eye(5)
    examples_d = np.array([0, 3, 1, 0.5, 0]) / np.sqrt(9 + 1 + 0.25)  # of equal scores, the first is an example
    query_d = np.array([0, 0, 0, 0, 7.0])
    expected = words_i + 2 * (0.5 * examples_d + query_d)
    np.testing.assert_allclose(fused_scores(words_i, query_d, feat_id, text_weight=0.5), expected, atol=1e-9)
    np.testing.assert_allclose(fused_scores(0 * words_i, query_d, feat_id), 2 * query_d, atol=1e-9)


def test_classes_of_all_tiles_and_the_mark_of_simulated_ones_are_no_phrases() -> None:
    classes = ("SIMULATED;GALAXY; Spiral ", "GALAXY;COMET", "SIMULATED;GALAXY;COMET;", "GALAXY;;RING")
    labels = labels_of([sample(i, i, target_class=name, category=None) for i, name in enumerate(classes)])
    assert labels["kind"].phrases == ("comet", "ring", "spiral")
    assert labels["kind"].is_positive_kt.tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    categories = ("Galaxies & Clusters", "GALAXIES AND CLUSTERS", "Stars")
    one_name = labels_of([sample(i, i, target_class=None, category=name) for i, name in enumerate(categories)])[
        "category"
    ]
    assert one_name.phrases == ("galaxies and clusters", "stars")


def labelled(num_tiles: int, num_phrases: int) -> zeroshot.Labels:
    """Tiles with none, one or two labels; every phrase labels some tile."""
    rng = np.random.default_rng(8)
    is_positive_kt = rng.random((num_phrases, num_tiles)) < 0.15
    is_positive_kt[np.arange(num_phrases), np.arange(num_phrases)] = True
    is_positive_kt[:, -3:] = False
    return zeroshot.Labels(phrases=tuple("abcdefgh"[:num_phrases]), prompts=("{}",), is_positive_kt=is_positive_kt)


def test_classification_of_labelled_tiles_equals_the_definitions_written_out() -> None:
    labels, group_t, weights_bg = labelled(40, 8), np.arange(40) % 9, draw_weights(9, 60, 2)
    logits_tk = np.random.default_rng(3).normal(scale=2.5, size=(40, 8)) + 2 * labels.is_positive_kt.T
    tiles = np.flatnonzero(labels.is_positive_kt.any(axis=0))
    assert len(tiles) < 40

    def metrics(chosen: list[int]) -> tuple[float, float, float]:
        tops: dict[int, list[bool]] = {1: [], 5: []}
        bins: dict[int, list[float]] = {}
        for tile in chosen:
            order = np.argsort(-logits_tk[tile])
            for count, hits in tops.items():
                hits.append(any(labels.is_positive_kt[phrase, tile] for phrase in order[:count]))
            confidence = np.exp(logits_tk[tile, order[0]]) / np.exp(logits_tk[tile]).sum()
            bins.setdefault(int(10 * confidence), []).append(confidence - tops[1][-1])
        error = sum(abs(sum(excess)) for excess in bins.values()) / len(chosen)
        return float(np.mean(tops[1])), float(np.mean(tops[5])), error

    found = zeroshot.classification_estimates("kind", "m", logits_tk, labels, group_t=group_t, weights_bg=weights_bg)
    assert [one.name for one in found] == ["kind_top1", "kind_top5", "kind_calibration_error"]
    assert [one.value for one in found] == pytest.approx(metrics(list(tiles)))
    assert 0.3 < found[0].value < found[1].value < 1
    drawn = np.array([metrics([tile for tile in tiles for _ in range(row[group_t[tile]])]) for row in weights_bg])
    np.testing.assert_allclose(found[0].draws_b, drawn[:, 0])
    shift = drawn[:, 2].mean() - found[2].value  # all copies of a tile err alike, which the shift corrects
    np.testing.assert_allclose(found[2].draws_b, np.clip(drawn[:, 2] - shift, 0, 1))


def test_phrases_count_once_each_and_are_left_out_of_resamples_without_their_tiles() -> None:
    labels, group_t, weights_bg = labelled(14, 4), np.arange(14) // 2, draw_weights(7, 80, 1)
    scores_kt = np.random.default_rng(6).integers(0, 9, (4, 14)).astype(float)
    (found, _) = zeroshot.phrase_retrieval_estimates(
        "kind", "m", scores_kt, labels, group_t=group_t, weights_bg=weights_bg
    )
    precision_k = ranking_metrics(scores_kt, labels.is_positive_kt)[0]
    assert (found.name, found.value) == ("kind_map", pytest.approx(precision_k.mean()))
    means = []
    for row in weights_bg:
        tiles = np.repeat(np.arange(14), row[group_t])
        is_drawn_k = labels.is_positive_kt[:, tiles].any(axis=1)
        means.append(
            ranking_metrics(scores_kt[is_drawn_k][:, tiles], labels.is_positive_kt[is_drawn_k][:, tiles])[0].mean()
        )
    assert any(
        not labels.is_positive_kt[:, np.repeat(np.arange(14), row[group_t])].any(axis=1).all() for row in weights_bg
    )
    np.testing.assert_allclose(found.draws_b, np.clip(np.array(means) - np.mean(means) + found.value, 0, 1))


def test_related_images_are_ranked_without_the_query_and_classes_without_its_proposal(monkeypatch) -> None:
    """Each metric of images against loops over the queries, for groups of 1 to 4 tiles and tiles of several classes."""
    group_t = np.repeat(np.arange(6), [1, 4, 2, 3, 1, 3])
    classes = ("GALAXY;RING", "COMET", "GALAXY;SPIRAL", None, "RING", "COMET;SPIRAL")
    samples = [sample(i, group, target_class=classes[group]) for i, group in enumerate(group_t)]
    tiles_td = np.random.default_rng(9).normal(size=(len(group_t), 5))
    tiles_td /= np.linalg.norm(tiles_td, axis=1, keepdims=True)
    terms = [set((one.target_class or "").split(";")) - {""} for one in samples]
    expected: dict[str, list[float]] = {}
    for query in range(len(samples)):
        others = sorted(
            (tile for tile in range(len(samples)) if tile != query), key=lambda tile: -tiles_td[query] @ tiles_td[tile]
        )
        strangers = [tile for tile in others if group_t[tile] != group_t[query]]
        rankings = {
            "same_proposal": [group_t[tile] == group_t[query] for tile in others],
            "same_kind": [bool(terms[tile] & terms[query]) for tile in strangers],
        }
        for name, is_right in rankings.items():
            if any(is_right):
                ranks = np.flatnonzero(is_right) + 1
                gains = 1 / np.log2(ranks[ranks <= 10] + 1)
                best = 1 / np.log2(np.arange(1, min(len(ranks), 10) + 1) + 1)
                expected.setdefault(f"{name}_map", []).append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
                expected.setdefault(f"{name}_recall_at_1", []).append(float(is_right[0]))
                expected.setdefault(f"{name}_ndcg_at_10", []).append(gains.sum() / best.sum())
    monkeypatch.setattr(zeroshot, "QUERIES_PER_BLOCK", 5)
    found = zeroshot.image_retrieval_estimates("m", tiles_td, samples, group_t, draw_weights(6, 50, 0))
    means = {name: np.mean(values) for name, values in expected.items()}
    assert {one.name: one.value for one in found} == pytest.approx(means, abs=1e-6)
    assert {one.name.removesuffix("_map"): one.num_groups for one in found if one.name.endswith("map")} == {
        "same_proposal": 4,
        "same_kind": 5,
    }


def test_a_task_of_images_whose_queries_are_all_in_one_group_is_absent() -> None:
    group_t = np.array([0, 0, 1, 2])
    samples = [sample(i, group, target_class=("A", "B", "B")[group]) for i, group in enumerate(group_t)]
    found = zeroshot.image_retrieval_estimates("m", np.eye(4), samples, group_t, draw_weights(3, 20, 0))
    assert {one.name for one in found} == {"same_kind_map", "same_kind_recall_at_1", "same_kind_ndcg_at_10"}
