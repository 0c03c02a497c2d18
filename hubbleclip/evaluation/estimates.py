"""Estimate all metrics of an evaluation, for every scorer and protocol, and the differences between scorers.

A scorer is a model, or another method (such as text search) that scores captions for tiles and tiles for captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hubbleclip.core.records import Metric
from hubbleclip.evaluation.embed import ModelFeatures
from hubbleclip.evaluation.forgetting import DIGITS, FORGETTING, PHOTOGRAPHS
from hubbleclip.evaluation.metrics import zeroshot
from hubbleclip.evaluation.metrics.baselines import bm25_scores, hybrid_scores, oracle_scores
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import (
    FAIR,
    Estimate,
    Scores,
    chance_estimates,
    difference,
    equation_estimates,
    fair_estimates,
    paperclip_estimates,
)
from hubbleclip.evaluation.metrics.retrieval import Ints, cosine_scores
from hubbleclip.evaluation.metrics.zeroshot import IMAGES, ZERO_SHOT, Labels
from hubbleclip.evaluation.test_set import TestSet

FINE_TUNED = "fine_tuned"
COMPARED_SCORERS = ("other", "base", "shuffled", "bm25", "hybrid")
"""Scorers that the fine-tuned model is compared with; a scorer that an evaluation does not have is skipped."""
COMPARED_METRICS = {
    (FAIR, "i2t_accuracy_at_10pct"): "image to text",
    (FAIR, "t2i_accuracy_at_10pct"): "text to image",
    (ZERO_SHOT, "kind_map"): "classes of object, zero-shot",
    (ZERO_SHOT, "category_map"): "science categories, zero-shot",
    (IMAGES, "same_proposal_map"): "image to image, same proposal",
    (IMAGES, "same_kind_map"): "image to image, same class",
    (FORGETTING, PHOTOGRAPHS): "photographs of things on Earth, zero-shot",
    (FORGETTING, DIGITS): "handwritten digits, zero-shot",
}
"""Metrics by which the fine-tuned model is compared with other scorers: label of the metric by protocol and name."""


def all_estimates(
    test_set: TestSet,
    features: Mapping[str, ModelFeatures],
    labels: Mapping[str, Labels],
    num_resamples: int,
    extra: Sequence[Estimate] = (),
) -> list[Estimate]:
    """Estimate every metric of every scorer, and the paired differences between the fine-tuned model and other scorers.

    `features` maps the name of each model to its features; one name is `fine_tuned`. The result contains `extra`.
    """
    weights_bg = draw_weights(test_set.num_groups, num_resamples)
    estimates = [*extra]
    for scores in all_scores(test_set, features):
        estimates += fair_estimates(scores, test_set, weights_bg)
        estimates += paperclip_estimates(scores, test_set, weights_bg)
        estimates += equation_estimates(scores, test_set, weights_bg)
    estimates += chance_estimates(test_set, weights_bg)
    estimates += zero_shot_estimates(test_set, features, labels, weights_bg)
    samples, group_t = test_set.samples, test_set.group_t
    tied_t1 = np.zeros((len(samples), 1))  # all tiles are tied, which is equivalent to a random order
    for name, tiles_td in {**{name: one.tiles_td for name, one in features.items()}, "random": tied_t1}.items():
        estimates += zeroshot.image_retrieval_estimates(name, tiles_td, samples, group_t, weights_bg)
    return [*estimates, *differences(estimates)]


def all_scores(test_set: TestSet, features: Mapping[str, ModelFeatures]) -> Iterator[Scores]:
    """Score every tile against every caption, by each scorer."""
    for name, of_model in features.items():
        yield Scores.of_features(name, of_model.tiles_td, of_model.captions_cd)
    bm25 = Scores.of_text_search(test_set)
    yield bm25
    tiles_td, captions_cd = features[FINE_TUNED].tiles_td, features[FINE_TUNED].captions_cd
    yield Scores(
        scorer="hybrid",
        i2t_tc=hybrid_scores(bm25.i2t_tc, tiles_td, captions_cd),
        t2i_ct=hybrid_scores(bm25.t2i_ct, captions_cd, tiles_td),
    )
    oracle_tc = oracle_scores(test_set.samples, test_set.caption_t, len(test_set.captions_c))
    if oracle_tc is not None:
        yield Scores(scorer="oracle", i2t_tc=oracle_tc, t2i_ct=oracle_tc.T)


def zero_shot_estimates(
    test_set: TestSet, features: Mapping[str, ModelFeatures], labels: Mapping[str, Labels], weights_bg: Ints
) -> list[Estimate]:
    """Estimate zero-shot retrieval and classification; the labels are the catalog's target classes and categories."""
    estimates: list[Estimate] = []
    resampling = {"group_t": test_set.group_t, "weights_bg": weights_bg}
    documents = [test_set.captions_c[caption] for caption in test_set.caption_t]
    for task, of_task in labels.items():
        by_scorer = {
            name: cosine_scores(of_model.labels_kd[task], of_model.tiles_td) for name, of_model in features.items()
        }
        for name, scores_kt in by_scorer.items():
            logits_tk = features[name].logit_scale * scores_kt.T
            estimates += zeroshot.classification_estimates(task, name, logits_tk, of_task, **resampling)
        # BM25, the hybrid and chance rank tiles but give no class probabilities, so only their retrieval is estimated.
        by_scorer["bm25"] = bm25_scores(of_task.phrases, documents)
        tuned = features[FINE_TUNED]
        by_scorer["hybrid"] = hybrid_scores(by_scorer["bm25"], tuned.labels_kd[task], tuned.tiles_td)
        # All scores of the scorer `random` are tied, which gives exactly the expectation by chance.
        by_scorer["random"] = np.zeros_like(by_scorer[FINE_TUNED])
        for name, scores_kt in by_scorer.items():
            estimates += zeroshot.phrase_retrieval_estimates(task, name, scores_kt, of_task, **resampling)
    return estimates


def differences(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Subtract the metrics of each compared scorer from the metrics of the fine-tuned model, also on each resample."""
    by_key = {(estimate.protocol, estimate.scorer, estimate.name): estimate for estimate in estimates}
    return [
        difference(by_key[protocol, FINE_TUNED, name], by_key[protocol, scorer, name])
        for protocol, name in COMPARED_METRICS
        for scorer in COMPARED_SCORERS
        if (protocol, scorer, name) in by_key
    ]


def as_metric(estimate: Estimate, run_id: str) -> Metric:
    """Convert an estimate to a row for the catalog."""
    return Metric(run_id=run_id, protocol=estimate.protocol, split="test", **estimate.row())
