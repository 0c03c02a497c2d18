"""Evaluate a model on a benchmark of images and texts. Another program may supply the features or the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.captions.backends.openai_compatible import NUM_RANKED, OpenAICompatible
from hubbleclip.config.settings import ModelSettings, Settings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import sha256_file
from hubbleclip.core.records import Sample
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset, samples_of
from hubbleclip.dataset.reader import open_rows
from hubbleclip.evaluation.benchmarks import catalogue, frozen
from hubbleclip.evaluation.benchmarks.catalogue import PROTOCOL as OBJECTS
from hubbleclip.evaluation.benchmarks.items import ItemSet, read_embeddings, read_items, read_scores
from hubbleclip.evaluation.embed import embed_phrases
from hubbleclip.evaluation.metrics.baselines import bm25_scores, metadata_text
from hubbleclip.evaluation.metrics.retrieval import Floats, cosine_scores
from hubbleclip.evaluation.metrics.vocabulary import OBJECT_PROMPTS
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.promotion import find_run, read_promoted
from hubbleclip.training.checkpoints import load_base_model
from hubbleclip.training.embeddings import embed_open_tiles, embed_texts, prepare_for_embedding
from hubbleclip.training.models.builder import LoadedModel, load_model
from hubbleclip.training.models.trained_model import load_folder
from hubbleclip.training.runs import RUN, read_facts


def open_dataset(place: str, settings: Settings) -> DatasetInfo:
    """Open the dataset at `place`, or the newest dataset if `place` is empty, to read the benchmark's tiles."""
    return read_dataset(place or newest_dataset(layout_of(settings)))


def run_folder(name: str, settings: Settings) -> Path | None:
    """Find the folder of the run `name`, or of the promoted run if `name` is empty; None if there is no such run."""
    layout = layout_of(settings)
    if not name:
        return Path(read_promoted(layout)["path"])
    known = [path.parent.name for path in layout.runs.glob(f"*/{RUN}")]
    is_run = (Path(name) / RUN).is_file() or any(one.startswith(name) for one in known)
    return find_run(layout, name) if is_run else None


def open_model(name: str, pretrained: str, settings: Settings) -> LoadedModel:
    """Load the run `name`, else the model folder `name`, else the open_clip model `name` with weights `pretrained`."""
    run_dir = run_folder(name, settings)
    folder = run_dir or (Path(name) if name and Path(name).is_dir() else None)
    loaded = load_folder(folder) if folder else load_model(ModelSettings(name=name, pretrained=pretrained), seed=0)
    if not (folder or loaded.settings.weights):
        raise EvaluationError(f"{name} has random weights: give an open_clip tag or a file as --pretrained")
    return prepare_for_embedding(loaded, settings.evaluation.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The model, file of features or file of scores to evaluate. `dataset` is the folder or URL of a dataset."""

    dataset: str = ""
    model: str = ""
    pretrained: str = ""
    embeddings: Path | None = None
    scores: Path | None = None
    rerank: bool = False

    @property
    def name(self) -> str:
        """Name of the entry in the results. The name of a file includes the file's digest."""
        if file := self.scores or self.embeddings:
            return f"{self.model or file.name} ({sha256_file(file)[:16]})"
        return " ".join(filter(None, (self.model or "promoted run", self.pretrained)))


def rows_of(info: DatasetInfo, samples: Sequence[Sample]) -> pa.Table:
    """Find the rows of samples in a dataset's manifest; EvaluationError if a tile is missing or its picture differs."""
    wanted = {sample.tile_id: sample.png_sha256 for sample in samples}
    rows = info.manifest.filter(pc.field("tile_id").isin(list(wanted))).sort_by("tile_id")
    found = dict(zip(rows["tile_id"].to_pylist(), rows["png_sha256"].to_pylist(), strict=True))
    if found != wanted:
        missing = [name for name, sha256 in wanted.items() if found.get(name) != sha256]
        raise EvaluationError(
            f"the dataset {info.digest} lacks the pictures of {len(missing)} tiles, such as {missing[0]}:"
            " give the dataset from which the items were made, or --embeddings or --scores without --rerank"
        )
    return rows


def scores_of(items: ItemSet, entry: Entry, settings: Settings) -> dict[str, Floats]:
    """Compute the scores of all images (t) for all texts (k), as arrays (t, k) by name.

    The array `model` has the scores of the entry. If the texts are classes and the entry is a run, the array `base` has
    the scores of the run's base model. If `entry.rerank` is true, the array `reranked` has the scores after reranking.
    """
    client = OpenAICompatible(settings.captions) if entry.rerank else None  # checks settings before hours of scoring
    if entry.scores:
        scores = {"model": read_scores(entry.scores, items)}
    elif entry.embeddings:
        scores = {"model": cosine_scores(*read_embeddings(entry.embeddings, items))}
    else:
        scores = model_scores(items, entry, settings)
    if client:
        scores["reranked"] = reranked_scores(scores["model"], items, open_dataset(entry.dataset, settings), client)
    return scores


def reranked_scores(scores_tk: Floats, items: ItemSet, info: DatasetInfo, client: OpenAICompatible) -> Floats:
    """Replace the scores of each text's `NUM_RANKED` best images so that a vision-language model decides the order."""
    rows_of(info, items.samples)  # raises an error if the dataset lacks pictures of the items
    found_tk = scores_tk.copy()
    for column_t, text in zip(found_tk.T, items.texts, strict=True):
        best = np.argsort(-column_t, kind="stable")[:NUM_RANKED]
        order = client.rank(text, info.read_tile_images([items.samples[image].tile_id for image in best]))
        column_t[best[order]] = column_t.max() + np.arange(len(best), 0, -1)
    return found_tk


def model_scores(items: ItemSet, entry: Entry, settings: Settings) -> dict[str, Floats]:
    """Score images (t) for texts (k) with the entry's model, and with a run's base model if the texts are classes."""
    info, batch_size = open_dataset(entry.dataset, settings), settings.evaluation.batch_size
    rows = rows_of(info, items.samples)
    models, is_classes = {"model": open_model(entry.model, entry.pretrained, settings)}, items.benchmark == OBJECTS
    run_dir = run_folder(entry.model, settings) if is_classes else None
    if run_dir:
        models["base"] = prepare_for_embedding(load_base_model(run_dir), settings.evaluation.precision)
    return {
        name: cosine_scores(
            embed_open_tiles(loaded, open_rows(info, rows), batch_size),
            embed_phrases(loaded, items.texts, OBJECT_PROMPTS, batch_size)
            if is_classes
            else embed_texts(loaded, items.texts, batch_size),
        )
        for name, loaded in models.items()
    }


def open_items(
    path: Path | None,
    settings: Settings,
    place: str = "",
    *,
    seen: frozenset[str] = frozenset(),
    num_others: int = 1000,
) -> tuple[ItemSet, list[dict[str, Any]]]:
    """Read frozen items (Parquet), or make items from a catalogue of objects (CSV).

    Without a path, the items of the frozen image-text benchmark in the dataset at `place` are returned.
    The second returned value is a list of classes with their numbers of objects and tiles. A Parquet file lists no
    objects, so only the numbers of tiles are known. Without a path, the list is empty.
    `seen` is the set of proposals on which the model was trained.
    """
    if path and path.suffix == ".parquet":
        items = read_items(path)
        counts = catalogue.positives_of(items).sum(axis=1).tolist()
        return items, [{"class": name, "num_tiles": count} for name, count in zip(items.texts, counts, strict=True)]
    info = open_dataset(place, settings)
    samples = samples_of(info.manifest)
    if path is None:
        return replace(frozen.benchmark_items(samples), dataset_digest=info.digest), []
    objects = catalogue.read_catalogue(path)
    pairs = catalogue.match_objects(objects, samples)
    items = catalogue.make_object_set(objects, samples, pairs, num_others)
    return replace(items, dataset_digest=info.digest), catalogue.class_counts(items, objects, samples, pairs, seen)


def benchmark(
    path: Path | None, settings: Settings, entry: Entry = Entry(), *, num_others: int = 1000
) -> dict[str, Any]:
    """Score an entry on the items of a file (see `open_items`), or on the frozen image-text benchmark."""
    run_dir = None if entry.scores or entry.embeddings else run_folder(entry.model, settings)
    seen = trained_proposals(run_dir, entry.dataset, settings) if run_dir else None
    items, counts = open_items(path, settings, entry.dataset, seen=seen or frozenset(), num_others=num_others)
    scores = scores_of(items, entry, settings)
    common = {"model": entry.name, **frozen.identity(items, seen)}
    if items.benchmark != OBJECTS:
        return common | {"metrics": frozen.score(items, scores, settings.evaluation)}
    scores = {name: scores_tk.T for name, scores_tk in scores.items()}
    documents = [f"{metadata_text(sample)} {sample.main_caption}" for sample in items.samples]
    scores["bm25"] = bm25_scores(items.texts, documents)
    scores["random"] = np.zeros_like(scores["bm25"])  # with equal scores, each metric is at its chance level
    names = ("num_objects", "num_in_tiles", "num_in_training")
    totals: dict[str, int | None] = {name: sum(row.get(name, 0) for row in counts) for name in names}
    if seen is None or not totals["num_objects"]:
        totals["num_in_training"] = None  # known only with a run, the run's dataset and a list of objects
    return common | {
        "catalogue": path and path.name,
        "catalogue_sha256": path and sha256_file(path),
        **totals,
        "classes": counts,
        "metrics": catalogue.class_metrics(items, scores, seen or frozenset(), settings.evaluation.bootstrap),
    }


def trained_proposals(run_dir: Path, place: str, settings: Settings) -> frozenset[str] | None:
    """List the proposals that a run was trained on; None if its dataset is not found."""
    digest = read_facts(run_dir)["dataset_digest"]
    home = run_dir.parent.parent / "datasets" / digest
    info = read_dataset(home) if home.is_dir() else open_dataset(place, settings)
    if info.digest != digest:
        return None
    return frozenset(sample.proposal_id for sample in samples_of(info.manifest) if sample.split == "train")
