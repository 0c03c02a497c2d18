"""Score a model, or features that another program computed, on the frozen benchmark or on a catalogue of objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import ModelSettings, Settings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import atomic_write, sha256_file
from hubbleclip.core.records import Sample
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import open_rows
from hubbleclip.evaluation.benchmarks import catalogue, frozen
from hubbleclip.evaluation.embed import embed_phrases
from hubbleclip.evaluation.metrics.baselines import bm25_scores, metadata_text
from hubbleclip.evaluation.metrics.protocols import Scores
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores
from hubbleclip.evaluation.metrics.vocabulary import OBJECT_PROMPTS
from hubbleclip.evaluation.report.write import read_samples
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.promotion import find_run, promoted
from hubbleclip.training.checkpoints import load_base_model
from hubbleclip.training.embeddings import embed_open_tiles, embed_texts, prepare_for_embedding
from hubbleclip.training.models.builder import LoadedModel, load_model
from hubbleclip.training.models.trained_model import load_folder
from hubbleclip.training.runs import RUN, read_facts


def open_dataset(place: str, settings: Settings) -> DatasetInfo:
    """Open the dataset that has the benchmark's tiles: the one at `place`, or else the newest."""
    return read_dataset(place or newest_dataset(layout_of(settings)))


def run_folder(name: str, settings: Settings) -> Path | None:
    """Find the folder of the run `name`, or of the promoted run if `name` is empty; None if there is no such run."""
    layout = layout_of(settings)
    if name:
        known = [path.parent.name for path in layout.runs.glob(f"*/{RUN}")]
        is_run = (Path(name) / RUN).is_file() or any(one.startswith(name) for one in known)
        return find_run(layout, name) if is_run else None
    with read_catalog(layout) as catalog:
        row = promoted(catalog, layout)
    if row is None:
        raise EvaluationError("no run is promoted yet: run `hubbleclip pipeline` first, or give --model")
    return Path(row["path"])


def open_model(name: str, pretrained: str, settings: Settings) -> LoadedModel:
    """Load a model for embedding."""
    run_dir = run_folder(name, settings)
    folder = run_dir or (Path(name) if name and Path(name).is_dir() else None)
    loaded = load_folder(folder) if folder else load_model(ModelSettings(name=name, pretrained=pretrained), seed=0)
    if not (folder or loaded.settings.weights):
        raise EvaluationError(f"{name} has random weights: give --pretrained, a tag of open_clip or a file")
    return prepare_for_embedding(loaded, settings.evaluation.precision)


def embed_samples(loaded: LoadedModel, info: DatasetInfo, samples: tuple[Sample, ...], batch_size: int) -> Floats:
    """Embed some tiles of a dataset."""
    wanted = [sample.tile_id for sample in samples]
    rows = info.manifest.filter(pc.field("tile_id").isin(wanted)).sort_by("tile_id")
    return embed_open_tiles(loaded, open_rows(info, rows), batch_size)


def frozen_benchmark(
    settings: Settings,
    *,
    place: str = "",
    model: str = "",
    pretrained: str = "",
    embeddings: Path | None = None,
    scores: Path | None = None,
) -> dict[str, Any]:
    """Score a model, or a file of features or of scores, on the frozen benchmark."""
    info = open_dataset(place, settings)
    samples = read_samples(info)
    test_set = frozen.benchmark_set(samples)
    if file := scores or embeddings:
        found = (
            frozen.read_scores(file, test_set)
            if scores
            else Scores.of_features("model", *frozen.read_embeddings(file, test_set))
        )
        name = f"{file.name} ({sha256_file(file)[:16]})"
    else:
        loaded, batch_size = open_model(model, pretrained, settings), settings.evaluation.batch_size
        tiles_td = embed_samples(loaded, info, test_set.samples, batch_size)
        captions_cd = embed_texts(loaded, test_set.captions_c, batch_size)
        found = Scores.of_features("model", tiles_td, captions_cd)
        name = " ".join(filter(None, (model or "promoted run", pretrained)))
    scored = frozen.score(test_set, found, settings.evaluation, samples)
    return {"model": name, "dataset_digest": info.digest, **scored}


def write_items(path: Path, settings: Settings, place: str = "") -> int:
    """Write the list of the tiles and captions that a model must embed for the frozen benchmark."""
    table = frozen.items_table(frozen.benchmark_set(read_samples(open_dataset(place, settings))))
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
    return int(table.num_rows)


def catalogue_benchmark(
    path: Path, settings: Settings, *, place: str = "", model: str = "", pretrained: str = "", num_others: int = 1000
) -> dict[str, Any]:
    """Score a model on the objects of a catalogue."""
    objects = catalogue.read_catalogue(path)
    info = open_dataset(place, settings)
    samples = read_samples(info)
    pairs = catalogue.match_objects(objects, samples)
    run_dir, batch_size = run_folder(model, settings), settings.evaluation.batch_size
    object_set = catalogue.make_object_set(objects, samples, pairs, trained_proposals(run_dir, samples), num_others)
    models = {"model": open_model(model, pretrained, settings)}
    if run_dir:
        models["base"] = prepare_for_embedding(load_base_model(run_dir), settings.evaluation.precision)
    scores = {
        name: cosine_scores(
            embed_phrases(loaded, object_set.classes, OBJECT_PROMPTS, batch_size),
            embed_samples(loaded, info, object_set.samples, batch_size),
        )
        for name, loaded in models.items()
    }
    documents = [f"{metadata_text(sample)} {sample.main_caption}" for sample in object_set.samples]
    scores["bm25"] = bm25_scores(object_set.classes, documents)
    scores["random"] = np.zeros_like(scores["bm25"])  # equal scores give each metric its expectation by chance
    counts = catalogue.class_counts(objects, object_set)
    return {
        "catalogue": path.name,
        "catalogue_sha256": sha256_file(path),
        "dataset_digest": info.digest,
        "model": " ".join(filter(None, (model or "promoted run", pretrained))),
        "num_objects": len(objects),
        "num_in_tiles": sum(row["num_in_tiles"] for row in counts),
        "num_in_training": sum(row["num_in_training"] for row in counts) if run_dir else None,
        "num_tiles": len(object_set.samples),
        "classes": counts,
        "metrics": catalogue.class_metrics(object_set, scores, settings.evaluation.bootstrap),
    }


def trained_proposals(run_dir: Path | None, samples: list[Sample]) -> frozenset[str]:
    """List the proposals that a run was trained on."""
    if run_dir is None:
        return frozenset()
    home = run_dir.parent.parent / "datasets" / read_facts(run_dir)["dataset_digest"]
    known = read_samples(read_dataset(home)) if home.is_dir() else samples
    return frozenset(sample.proposal_id for sample in known if sample.split == "train")
