"""Compute a model's features of the tiles and captions of a test set, of zero-shot labels, and of the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hubbleclip.core.errors import EvaluationError
from hubbleclip.dataset.manifest import REBUILD_HINT
from hubbleclip.evaluation.embed import TileFeatures
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.vocabulary import PROMPTS, Vocabulary, ensemble_prompts, fill_templates
from hubbleclip.evaluation.metrics.zeroshot import Labels
from hubbleclip.evaluation.test_set import TestSet
from hubbleclip.training.embeddings import embed_short_texts, embed_texts
from hubbleclip.training.models.builder import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFeatures:
    """One model's features of the test tiles (t, d), of the captions (c, d) and of each zero-shot task's labels (k, d).

    Each row has length 1. `logit_scale` is the factor by which the model multiplies its similarities before a softmax.
    """

    tiles_td: Floats
    captions_cd: Floats
    labels_kd: Mapping[str, Floats]
    logit_scale: float


def embed_test_set(
    loaded: LoadedModel, tiles: TileFeatures, test_set: TestSet, labels: Mapping[str, Labels], batch_size: int
) -> ModelFeatures:
    """Embed the captions and labels of a test set, and combine them with the given features of the tiles."""
    tile_ids, tiles_td = tiles
    if tile_ids != [sample.tile_id for sample in test_set.samples]:
        raise EvaluationError(f"the dataset's manifest is not sorted by tile id: {REBUILD_HINT}")
    return ModelFeatures(
        tiles_td=tiles_td,
        captions_cd=embed_texts(loaded, test_set.captions_c, batch_size),
        labels_kd={
            task: embed_phrases(loaded, of_task.phrases, of_task.prompts, batch_size)
            for task, of_task in labels.items()
        },
        # The model's parameter is the logarithm of the scale.
        logit_scale=float(loaded.model.logit_scale.detach().exp()),
    )


def embed_phrases(loaded: LoadedModel, phrases: tuple[str, ...], templates: tuple[str, ...], batch_size: int) -> Floats:
    """Embed phrases; the feature of a phrase is the normalised mean of the features of its prompts."""
    feat_pd = embed_short_texts(loaded, fill_templates(phrases, templates), batch_size)
    return ensemble_prompts(feat_pd, len(templates))


def embed_vocabulary(loaded: LoadedModel, vocabulary: Vocabulary, batch_size: int) -> dict[str, Floats]:
    """Embed every phrase of the vocabulary."""
    return {name: embed_phrases(loaded, phrases, PROMPTS[name], batch_size) for name, phrases in vocabulary.items()}
