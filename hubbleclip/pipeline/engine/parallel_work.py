"""Parallel `map` functions that pack shards and embed tiles on the workers of a stage.

Workers that share no disk with this process read tiles and runs from the remote store, and write shards to the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hubbleclip.core.layout import Layout
from hubbleclip.core.parallel import MapFn
from hubbleclip.dataset.build import PackedShard, PlannedShard
from hubbleclip.dataset.shard_writer import ShardFile
from hubbleclip.pipeline.engine.batches import batches, run_batches
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.runners import is_remote, runner_of
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import collect_from_store, local_files, pull_folder, send_to_store

if TYPE_CHECKING:
    from hubbleclip.evaluation.embed import EmbedMapFn, TileRange  # imports torch, which takes seconds
    from hubbleclip.evaluation.metrics.retrieval import Floats

Item = TypeVar("Item")
Made = TypeVar("Made")
MAX_TASKS = 100
MADE = "made"


class Numbered:
    """Items with their positions.

    This class is not a list, because Prefect would search every item of a list for futures, which is slow.
    """

    def __init__(self, items: Sequence[tuple[int, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)


def do_each(numbered: Numbered, work: Callable[[Any], Any]) -> Batch:
    """Apply `work` to each item, and return each result with the position of its item."""
    return {MADE: [(number, work(item)) for number, item in numbered.items]}


def map_batches(stage: Stage, name: str, work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Apply `work` to all items on the workers of a stage, in at most `MAX_TASKS` batches."""
    made: dict[int, Made] = {}
    numbered = map(Numbered, batches_of(list(enumerate(items))))
    run_batches(stage, name, do_each, numbered, work, total=len(items), write=lambda _, batch: made.update(batch[MADE]))
    return [made[number] for number in range(len(items))]


def batches_of(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Divide items into at most `MAX_TASKS` slices."""
    return batches(items, max(1, math.ceil(len(items) / MAX_TASKS)))


def packing_map(stage: Stage, paths: Mapping[str, str]) -> MapFn[PlannedShard, PackedShard]:
    """Make a parallel `map` that packs shards on the workers of a stage."""

    def spread(work: Callable[[PlannedShard], PackedShard], shards: Sequence[PlannedShard]) -> list[PackedShard]:
        with_tiles = [(shard, [paths[sample.tile_id] for sample in shard.samples]) for shard in shards]
        is_sent = is_remote(stage.settings)
        tars = map_batches(stage, "pack-shards", partial(pack_shard, work, stage.layout, is_sent), with_tiles)
        if is_sent:
            written = [shard.path for shard, tar in zip(shards, tars, strict=True) if isinstance(tar, ShardFile)]
            collect_from_store(stage.layout, written)
        return tars

    return spread


def pack_shard(
    work: Callable[[PlannedShard], PackedShard],
    layout: Layout,
    is_sent: bool,
    given: tuple[PlannedShard, Sequence[str]],
) -> PackedShard:
    """Fetch the tiles of one shard to the local disk, and write the shard."""
    shard, paths = given
    with local_files(layout, paths):
        tar = work(shard)
    if is_sent and isinstance(tar, ShardFile):
        send_to_store(layout, shard.path)
    return tar


def readable_path(stage: Stage, folder: Path) -> Path | str:
    """Return a path or URL from which every worker can read a folder."""
    return f"{stage.layout.store}/{stage.layout.relative(folder)}" if is_remote(stage.settings) else folder


def embedding_map(stage: Stage) -> EmbedMapFn | None:
    """Make a parallel `map` that embeds tiles on the workers of a stage."""
    if not runner_of(stage.settings).is_separate:
        return None

    def spread(work: Callable[[TileRange], Floats], parts: Sequence[TileRange]) -> list[Floats]:
        layout = stage.layout if is_remote(stage.settings) else None
        return map_batches(stage, "embed-tiles", partial(embed_part, work, layout), parts)

    return spread


def embed_part(work: Callable[[TileRange], Floats], layout: Layout | None, part: TileRange) -> Floats:
    """Embed one range of tiles."""
    if layout:
        pull_folder(layout, part.model.run_dir)
    return work(part)
