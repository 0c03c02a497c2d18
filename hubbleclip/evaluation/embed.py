"""Embed whole tiles of splits, without augmentation, in this process or by a parallel map in other processes.

Each process loads a model once and embeds ranges of tiles, which consist of whole batches of a split. Every process
uses as many torch threads as the process that planned the ranges. Therefore, on machines of the same type, the features
equal those of `embed_tiles` bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from hubbleclip.core.parallel import MapFn
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import SplitTiles, open_split
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.precision import prepare_for_embedding
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.embeddings import embed_open_tiles
from hubbleclip.training.models.builder import LoadedModel, load_model
from hubbleclip.training.runs import read_model_settings

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
    """The source of a model: the best checkpoint of a finished run, or the base model from which the run started.

    `base_model_seed` is None for the checkpoint. For the base model, it is the seed of the base model's random weights.
    """

    run_dir: Path
    base_model_seed: int | None = None
    precision: str

    def load(self) -> LoadedModel:
        """Load the model and prepare it for embedding."""
        if self.base_model_seed is None:
            loaded = load_run_model(self.run_dir)
        else:
            loaded = load_model(read_model_settings(self.run_dir), self.base_model_seed)
        return prepare_for_embedding(loaded, self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRange:
    """The tiles of a split from index `start` to `stop` (exclusive), in order of tile id, that one model embeds."""

    model: ModelSource
    split: str
    start: int
    stop: int


def embed_splits(
    models: Mapping[ModelSource, LoadedModel],
    requests: Iterable[tuple[ModelSource, str]],
    info: DatasetInfo,
    batch_size: int,
    map_fn: EmbedMapFn | None = None,
) -> dict[tuple[ModelSource, str], TileFeatures]:
    """Embed the tiles of each requested split by the requested model, in this process or by a parallel map."""
    if map_fn is None:
        return {key: embed_tiles(models[key[0]], info, key[1], batch_size) for key in dict.fromkeys(requests)}
    tile_ids = {(model, split): split_ids(info, split) for model, split in requests}
    # A range has whole batches only, because a matrix product of another shape may differ in its last bits.
    size = batch_size * BATCHES_PER_RANGE
    ranges = [
        TileRange(model=model, split=split, start=start, stop=min(start + size, len(ids)))
        for (model, split), ids in tile_ids.items()
        for start in range(0, len(ids), size)
    ]
    # The function is a partial, and not a lambda, because it is pickled and sent to other processes.
    work = partial(embed_range, info.path, batch_size, torch.get_num_threads())
    features: dict[tuple[ModelSource, str], list[Floats]] = {key: [] for key in tile_ids}
    for tile_range, feat_nd in zip(ranges, map_fn(work, ranges), strict=True):
        features[tile_range.model, tile_range.split].append(feat_nd)
    return {key: (ids, np.concatenate(features[key])) for key, ids in tile_ids.items()}


def embed_tiles(loaded: LoadedModel, info: DatasetInfo, split: str, batch_size: int) -> TileFeatures:
    """Embed all tiles of a split in this process."""
    tiles = open_split(info, split)
    return tiles.rows["tile_id"].to_pylist(), embed_open_tiles(loaded, tiles, batch_size)


def split_ids(info: DatasetInfo, split: str) -> list[str]:
    """List the tile ids of a split, in the order in which `embed_splits` returns the features."""
    tile_ids: list[str] = info.manifest.filter(pc.field("split") == split)["tile_id"].to_pylist()
    return tile_ids


def embed_range(dataset_path: str, batch_size: int, threads: int, tile_range: TileRange) -> Floats:
    """Embed a range of tiles of one split by one model."""
    torch.set_num_threads(threads)  # the number of threads changes the order of sums, and thus the last bits
    tiles, rows = _opened(dataset_path, tile_range.split), slice(tile_range.start, tile_range.stop)
    selected = replace(tiles, rows=tiles.rows[rows], spans=tiles.spans[rows], group_n=tiles.group_n[rows])
    return embed_open_tiles(_loaded(tile_range.model), selected, batch_size)


@lru_cache(CACHED_MODELS)
def _loaded(model: ModelSource) -> LoadedModel:
    """Load a model, or return it from the cache if this process has loaded it before."""
    return model.load()


@lru_cache(CACHED_MODELS)
def _opened(dataset_path: str, split: str) -> SplitTiles:
    """Open a split, or return it from the cache if this process has opened it before."""
    return open_split(read_dataset(dataset_path), split)
