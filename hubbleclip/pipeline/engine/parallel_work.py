"""Shards and batches of tiles, worked on by the stage's workers: a parallel `map` for each kind.

Workers that share no disk with this process read tiles and runs from the store, and leave shards there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hubbleclip.core.layout import Layout
from hubbleclip.core.parallel import MapFn
from hubbleclip.dataset.build import PlannedShard
from hubbleclip.dataset.shard_writer import ShardFile
from hubbleclip.pipeline.engine.batches import batches, run_batches
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.runners import is_remote, runner_of
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import collect_from_store, local_files, pull_folder, send_to_store

if TYPE_CHECKING:
    from hubbleclip.evaluation.embed_parallel import EmbedMapFn, TileRange  # torch, which takes seconds
    from hubbleclip.evaluation.metrics.retrieval import Floats

Item = TypeVar("Item")
Made = TypeVar("Made")
MAX_TASKS = 100
MADE = "made"


class Numbered:
    """Items with their positions. Not a list, because Prefect would search each record of a list for futures."""

    def __init__(self, items: Sequence[tuple[int, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        """How many."""
        return len(self.items)


def do_each(numbered: Numbered, work: Callable[[Any], Any]) -> Batch:
    """Apply `work` to each item, and keep its position.

    Parameters
    ----------
    numbered
        Items with their positions.
    work
        Applied to one item.

    Returns
    -------
    dict
        One batch with (position, result) pairs.

    """
    return {MADE: [(number, work(item)) for number, item in numbered.items]}


def map_batches(stage: Stage, name: str, work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Apply `work` to all items by at most `MAX_TASKS` batches.

    Parameters
    ----------
    stage
        The stage whose workers are used.
    name
        Kind of work, a key of `boundaries.EDGES`.
    work
        Applied to one item; can be pickled.
    items
        All items.

    Returns
    -------
    list
        The results in the order of the items.

    """
    made: dict[int, Made] = {}
    numbered = map(Numbered, batches_of(list(enumerate(items))))
    run_batches(stage, name, do_each, numbered, work, total=len(items), write=lambda _, batch: made.update(batch[MADE]))
    return [made[number] for number in range(len(items))]


def batches_of(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Slices of the items, at most `MAX_TASKS` of them.

    Parameters
    ----------
    items
        All items.

    Returns
    -------
    list of sequence
        The slices, in order.

    """
    return batches(items, max(1, math.ceil(len(items) / MAX_TASKS)))


def packing_map(stage: Stage, paths: Mapping[str, str]) -> MapFn[PlannedShard, ShardFile]:
    """A parallel `map` that packs shards.

    Parameters
    ----------
    stage
        The stage whose workers are used.
    paths
        Stored path of each tile, by tile id.

    Returns
    -------
    callable
        Takes a function and the planned shards; returns their tars in order.

    """

    def spread(work: Callable[[PlannedShard], ShardFile], shards: Sequence[PlannedShard]) -> list[ShardFile]:
        with_tiles = [(shard, [paths[sample.tile_id] for sample in shard.samples]) for shard in shards]
        is_sent = is_remote(stage.settings)
        tars = map_batches(stage, "pack-shards", partial(pack_shard, work, stage.layout, is_sent), with_tiles)
        if is_sent:
            collect_from_store(stage.layout, [shard.path for shard in shards])
        return tars

    return spread


def pack_shard(
    work: Callable[[PlannedShard], ShardFile], layout: Layout, is_sent: bool, given: tuple[PlannedShard, Sequence[str]]
) -> ShardFile:
    """Write one shard while its tiles are on the local disk.

    Parameters
    ----------
    work
        Writes the shard.
    layout
        File names of the profile.
    is_sent
        Whether to send the shard to the store, because this process's disk is not the caller's.
    given
        The planned shard, and the stored paths of its tiles.

    Returns
    -------
    ShardFile
        What was written.

    """
    shard, paths = given
    with local_files(layout, paths):
        tar = work(shard)
    if is_sent:
        send_to_store(layout, shard.path)
    return tar


def readable_path(stage: Stage, folder: Path) -> Path | str:
    """A place from which every worker can read a folder.

    Parameters
    ----------
    stage
        The stage with its settings.
    folder
        A folder below the profile's root.

    Returns
    -------
    Path or str
        The folder itself, or its URL in the store when workers are on other machines.

    """
    return f"{stage.layout.store}/{stage.layout.relative(folder)}" if is_remote(stage.settings) else folder


def embedding_map(stage: Stage) -> EmbedMapFn | None:
    """A parallel `map` that embeds tiles.

    Parameters
    ----------
    stage
        The stage whose workers are used.

    Returns
    -------
    callable or None
        None when workers are threads, because one model uses all threads of its process.

    """
    if not runner_of(stage.settings).is_separate:
        return None

    def spread(work: Callable[[TileRange], Floats], parts: Sequence[TileRange]) -> list[Floats]:
        layout = stage.layout if is_remote(stage.settings) else None
        return map_batches(stage, "embed-tiles", partial(embed_part, work, layout), parts)

    return spread


def embed_part(work: Callable[[TileRange], Floats], layout: Layout | None, part: TileRange) -> Floats:
    """Embed some tiles.

    Parameters
    ----------
    work
        Embeds one part.
    layout
        Set when the run may have to be fetched from the store.
    part
        The tiles and the model.

    Returns
    -------
    array
        Features of the part, shape (num_tiles, num_dimensions).

    """
    if layout:
        pull_folder(layout, part.model.run_dir)
    return work(part)
