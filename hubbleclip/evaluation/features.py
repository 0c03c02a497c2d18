"""What a model makes of a test set and of the phrases that are asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.vectors import unit
from hubbleclip.evaluation import embed
from hubbleclip.evaluation.embed_parallel import TileFeatures
from hubbleclip.evaluation.metrics import phrases as zeroshot
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.zeroshot import Labels
from hubbleclip.evaluation.test_set import TestSet
from hubbleclip.training.models.builder import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What one model makes of the test tiles (t, d), their captions (c, d) and, by name, the labels' phrases (k, d);
    rows of length 1. `scale` is the factor on its similarities.
    """

    tiles_td: Floats
    captions_cd: Floats
    labels_kd: Mapping[str, Floats]
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phrases:
    """What one model makes of the vocabulary (p, d); rows of length 1."""

    objects_pd: Floats
    hypotheses_pd: Floats
    queries_pd: Floats


def embed_test(
    loaded: LoadedModel, tiles: TileFeatures, test_set: TestSet, labels: Mapping[str, Labels], batch_size: int
) -> Features:
    """What a model makes of the test tiles, embedded already, their captions and their labels."""
    tile_ids, tiles_td = tiles
    if tile_ids != [sample.tile_id for sample in test_set.samples]:
        raise EvaluationError("the dataset's manifest is not sorted by tile id: build the dataset again")
    return Features(
        tiles_td=tiles_td,
        captions_cd=embed.embed_texts(loaded, test_set.captions_c, batch_size),
        labels_kd={
            name: embed_phrases(loaded, of_kind.phrases, of_kind.prompts, batch_size)
            for name, of_kind in labels.items()
        },
        scale=float(loaded.model.logit_scale.detach().exp()),
    )


def embed_phrases(loaded: LoadedModel, phrases: tuple[str, ...], templates: tuple[str, ...], batch_size: int) -> Floats:
    """One feature a phrase, the mean over its prompts."""
    feat_pd = embed.embed_pieces(loaded, zeroshot.prompts(phrases, templates), batch_size)
    return zeroshot.ensembled(feat_pd, len(templates))


def embed_vocabulary(loaded: LoadedModel, vocabulary: zeroshot.Vocabulary, batch_size: int) -> Phrases:
    """What a model makes of the vocabulary, one feature a phrase."""
    return Phrases(
        objects_pd=embed_phrases(loaded, vocabulary.object_classes, zeroshot.OBJECT_PROMPTS, batch_size),
        hypotheses_pd=embed_phrases(loaded, vocabulary.science_hypotheses, zeroshot.HYPOTHESIS_PROMPTS, batch_size),
        queries_pd=embed_phrases(loaded, vocabulary.queries, zeroshot.QUERY_PROMPTS, batch_size),
    )


def averaged_views(features_td: Floats, test_set: TestSet) -> Floats:
    """Each tile's feature as the normalised mean of its proposal's tiles: many views of it as one question."""
    _, proposal_t = np.unique([sample.proposal_id for sample in test_set.samples], return_inverse=True)
    sums_pd = np.zeros((proposal_t.max() + 1, features_td.shape[1]))
    np.add.at(sums_pd, proposal_t, features_td)
    return unit(sums_pd)[proposal_t]
