"""Tiles of a split embedded part by part, in other processes where a Spread is given: each loads a model once.

A part is some whole batches of its split, and torch has as many threads as where the parts were planned: so on machines
of one kind the features are those of `embed_tiles`, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from hubbleclip.core.parallel import Spread
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import ManifestRows, SplitTiles, open_split
from hubbleclip.evaluation import embed
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.models.builder import LoadedModel, load_model
from hubbleclip.training.runs import read_model_settings

BATCHES = 4
"""In a part: while one is embedded, the next is read."""
MODELS = 4
"""Kept in a process: those of one evaluation."""

SpreadParts = Spread["TilePart", Floats]
TileFeatures = tuple[list[str], Floats]
"""Tile ids of a split and their features (n, d)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model by the finished run that it is of: its best, or with a seed the one that the run started from."""

    run_dir: Path
    start_seed: int | None = None
    precision: str

    def load(self) -> LoadedModel:
        """The model, ready to embed."""
        if self.start_seed is None:
            loaded = load_run_model(self.run_dir)
        else:
            loaded = load_model(read_model_settings(self.run_dir), self.start_seed)
        return embed.ready_to_embed(loaded, self.precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePart:
    """Tiles `start` to `stop` of a split, for a model."""

    model: ModelSource
    split: str
    start: int
    stop: int


def embed_splits(
    models: Mapping[ModelSource, LoadedModel],
    wanted: Iterable[tuple[ModelSource, str]],
    info: DatasetInfo,
    batch_size: int,
    spread: SpreadParts | None = None,
) -> dict[tuple[ModelSource, str], TileFeatures]:
    """Features of splits by models: by these here, or where `spread` has it done."""
    if spread is None:
        return {key: embed.embed_tiles(models[key[0]], info, key[1], batch_size) for key in dict.fromkeys(wanted)}
    tile_ids = {(model, split): split_ids(info, split) for model, split in wanted}
    size = batch_size * BATCHES
    parts = [
        TilePart(model=model, split=split, start=start, stop=min(start + size, len(ids)))
        for (model, split), ids in tile_ids.items()
        for start in range(0, len(ids), size)
    ]
    work = partial(embed_part, info.path, batch_size, torch.get_num_threads())
    made: dict[tuple[ModelSource, str], list[Floats]] = {key: [] for key in tile_ids}
    for part, features in zip(parts, spread(work, parts), strict=True):
        made[part.model, part.split].append(features)
    return {key: (ids, np.concatenate(made[key])) for key, ids in tile_ids.items()}


def split_ids(info: DatasetInfo, split: str) -> list[str]:
    """Tile ids of a split, in the order of its features."""
    tile_ids: list[str] = info.manifest.filter(pc.field("split") == split)["tile_id"].to_pylist()
    return tile_ids


def embed_part(place: str, batch_size: int, threads: int, part: TilePart) -> Floats:
    """Features of a part's tiles, in the dataset at `place`."""
    torch.set_num_threads(threads)
    tiles, rows = _opened(place, part.split), slice(part.start, part.stop)
    mine = replace(
        tiles, rows=ManifestRows(tiles.rows.table[rows]), spans=tiles.spans[rows], group_n=tiles.group_n[rows]
    )  # fmt: skip
    return embed.embed_rows(_loaded(part.model), mine, batch_size)


@lru_cache(MODELS)
def _loaded(model: ModelSource) -> LoadedModel:
    return model.load()


@lru_cache(MODELS)
def _opened(place: str, split: str) -> SplitTiles:
    return open_split(read_dataset(place), split)
