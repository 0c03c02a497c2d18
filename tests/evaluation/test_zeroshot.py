"""Zero-shot tasks: labels, resampled metrics in closed form, calibration, image to image."""

import numpy as np
import pytest
from evaluation_samples import sample
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.evaluation.metrics import zeroshot
from hubbleclip.evaluation.metrics.baselines import hybrid_scores
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.ranking import ranking_metrics, resampled_ranking_metrics

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


def test_each_term_of_a_class_is_a_phrase_and_categories_of_all_cycles_are_one() -> None:
    samples = [
        sample(0, target_class="GALAXY;SPIRAL", category="GALAXIES & CLUSTERS"),
        sample(1, 1, target_class="GALAXY;IRREGULAR", category="Galaxies and clusters"),
        sample(2, target_class=None, category="Cosmology"),
    ]
    labels = zeroshot.make_labels(samples)
    assert labels["kind"].phrases == ("galaxy", "irregular", "spiral")
    assert labels["kind"].is_positive_kt.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert labels["category"].phrases == ("cosmology", "galaxies and clusters")


def test_a_task_with_one_label_is_absent() -> None:
    assert zeroshot.make_labels([sample(i, 0, category="Galaxies") for i in range(3)]) == {}


def test_a_task_with_labels_in_one_group_is_absent() -> None:
    classes = ("GALAXY", "COMET", None)
    one_group, two_groups = (
        [sample(i, group, target_class=classes[i], category=None) for i, group in enumerate(groups)]
        for groups in ((0, 0, 1), (0, 1, 1))
    )
    assert zeroshot.make_labels(one_group) == {}
    assert list(zeroshot.make_labels(two_groups)) == ["kind"]


def test_metrics_have_intervals_where_few_groups_have_a_class() -> None:
    group_t, weights_bg = np.arange(6), draw_weights(6, 200, 0)
    samples = [sample(i, i, target_class=name) for i, name in enumerate(("GALAXY", "COMET", *[None] * 4))]
    labels, scores_tk = zeroshot.make_labels(samples)["kind"], np.eye(6)[:, :2]
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
    labels, drawn = zeroshot.make_labels(samples)["kind"], {"group_t": group_t, "weights_bg": draw_weights(4, 50, 0)}
    scores_tk = labels.is_positive_kt.T.astype(float)
    found = zeroshot.phrase_retrieval_estimates("kind", "m", scores_tk.T, labels, **drawn)
    found += zeroshot.classification_estimates("kind", "m", scores_tk, labels, **drawn)
    assert [one.sizes.tolist() for one in found] == [[1, 5, 3, 7]] * 5


def test_confidence_equal_to_accuracy_has_no_calibration_error() -> None:
    weights_bt = np.ones((1, 10), dtype=int)
    right_t = np.array([1.0] * 7 + [0.0] * 3)
    assert zeroshot.calibration_error(np.full(10, 0.7), right_t, weights_bt)[0] == pytest.approx(0)
    assert zeroshot.calibration_error(np.full(10, 0.95), right_t, weights_bt)[0] == pytest.approx(0.25)


def test_images_retrieve_their_proposal_and_their_class_in_other_proposals() -> None:
    group_t = np.array([0, 0, 1, 1, 4, 4])
    samples = [sample(i, group) for i, group in enumerate(group_t)]  # groups 0 and 4 are of one class
    group_t = np.array([0, 0, 1, 1, 2, 2])
    perfect = np.eye(3)[group_t]
    found = {
        one.name: one.value
        for one in zeroshot.image_retrieval_estimates("m", perfect, samples, group_t, draw_weights(3, 100, 0))
    }
    assert found["same_proposal_map"] == found["same_proposal_recall_at_1"] == 1
    assert found["same_kind_recall_at_1"] == pytest.approx(0.5)  # two of the four tiles of other groups


def test_queries_in_blocks_give_the_metrics_of_all_at_once(monkeypatch) -> None:
    group_t = np.random.default_rng(0).integers(0, 9, 50)
    samples = [sample(i, group) for i, group in enumerate(group_t)]
    tiles_td = np.random.default_rng(1).normal(size=(50, 8))
    tiles_td /= np.linalg.norm(tiles_td, axis=1, keepdims=True)
    arguments = ("m", tiles_td, samples, group_t, draw_weights(9, 100, 0))
    whole = zeroshot.image_retrieval_estimates(*arguments)
    monkeypatch.setattr(zeroshot, "QUERIES_PER_BLOCK", 7)
    parts = zeroshot.image_retrieval_estimates(*arguments)
    assert len(whole) == 6
    assert [(one.name, one.value, one.interval()) for one in parts] == [
        (one.name, one.value, one.interval()) for one in whole
    ]


def test_fusion_prefers_items_that_both_rank_high_and_gives_ties_their_mean_rank() -> None:
    first, second = np.array([[3.0, 2.0, 1.0]]), np.array([[0.0, 1.0, 0.0]])
    fused = hybrid_scores(first, second)[0]
    assert fused.argmax() == 1
    assert fused[0] == pytest.approx(1 / 61 + 1 / 62.5)
