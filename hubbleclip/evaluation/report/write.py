"""Evaluate a run on a dataset, render the report, and write the report's folder in one atomic step."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core import io as files
from hubbleclip.core.records import Metric, Run, to_row
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset, samples_of
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation.embed import (
    EmbedMapFn,
    ModelFeatures,
    ModelSource,
    embed_split,
    embed_test_set,
    embed_vocabulary,
)
from hubbleclip.evaluation.estimates import FINE_TUNED, all_estimates, as_metric
from hubbleclip.evaluation.forgetting import forgetting_estimates
from hubbleclip.evaluation.metrics.protocols import FAIR, Estimate
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.evaluation.metrics.zeroshot import make_labels
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.evaluation.report import page
from hubbleclip.evaluation.report.diagnostics import occlusion_map
from hubbleclip.evaluation.test_set import TestSet, example_tiles, make_test_set
from hubbleclip.training.embeddings import resolve_precision
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.runs import read_run

log = logging.getLogger(__name__)

MAX_HALF_WIDTH = 0.1
"""An evaluation logs a warning if half the width of the headline's 95 % interval is above this value."""


def evaluate(
    dataset_dir: Path | str,
    run_dir: Path,
    others: Mapping[str, Path],
    out_dir: Path,
    settings: EvaluationSettings,
    *,
    code_version: str,
    map_fn: EmbedMapFn | None = None,
) -> list[Metric]:
    """Evaluate a run and its baselines on the test split, and write a report.

    `others` has up to two keys. `shuffled` gives the folder of a control run, which was trained on shuffled pairs.
    `other` gives the folder of a second run for comparison. The report consists of `index.html` and `metrics.json`. The
    bytes of these files depend only on the dataset, the runs, the settings and the code. The page shows the evaluated
    run beside the run `other`, or beside the base model if there is no run `other`. Raises TrainingError if a folder is
    not a finished run.
    """
    info = read_dataset(dataset_dir)
    run = read_run(run_dir).run
    test_set = make_test_set(samples_of(info.manifest))
    vocabulary = read_vocabulary()
    precision = resolve_precision(settings.precision)
    sources = {
        name: ModelSource(run_dir=path, is_base=name == "base", precision=precision)
        for name, path in {"fine_tuned": run_dir, **others, "base": run_dir}.items()
    }
    models = {name: source.load() for name, source in sources.items()}
    other = others.get("other")
    shown = ("fine_tuned", "other" if other else "base")  # the page shows these two models side by side
    labels = make_labels(test_set.samples, test_set.group_t)
    tiles = embed_split({sources[name]: models[name] for name in models}, "test", info, settings.batch_size, map_fn)
    features = {
        name: embed_test_set(models[name], tiles[source], test_set, labels, settings.batch_size)
        for name, source in sources.items()
    }
    phrases = {name: embed_vocabulary(models[name], vocabulary, settings.batch_size) for name in shown}
    # Forgetting is measured only for pretrained models: a model trained from scratch has nothing to forget.
    forgetting = forgetting_estimates(models, settings) if run.pretrained else []
    estimates = all_estimates(test_set, features, labels, settings.bootstrap, forgetting)
    warn_of_wide_interval(estimates)
    metrics = [as_metric(estimate, run.run_id) for estimate in estimates]
    facts = report_facts(info, run, test_set, settings, code_version)
    facts["other_run"] = run_facts(read_run(other).run) if other else None
    facts["other_run_id"] = other and other.name  # null in JSON if there is no other run
    results = page.Results(
        test_set=test_set,
        features=features,
        vocabulary=vocabulary,
        phrases=phrases,
        metrics=metrics,
        facts=facts,
        occlusions=occlusions(models["fine_tuned"], info, test_set, features["fine_tuned"]),
    )
    content = {
        "index.html": page.render(info, results).encode("utf-8"),
        "metrics.json": metrics_json(metrics, facts),
    }
    write_report(out_dir, content)
    return metrics


def occlusions(loaded: LoadedModel, info: DatasetInfo, test_set: TestSet, features: ModelFeatures) -> dict[int, Floats]:
    """Compute the occlusion map of each example tile, from the similarity of the tile and its own caption."""
    tiles = open_split(info, "test")
    return {
        tile: occlusion_map(loaded, tiles, tile, features.captions_cd[test_set.caption_t[tile]])
        for tile in example_tiles(test_set)
    }


def report_facts(
    info: DatasetInfo, run: Run, test_set: TestSet, settings: EvaluationSettings, code_version: str
) -> dict[str, Any]:
    """Collect what a reader needs to judge the metrics: facts about the data, the run, the settings and the code."""
    return {
        **run_facts(run),
        "dataset_digest": info.digest,
        "is_simulated": any(sample.archive == "simulated" for sample in test_set.samples),
        "code_version": code_version,
        "num_tiles": len(test_set.samples),
        "num_captions": len(test_set.captions_c),
        "num_groups": test_set.num_groups,
        "counts": info.description["counts"],
        "settings": settings.recorded(),
    }


def run_facts(run: Run) -> dict[str, Any]:
    """Collect facts about a run: id, model, initial weights, loss, best step, samples seen, dataset and settings."""
    names = ("run_id", "model", "pretrained", "loss", "best_step", "samples_seen")
    facts = {name: getattr(run, name) for name in names}
    return facts | {"trained_on_digest": run.dataset_digest, "training": json.loads(run.settings)}


def warn_of_wide_interval(estimates: Sequence[Estimate]) -> None:
    """Log a warning if the test split is so small that the interval of the headline metric is very wide."""
    key = (FAIR, FINE_TUNED, HEADLINE)
    headline = next(one for one in estimates if (one.protocol, one.scorer, one.name) == key)
    low, high = headline.interval()
    if high - low > 2 * MAX_HALF_WIDTH:
        log.warning(
            "evaluate: the 95 %% interval of %s is %.1f to %.1f %%, more than %.0f points on either side, because the "
            "test split has only %d proposal groups: raise splits.test_share or add proposals",
            HEADLINE,
            100 * low,
            100 * high,
            100 * MAX_HALF_WIDTH,
            headline.num_groups,
        )


def metrics_json(metrics: Sequence[Metric], facts: Mapping[str, Any]) -> bytes:
    """Encode the content of `metrics.json`; the same metrics and facts always give the same bytes."""
    rows = [{key: value for key, value in to_row(metric).items() if key != "run_id"} for metric in metrics]
    return (json.dumps({**facts, "metrics": rows}, indent=1, sort_keys=True) + "\n").encode("utf-8")


def write_report(out_dir: Path, content: Mapping[str, bytes]) -> None:
    """Write a report; its folder appears only when the report is complete, and an older report is replaced."""
    with files.atomic_folder(out_dir) as building:
        for name, data in content.items():
            files.write_bytes(building / name, data, is_synced=False)
    log.info("wrote report %s", out_dir)
