"""From a dataset and a run to a report: embed, score, bootstrap, render, and put it in place in one step."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core import io as files
from hubbleclip.core.records import Metric, Run, Sample, to_row
from hubbleclip.dataset.build import DatasetInfo, read_dataset
from hubbleclip.dataset.loader import open_split
from hubbleclip.evaluation import embed
from hubbleclip.evaluation.embed_parallel import ModelSource, SpreadParts, embed_splits
from hubbleclip.evaluation.features import Features, embed_test, embed_vocabulary
from hubbleclip.evaluation.forgetting import forgetting_estimates
from hubbleclip.evaluation.measure import as_metric, measure
from hubbleclip.evaluation.metrics import phrases as zeroshot
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.zeroshot import make_labels
from hubbleclip.evaluation.report import page
from hubbleclip.evaluation.report.explore import occlusion_map
from hubbleclip.evaluation.test_set import TestSet, example_tiles, make_test_set
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.runs import read_run

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
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
    dataset_dir: Path | str,
    run_dir: Path,
    shuffled_run_dir: Path | None,
    out_dir: Path,
    settings: EvaluationSettings,
    *,
    code_version: str,
    other_run_dir: Path | None = None,
    spread: SpreadParts | None = None,
) -> Evaluation:
    """Score a run on the test split beside its baselines and write `index.html`, `metrics.json`, `embeddings.npz`.

    `shuffled_run_dir` is a run on shuffled pairs, or None; `other_run_dir` one to compare with, which is then shown in
    place of the base model. Tiles are embedded where `spread` has it done. The report appears under `out_dir` whole or
    not at all; its bytes depend on dataset, runs, settings and code alone. Raises EvaluationError when there is no
    finished run or the test split has fewer than two proposal groups.
    """
    info = read_dataset(dataset_dir)
    run = read_run(run_dir).run
    test_set = make_test_set(read_samples(info))
    vocabulary = zeroshot.read_vocabulary()
    others = {"shuffled": shuffled_run_dir, "other": other_run_dir}
    sources = model_sources(run_dir, run.seed, others, settings.precision)
    models = {name: source.load() for name, source in sources.items()}
    shown = ("fine_tuned", "other" if other_run_dir else "base")
    labels = make_labels(test_set.samples)
    ours = sources["fine_tuned"]
    wanted = [*((ours, split) for split in SPLITS if info.shards[split]), *((one, "test") for one in sources.values())]
    tiles = embed_splits({sources[name]: models[name] for name in models}, wanted, info, settings.batch_size, spread)
    features = {
        name: embed_test(models[name], tiles[source, "test"], test_set, labels, settings.batch_size)
        for name, source in sources.items()
    }
    phrases = {name: embed_vocabulary(models[name], vocabulary, settings.batch_size) for name in shown}
    tile_features = {split: tiles[ours, split] for split in SPLITS if (ours, split) in tiles}
    kept = forgetting_estimates(models, settings) if run.pretrained else []
    metrics = [as_metric(one, run.run_id) for one in measure(test_set, features, labels, settings, kept)]
    facts = report_facts(info, run, test_set, settings, code_version)
    facts["other_run_id"] = other_run_dir and other_run_dir.name
    results = page.Results(
        test_set=test_set, features=features, vocabulary=vocabulary, phrases=phrases, metrics=metrics, facts=facts,
        occlusions=occlusions(models["fine_tuned"], info, test_set, features["fine_tuned"], settings),
    )  # fmt: skip
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


def model_sources(
    run_dir: Path, seed: int, others: Mapping[str, Path | None], precision: str
) -> dict[str, ModelSource]:
    """The model of the run, those of other runs by name, and the one that it started from."""
    precision = embed.chosen_precision(precision)
    return {
        "fine_tuned": ModelSource(run_dir=run_dir, precision=precision),
        **{name: ModelSource(run_dir=path, precision=precision) for name, path in others.items() if path is not None},
        "base": ModelSource(run_dir=run_dir, start_seed=seed, precision=precision),
    }


def occlusions(
    loaded: LoadedModel, info: DatasetInfo, test_set: TestSet, features: Features, settings: EvaluationSettings
) -> dict[int, Floats]:
    """Occlusion maps of the example tiles, for the captions that they belong to."""
    tiles = open_split(info, "test")
    return {
        tile: occlusion_map(loaded, tiles, tile, features.captions_cd[test_set.caption_t[tile]])
        for tile in example_tiles(test_set, settings.num_example_tiles)
    }


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
        "num_captions": len(test_set.captions_c),
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
