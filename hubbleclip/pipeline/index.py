"""The stage `index`: embed the tiles that the promoted model has not embedded yet, and add them to the search index."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.shard_writer import read_intact_png
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import batches, map_ordered
from hubbleclip.pipeline.engine.stage import Stage, layout_of, log, open_stage
from hubbleclip.pipeline.pending_work import tiles_to_index
from hubbleclip.pipeline.promotion import not_promoted, promoted, read_promoted
from hubbleclip.pipeline.remote_store import local_files, pull_folder, push_folder
from hubbleclip.pipeline.tiles.run import forget_damaged, read_tile
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.open_index import STORE, STORES, CurrentIndex, open_store, write_current
from hubbleclip.search.stores.base import VectorStore
from hubbleclip.training.checkpoints import model_digest

BATCH_SIZE = 64
"""Tiles per embedding batch: enough to occupy a GPU, and few enough for the memory of a worker without a GPU."""
APPEND_ROWS = 2048
"""Number of tiles whose features are written together. A killed run loses only features that are not written yet."""
REWRITE_ROWS = 100_000
"""Number of tiles whose features are in memory together when tiles are removed from an index."""
MODEL_LOCK = threading.Lock()


class StoredTile(NamedTuple):
    """Id of a tile, path of its image as the catalog stores it, and hash of the image."""

    tile_id: str
    path: str
    png_sha256: str


class EmbeddedTiles(NamedTuple):
    """Features (n, d) of the intact tiles of a batch, and ids of the tiles whose images are missing or damaged."""

    tile_ids: list[str]
    feat_nd: npt.NDArray[np.float32]
    damaged: list[str]


def index(settings: Settings, *, batch_size: int = BATCH_SIZE, append_rows: int = APPEND_ROWS) -> None:
    """Embed every current tile that the promoted model has not embedded yet, and make searches use this model.

    If a run is killed, the next run keeps the features that were written, and embeds only the remaining tiles. Until
    the stage ends, searches use the former index.
    """
    with open_stage("index", settings) as stage:
        run = promoted(stage.catalog, stage.layout)
        if run is None:
            raise not_promoted(stage.catalog)
        run_dir = Path(run["path"])
        digest = model_digest(run_dir)
        pull_folder(stage.layout, stage.layout.model_index(digest))
        replace_features(stage.layout)
        with closing(open_store(stage.layout, digest)) as store:
            embed_pending(stage, store, run_dir, batch_size, append_rows)
            num_tiles = len(store.tile_ids)
        push_folder(stage.layout, stage.layout.model_index(digest))
        path = stage.layout.relative(run_dir)
        cut = settings.tiles.model_dump(mode="json")
        current = CurrentIndex(model_digest=digest, run=path, store=STORE, tiles=cut, num_tiles=num_tiles)
        write_current(stage.layout, current)


def index_promoted(settings: Settings) -> None:
    """Run the stage `index` after an evaluation if a run is promoted; otherwise log a warning."""
    try:
        read_promoted(layout_of(settings))
    except EvaluationError as error:
        log.warning("index: nothing is indexed: %s", error)
        return
    index(settings)


def replace_features(layout: Layout) -> None:
    """Replace the stored features of each model for which `remove_from_index` has written new features."""
    for new in layout.index.glob(".*.new"):
        old = new.with_suffix("")  # temporary folder of the former features
        folder = old.with_name(old.name[1:])
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def remove_from_index(layout: Layout, tile_ids: Collection[str]) -> None:
    """Remove tiles from the stored features of each model.

    If the features of a model cannot be read, all features of this model are deleted.
    """
    replace_features(layout)
    for folder in sorted(layout.index.glob("[!.]*/")):
        try:
            store = open_store(layout, folder.name)
        except SearchError as error:
            log.warning("index: %s was deleted (%s); it is made again when it is needed", folder, error)
            shutil.rmtree(folder)
            continue
        with closing(store):
            names = store.tile_ids.to_pylist()
            rows = [row for row, name in enumerate(names) if name not in tile_ids]
            if len(rows) == len(names):
                continue
            part = folder.with_name(f".{folder.name}")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with closing(STORES[STORE](part, folder.name)) as new:
                for some in batches(rows, REWRITE_ROWS):
                    new.append([names[row] for row in some], store.features(some))
        part.rename(part.with_suffix(".new"))
        replace_features(layout)


def embed_pending(stage: Stage, store: VectorStore, run_dir: Path, batch_size: int, append_rows: int) -> None:
    """Embed current tiles that the vector store lacks, in order of tile id, so that equal tiles give equal files."""
    new = tiles_to_index(stage, store.tile_ids)
    pending = list(map(StoredTile, *(new[name].to_pylist() for name in StoredTile._fields)))
    log.info("index: %d tiles are indexed, %d are to be embedded", len(store.tile_ids), len(pending))
    step = Step(name="index-tiles", stage="index", entity="tile", digest=stage.settings.tiles.digest())
    embed = partial(embed_batch, run_dir=run_dir, precision=stage.settings.evaluation.precision, layout=stage.layout)

    def features() -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        for made in map_ordered(stage, step, embed, list(batches(pending, batch_size)), weigh=len):
            if made.damaged:
                forget_damaged(stage, made.damaged)
            yield from zip(made.tile_ids, made.feat_nd, strict=True)

    for rows in batches(features(), append_rows):
        store.append([tile_id for tile_id, _ in rows], np.stack([feat for _, feat in rows]))


def embed_batch(batch: Sequence[StoredTile], run_dir: Path, precision: str, layout: Layout) -> EmbeddedTiles:
    """Embed the tiles of a batch."""
    pull_folder(layout, run_dir)  # a worker on another machine may not have the run's folder
    with MODEL_LOCK:
        model = _model(run_dir, precision)
    images, intact, damaged = [], list[str](), list[str]()
    with local_files(layout, [tile.path for tile in batch]):
        for tile in batch:
            image = read_intact_png(tile.tile_id, tile.png_sha256, partial(read_tile, layout))
            if image is None:
                damaged.append(tile.tile_id)
            else:
                images.append(model.decode(image))
                intact.append(tile.tile_id)
    return EmbeddedTiles(intact, model.embed_images(images), damaged)


@lru_cache(2)
def _model(run_dir: Path, precision: str) -> QueryModel:
    """Return the model of a run; every thread of a process gets the same object, which loads the model once."""
    return QueryModel(run_dir, precision)
