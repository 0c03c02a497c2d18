"""Embed the captions, labels and phrases of an evaluation, and uncropped tiles, in this process or in other processes.

Each process loads a model once and embeds ranges of tiles. A range consists of whole batches of a split. All processes
use the same number of torch threads. Therefore, on machines of the same type, the features are bit by bit equal to the
features that `embed_tiles` computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.parallel import MapFn
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.manifest import REBUILD_HINT, DatasetInfo, read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.vocabulary import PROMPTS, Vocabulary
from hubbleclip.evaluation.metrics.zeroshot import Labels
from hubbleclip.evaluation.test_set import TestSet
from hubbleclip.training.checkpoints import load_base_model, load_run_model
from hubbleclip.training.embeddings import embed_open_tiles, embed_short_texts, embed_texts, prepare_for_embedding
from hubbleclip.training.models.builder import LoadedModel

BATCHES_PER_RANGE = 4
"""Number of batches in a range; more than one, so that the next batch is read while the current one is embedded."""
CACHED_MODELS = 4
"""Number of models, and of opened splits, that a process keeps in memory; an evaluation compares at most 4 models."""

EmbedMapFn = MapFn["TileRange", Floats]
"""A parallel `map` whose function takes a range of tiles and returns the features (n, d) of these tiles."""
TileFeatures = tuple[list[str], Floats]
"""Tile ids of a split, and the features (n, d) of the tiles in the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """The source of a model: the best checkpoint of a finished run, or the base model from which the run started."""

    run_dir: Path
    is_base: bool = False
    precision: str

    def load(self) -> LoadedModel:
        """Load the model and prepare it for embedding."""
        load = load_base_model if self.is_base else load_run_model
        return prepare_for_embedding(load(self.run_dir), self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRange:
    """Tiles for one model to embed: indices `start` to `stop` (exclusive) in a split that is sorted by tile id."""

    model: ModelSource
    split: str
    start: int
    stop: int


def embed_split(
    models: Mapping[ModelSource, LoadedModel],
    split: str,
    info: DatasetInfo,
    batch_size: int,
    map_fn: EmbedMapFn | None = None,
) -> dict[ModelSource, TileFeatures]:
    """Embed the tiles of a split with each model: in this process, or with `map_fn` in other processes."""
    if map_fn is None:
        return {source: embed_tiles(loaded, info, split, batch_size) for source, loaded in models.items()}
    tile_ids = info.manifest.filter(pc.field("split") == split)["tile_id"].to_pylist()
    # A range has whole batches only, because a matrix product of another shape may differ in its last bits.
    size = batch_size * BATCHES_PER_RANGE
    ranges = [
        TileRange(model=model, split=split, start=start, stop=min(start + size, len(tile_ids)))
        for model in models
        for start in range(0, len(tile_ids), size)
    ]
    # The function is a partial, and not a lambda, because it is pickled and sent to other processes.
    work = partial(embed_range, info.path, batch_size, torch.get_num_threads())
    features: dict[ModelSource, list[Floats]] = {model: [] for model in models}
    for tile_range, feat_nd in zip(ranges, map_fn(work, ranges), strict=True):
        features[tile_range.model].append(feat_nd)
    return {model: (tile_ids, np.concatenate(parts)) for model, parts in features.items()}


def embed_tiles(loaded: LoadedModel, info: DatasetInfo, split: str, batch_size: int) -> TileFeatures:
    """Embed all tiles of a split in this process."""
    tiles = open_split(info, split)
    return tiles.rows["tile_id"].to_pylist(), embed_open_tiles(loaded, tiles, batch_size)


def embed_range(dataset_path: str, batch_size: int, threads: int, tile_range: TileRange) -> Floats:
    """Embed a range of tiles of one split by one model."""
    torch.set_num_threads(threads)  # the number of threads changes the order of sums, and thus the last bits
    tiles, rows = _open_split(dataset_path, tile_range.split), slice(tile_range.start, tile_range.stop)
    selected = replace(tiles, rows=tiles.rows[rows], spans=tiles.spans[rows], group_n=tiles.group_n[rows])
    return embed_open_tiles(_load_model(tile_range.model), selected, batch_size)


# models and splits that this process has opened before come from these caches
_load_model = lru_cache(CACHED_MODELS)(ModelSource.load)
_open_split = lru_cache(CACHED_MODELS)(lambda dataset_path, split: open_split(read_dataset(dataset_path), split))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFeatures:
    """One model's features of test tiles (t, d), captions (c, d) and the labels of each zero-shot task (k, d).

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
    """Embed phrases; the feature of a phrase is the normalised mean of the features of its prompts.

    The method is the prompt ensemble of CLIP (arXiv 2103.00020, section 3.1.4).
    """
    prompts = [template.format(phrase) for phrase in phrases for template in templates]
    feat_pd = embed_short_texts(loaded, prompts, batch_size)
    return unit(feat_pd.reshape(len(phrases), len(templates), -1).mean(axis=1))


def embed_vocabulary(loaded: LoadedModel, vocabulary: Vocabulary, batch_size: int) -> dict[str, Floats]:
    """Embed every phrase of the vocabulary."""
    return {name: embed_phrases(loaded, phrases, PROMPTS[name], batch_size) for name, phrases in vocabulary.items()}
