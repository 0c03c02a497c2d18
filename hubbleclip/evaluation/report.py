"""From a dataset and a run to a report: embed, score, bootstrap, render, and put it in place in one step."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hubbleclip import files
from hubbleclip.dataset.shards import DatasetInfo, read_dataset
from hubbleclip.errors import EvaluationError
from hubbleclip.evaluation import embed, page, zeroshot
from hubbleclip.evaluation.baselines import bm25_scores, metadata_text, oracle_scores
from hubbleclip.evaluation.bootstrap import draw_weights
from hubbleclip.evaluation.protocols import (
    FAIR,
    Estimate,
    Scores,
    chance_estimates,
    difference,
    fair_estimates,
    paperclip_estimates,
)
from hubbleclip.evaluation.retrieval import Floats, Ints, cosine_scores
from hubbleclip.evaluation.testset import TestSet, make_test_set
from hubbleclip.records import Metric, Run, Sample, to_row
from hubbleclip.settings import EvaluationSettings
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.model import LoadedModel, load_model
from hubbleclip.training.runs import read_model_settings, read_run

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
RIVALS = ("base", "shuffled", "bm25")
COMPARED = ("i2t_accuracy_at_10pct", "t2i_accuracy_at_10pct")
SAMPLE_COLUMNS = tuple(Sample.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found. `path` is the report's directory."""

    path: Path
    run_id: str
    dataset_digest: str
    num_tiles: int
    num_groups: int
    metrics: list[Metric]


def evaluate(
    dataset_dir: Path,
    run_dir: Path,
    shuffled_run_dir: Path | None,
    out_dir: Path,
    settings: EvaluationSettings,
    *,
    code_version: str,
) -> Evaluation:
    """Score a run on the test split beside its baselines and write `index.html`, `metrics.json`, `embeddings.npz`.

    `shuffled_run_dir` is a run on shuffled pairs, or None. The report appears under `out_dir` whole or not at all; its
    bytes depend on dataset, runs, settings and code alone. Raises EvaluationError when there is no finished run or
    the test split has fewer than two proposal groups.
    """
    info = read_dataset(dataset_dir)
    run = read_run(run_dir).run
    test_set = make_test_set(read_samples(info))
    vocabulary = zeroshot.read_vocabulary()
    models = load_models(run_dir, run.seed, shuffled_run_dir, settings.precision)
    features = {name: embed_test(loaded, info, test_set, settings.batch_size) for name, loaded in models.items()}
    phrases = {name: embed_vocabulary(models[name], vocabulary, settings.batch_size) for name in page.SHOWN}
    tile_features = embed_splits(models["fine_tuned"], info, settings.batch_size)
    metrics = measure(test_set, features, settings, run.run_id)
    facts = report_facts(info, run, test_set, settings, code_version)
    results = page.Results(
        test_set=test_set, features=features, vocabulary=vocabulary, phrases=phrases, metrics=metrics, facts=facts
    )
    content = {
        "index.html": page.render(info, results, settings).encode("utf-8"),
        "metrics.json": metrics_json(metrics, facts),
        "embeddings.npz": embeddings_npz(tile_features, info, run),
    }
    write_report(out_dir, content)
    return Evaluation(
        path=out_dir, run_id=run.run_id, dataset_digest=info.digest, num_tiles=len(test_set.samples),
        num_groups=test_set.num_groups, metrics=metrics,
    )  # fmt: skip


def read_samples(info: DatasetInfo) -> list[Sample]:
    """All rows of the manifest, in its order."""
    return [Sample(**row) for row in info.manifest.select(SAMPLE_COLUMNS).to_pylist()]


def load_models(run_dir: Path, seed: int, shuffled_run_dir: Path | None, precision: str) -> dict[str, LoadedModel]:
    """The model of the run, the one that it started from, and the one trained on shuffled pairs where there is one."""
    models = {"fine_tuned": load_run_model(run_dir), "base": load_model(read_model_settings(run_dir), seed)}
    if shuffled_run_dir is not None:
        models["shuffled"] = load_run_model(shuffled_run_dir)
    return {name: embed.ready_to_embed(loaded, precision) for name, loaded in models.items()}


def embed_splits(loaded: LoadedModel, info: DatasetInfo, batch_size: int) -> dict[str, tuple[list[str], Floats]]:
    """Tile ids and features of every split that has tiles."""
    return {split: embed.embed_tiles(loaded, info, split, batch_size) for split in SPLITS if info.shards[split]}


def embed_test(loaded: LoadedModel, info: DatasetInfo, test_set: TestSet, batch_size: int) -> page.Features:
    """What a model makes of the test tiles and their captions."""
    tile_ids, tiles_td = embed.embed_tiles(loaded, info, "test", batch_size)
    if tile_ids != [sample.tile_id for sample in test_set.samples]:
        raise EvaluationError(f"{info.path}: its manifest is not sorted by tile id: build the dataset again")
    return page.Features(tiles_td=tiles_td, captions_gd=embed.embed_texts(loaded, test_set.captions_g, batch_size))


def embed_vocabulary(loaded: LoadedModel, vocabulary: zeroshot.Vocabulary, batch_size: int) -> page.Phrases:
    """What a model makes of the vocabulary, one feature a phrase."""

    def phrases(texts: tuple[str, ...], templates: tuple[str, ...]) -> Floats:
        feat_pd = embed.embed_pieces(loaded, zeroshot.prompts(texts, templates), batch_size)
        return zeroshot.ensembled(feat_pd, len(templates))

    return page.Phrases(
        objects_pd=phrases(vocabulary.object_classes, zeroshot.OBJECT_PROMPTS),
        hypotheses_pd=phrases(vocabulary.science_hypotheses, zeroshot.HYPOTHESIS_PROMPTS),
        queries_pd=phrases(vocabulary.queries, zeroshot.QUERY_PROMPTS),
    )


def all_scores(test_set: TestSet, features: Mapping[str, page.Features]) -> Iterable[Scores]:
    """Scores of the models, of text search and, where classes are known, of the oracle."""
    for name, of_model in features.items():
        scores_tg = cosine_scores(of_model.tiles_td, of_model.captions_gd)
        yield Scores(scorer=name, i2t_tg=scores_tg, t2i_gt=scores_tg.T)
    metadata = [metadata_text(sample) for sample in test_set.samples]
    captions = test_set.captions_g
    yield Scores(scorer="bm25", i2t_tg=bm25_scores(metadata, captions), t2i_gt=bm25_scores(captions, metadata))
    known_tg = oracle_scores(test_set.samples, test_set.group_t, test_set.num_groups)
    if known_tg is not None:
        yield Scores(scorer="oracle", i2t_tg=known_tg, t2i_gt=known_tg.T)


def measure(
    test_set: TestSet, features: Mapping[str, page.Features], settings: EvaluationSettings, run_id: str
) -> list[Metric]:
    """Every metric with its interval, and the paired differences between the fine-tuned model and its rivals."""
    weights_bg: Ints = draw_weights(test_set.num_groups, settings.bootstrap, settings.seed)
    tile_ids = [sample.tile_id for sample in test_set.samples]
    estimates: list[Estimate] = []
    for scores in all_scores(test_set, features):
        estimates += fair_estimates(scores, test_set.group_t, weights_bg)
        estimates += paperclip_estimates(scores, tile_ids, test_set.group_t, weights_bg)
    estimates += chance_estimates(test_set.group_t, test_set.num_groups, settings.bootstrap, settings.seed)
    estimates += differences(estimates)
    return [as_metric(estimate, run_id) for estimate in estimates]


def differences(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The fine-tuned model minus each rival, on the headline figures of the protocol `fair`."""
    found = {(one.scorer, one.name): one for one in estimates if one.protocol == FAIR}
    return [
        difference(found["fine_tuned", name], found[rival, name])
        for name in COMPARED
        for rival in RIVALS
        if (rival, name) in found
    ]


def as_metric(estimate: Estimate, run_id: str) -> Metric:
    """The estimate as the catalog keeps it, rounded to six places."""
    low, high = estimate.interval()
    return Metric(
        run_id=run_id, protocol=estimate.protocol, split="test", model=estimate.scorer, name=estimate.name,
        value=round(estimate.value, 6), low=round(low, 6), high=round(high, 6),
    )  # fmt: skip


def report_facts(
    info: DatasetInfo, run: Run, test_set: TestSet, settings: EvaluationSettings, code_version: str
) -> dict[str, Any]:
    """What a reader must know to judge the figures: data, run, settings and code."""
    return {
        "run_id": run.run_id,
        "model": run.model,
        "pretrained": run.pretrained,
        "loss": run.loss,
        "best_step": run.best_step,
        "samples_seen": run.samples_seen,
        "dataset_digest": info.digest,
        "trained_on_digest": run.dataset_digest,
        "is_simulated": any(sample.archive == "simulated" for sample in test_set.samples),
        "code_version": code_version,
        "num_tiles": len(test_set.samples),
        "num_groups": test_set.num_groups,
        "counts": info.description["counts"],
        "settings": settings.model_dump(mode="json"),
        "training": json.loads(run.settings),
    }


def metrics_json(metrics: Sequence[Metric], facts: Mapping[str, Any]) -> bytes:
    """`metrics.json`: the facts and a list of metrics, the same bytes for the same figures."""
    rows = [{key: value for key, value in to_row(metric).items() if key != "run_id"} for metric in metrics]
    return (json.dumps({**facts, "metrics": rows}, indent=1, sort_keys=True) + "\n").encode("utf-8")


def embeddings_npz(tile_features: Mapping[str, tuple[list[str], Floats]], info: DatasetInfo, run: Run) -> bytes:
    """`embeddings.npz`: `tile_id` (n,), `feat_nd` of length 1 as float16, and whose they are."""
    tile_ids = [tile_id for ids, _ in tile_features.values() for tile_id in ids]
    feat_nd = np.concatenate([feat for _, feat in tile_features.values()])
    buffer = io.BytesIO()
    np.savez(
        buffer, tile_id=np.array(tile_ids), feat_nd=feat_nd.astype(np.float16),
        dataset_digest=np.array(info.digest), run_id=np.array(run.run_id), step=np.array(run.best_step),
    )  # fmt: skip
    return buffer.getvalue()


def write_report(out_dir: Path, content: Mapping[str, bytes]) -> None:
    """Write the files beside `out_dir`, then rename: a report is whole or absent. An older one is replaced."""
    building = out_dir.with_name(f".{out_dir.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    for name, data in content.items():
        files.write_bytes(building / name, data)
    shutil.rmtree(out_dir, ignore_errors=True)
    building.rename(out_dir)
    files.sync_folder(out_dir.parent)
    log.info("wrote report %s", out_dir)
