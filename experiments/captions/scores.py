"""Score a run in three ways on the same test tiles: by abstracts, by summaries, and by the short queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.short_queries.judgements import DrawnTile, read_queries
from experiments.short_queries.report import ndcg
from experiments.study.comparisons import METRICS
from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.dataset.manifest import DatasetInfo, samples_of
from hubbleclip.evaluation.embed import ModelSource, embed_split
from hubbleclip.evaluation.metrics.bootstrap import draw_weights, resampled_means
from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate, Scores, fair_estimates
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores
from hubbleclip.evaluation.test_set import TestSet, make_test_set
from hubbleclip.training.embeddings import embed_texts, resolve_precision

QUERIES = "short queries"
Tiles = Mapping[str, DrawnTile]
"""What each tile shows, by tile id."""


def score(info: DatasetInfo, run_dir: Path, settings: EvaluationSettings, tiles: Tiles) -> list[Estimate]:
    """Score a run."""
    test_set = make_test_set(samples_of(info.manifest))
    source = ModelSource(run_dir=run_dir, precision=resolve_precision(settings.precision))
    loaded = source.load()
    ((_, tiles_td),) = embed_split({source: loaded}, "test", info, settings.batch_size).values()
    weights_bg = draw_weights(test_set.num_groups, settings.bootstrap)
    estimates = []
    for name, texts in {"abstract": test_set, "summary": with_summaries(test_set)}.items():
        captions_cd = embed_texts(loaded, texts.captions_c, settings.batch_size)
        fair = fair_estimates(Scores.of_features(run_dir.name, tiles_td, captions_cd), texts, weights_bg)
        estimates += [replace(one, name=f"{name}: {one.name}") for one in fair if one.name in METRICS]
    scores_qt = cosine_scores(embed_texts(loaded, list(read_queries()), settings.batch_size), tiles_td)
    values_q = query_scores(scores_qt, test_set, tiles)
    weights_bq = draw_weights(len(values_q), settings.bootstrap)
    draws_b = resampled_means(values_q[:, None], np.arange(len(values_q)), weights_bq)[:, 0]
    mean = Estimate(
        protocol=FAIR,
        scorer=run_dir.name,
        name=QUERIES,
        value=float(values_q.mean()),
        draws_b=draws_b,
        sizes_g=np.ones(len(values_q), dtype=np.int64),
    )
    return [*estimates, mean]


def with_summaries(test_set: TestSet) -> TestSet:
    """Replace the abstracts of a test set by the summaries of the same proposals."""
    summary_of = {
        sample.captions[0]: text
        for sample in test_set.samples
        for kind, text in zip(sample.caption_kinds, sample.captions, strict=True)
        if kind.startswith("summary@")
    }
    return replace(test_set, captions_c=tuple(summary_of.get(text, text) for text in test_set.captions_c))


def query_scores(scores_qt: Floats, test_set: TestSet, tiles: Tiles) -> Floats:
    """Score the ranking of the test tiles by each short query; as on the page of the search, a proposal has one hit."""
    tile_t = [tiles[sample.tile_id] for sample in test_set.samples]
    values = []
    for gains, scores_t in zip(read_queries().values(), scores_qt, strict=True):
        hits: dict[str, int] = {}
        possible: dict[str, int] = {}
        for tile in (tile_t[index] for index in np.argsort(-scores_t, kind="stable")):
            gain = tile.gain(gains)
            hits.setdefault(tile.proposal_id, gain)
            possible[tile.proposal_id] = max(gain, possible.get(tile.proposal_id, 0))
        if any(possible.values()):
            values.append(ndcg(list(hits.values()), list(possible.values())))
    return np.array(values)
