"""Every figure of an evaluation: all scorers under all protocols, and the differences that matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.records import Metric
from hubbleclip.evaluation.features import Features, averaged_views
from hubbleclip.evaluation.forgetting import FORGETTING
from hubbleclip.evaluation.metrics import zeroshot as kinds
from hubbleclip.evaluation.metrics.baselines import bm25_scores, hybrid_scores, metadata_text, oracle_scores
from hubbleclip.evaluation.metrics.protocols import (
    FAIR,
    VIEWS,
    Estimate,
    Owners,
    Scores,
    chance_estimates,
    difference,
    draw_owners,
    equation_estimates,
    fair_estimates,
    paperclip_estimates,
)
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints, cosine_scores
from hubbleclip.evaluation.metrics.zeroshot import IMAGES, ZERO_SHOT, Labels
from hubbleclip.evaluation.test_set import TestSet

OURS = "fine_tuned"
RIVALS = ("other", "base", "shuffled", "bm25", "hybrid")
COMPARED = (
    (FAIR, "i2t_accuracy_at_10pct"),
    (FAIR, "t2i_accuracy_at_10pct"),
    (ZERO_SHOT, "kind_map"),
    (ZERO_SHOT, "category_map"),
    (IMAGES, "same_proposal_map"),
    (IMAGES, "same_kind_map"),
    (FORGETTING, "digits_top1"),
)


def measure(
    test_set: TestSet,
    features: Mapping[str, Features],
    labels: Mapping[str, Labels],
    settings: EvaluationSettings,
    more: Sequence[Estimate] = (),
) -> list[Estimate]:
    """Every figure with its resamples, `more` among them, and the paired differences between the fine-tuned model and
    its rivals.
    """
    owners = draw_owners(test_set, settings.bootstrap, settings.seed)
    tile_ids = [sample.tile_id for sample in test_set.samples]
    estimates = [*more]
    for scores in all_scores(test_set, features):
        estimates += fair_estimates(scores, owners)
        estimates += paperclip_estimates(scores, tile_ids, owners)
        estimates += equation_estimates(scores, owners)
    estimates += chance_estimates(owners, settings.seed)
    estimates += zero_shot_estimates(test_set, features, labels, owners.weights_bg)
    estimates += images_estimates(test_set, features, owners.weights_bg)
    if settings.average_views:
        estimates += views_estimates(test_set, features, owners)
    return [*estimates, *differences(estimates)]


def all_scores(test_set: TestSet, features: Mapping[str, Features]) -> Iterator[Scores]:
    """Scores of the models, of text search, of both together and, where classes are known, of the oracle."""
    for name, of_model in features.items():
        scores_tc = cosine_scores(of_model.tiles_td, of_model.captions_cd)
        yield Scores(scorer=name, i2t_tc=scores_tc, t2i_ct=scores_tc.T)
    metadata = [metadata_text(sample) for sample in test_set.samples]
    captions = test_set.captions_c
    bm25 = Scores(scorer="bm25", i2t_tc=bm25_scores(metadata, captions), t2i_ct=bm25_scores(captions, metadata))
    yield bm25
    ours_tc = cosine_scores(features[OURS].tiles_td, features[OURS].captions_cd)
    yield Scores(
        scorer="hybrid", i2t_tc=hybrid_scores(ours_tc, bm25.i2t_tc), t2i_ct=hybrid_scores(ours_tc.T, bm25.t2i_ct)
    )
    known_tc = oracle_scores(test_set.samples, test_set.caption_t, len(test_set.captions_c))
    if known_tc is not None:
        yield Scores(scorer="oracle", i2t_tc=known_tc, t2i_ct=known_tc.T)


def zero_shot_estimates(
    test_set: TestSet, features: Mapping[str, Features], labels: Mapping[str, Labels], weights_bg: Ints
) -> list[Estimate]:
    """The catalog's classes and categories as queries; text search reads the abstract of each tile."""
    found: list[Estimate] = []
    drawn = {"group_t": test_set.group_t, "weights_bg": weights_bg}
    documents = [test_set.captions_c[caption] for caption in test_set.caption_t]
    for question, of_question in labels.items():
        scored = {
            name: cosine_scores(of_model.labels_kd[question], of_model.tiles_td) for name, of_model in features.items()
        }
        for name, scores_kt in scored.items():
            found += kinds.naming_estimates(question, name, features[name].scale * scores_kt.T, of_question, **drawn)
        scored["bm25"] = bm25_scores(of_question.phrases, documents)
        scored["hybrid"] = hybrid_scores(scored[OURS], scored["bm25"])
        scored["random"] = np.zeros_like(scored[OURS])
        for name, scores_kt in scored.items():
            found += kinds.label_estimates(question, name, scores_kt, of_question, **drawn)
    return found


def images_estimates(test_set: TestSet, features: Mapping[str, Features], weights_bg: Ints) -> list[Estimate]:
    """Image to image, for the models and chance."""
    tiles: dict[str, Floats] = {name: of_model.tiles_td for name, of_model in features.items()}
    tiles["random"] = np.zeros((len(test_set.samples), 1))
    return [
        one
        for name, tiles_td in tiles.items()
        for one in kinds.image_estimates(name, tiles_td, test_set.samples, test_set.group_t, weights_bg)
    ]


def views_estimates(test_set: TestSet, features: Mapping[str, Features], owners: Owners) -> list[Estimate]:
    """As `fair`, but each tile stands with the mean of its proposal's tiles."""
    found: list[Estimate] = []
    for name, of_model in features.items():
        scores_tc = cosine_scores(averaged_views(of_model.tiles_td, test_set), of_model.captions_cd)
        scores = Scores(scorer=name, i2t_tc=scores_tc, t2i_ct=scores_tc.T)
        found += fair_estimates(scores, owners, protocol=VIEWS)
    return found


def differences(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The fine-tuned model minus each rival on the compared figures, paired."""
    found = {(one.protocol, one.scorer, one.name): one for one in estimates}
    return [
        difference(found[protocol, OURS, name], found[protocol, rival, name])
        for protocol, name in COMPARED
        for rival in RIVALS
        if (protocol, rival, name) in found
    ]


def as_metric(estimate: Estimate, run_id: str) -> Metric:
    """The estimate as the catalog keeps it, rounded to six places."""
    low, high = estimate.interval()
    return Metric(
        run_id=run_id, protocol=estimate.protocol, split="test", model=estimate.scorer, name=estimate.name,
        value=round(estimate.value, 6), low=round(low, 6), high=round(high, 6),
    )  # fmt: skip
