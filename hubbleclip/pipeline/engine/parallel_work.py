"""The library's work on shards and on batches of pictures, done by the stage's runner: a Spread for each.

Workers that share no disk with the flow read tiles and runs from the store, and leave shards there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hubbleclip.core.layout import Layout
from hubbleclip.core.parallel import Spread
from hubbleclip.dataset.build import PlannedShard
from hubbleclip.dataset.shard_writer import Tar
from hubbleclip.pipeline.engine.batches import batches, run_batches
from hubbleclip.pipeline.engine.connections import Batch
from hubbleclip.pipeline.engine.runners import is_remote, runner_of
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import at_hand, hand_over, pull_folder, take_over

if TYPE_CHECKING:
    from hubbleclip.evaluation.embed_parallel import EmbedMapFn, TileRange  # torch, which takes seconds
    from hubbleclip.evaluation.metrics.retrieval import Floats

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST_TASKS = 100
MADE = "made"


class Numbered:
    """Some items, each with its number. No list, since Prefect would look into each record of it for futures."""

    def __init__(self, items: Sequence[tuple[int, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        """How many."""
        return len(self.items)


def do_each(numbered: Numbered, work: Callable[[Any], Any]) -> Batch:
    """What `work` makes of some items, each with its number."""
    return {MADE: [(number, work(item)) for number, item in numbered.items]}


def spread_over(stage: Stage, name: str, work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What `work` makes of the items, in their order, by at most `MOST_TASKS` runs of the task."""
    made: dict[int, Made] = {}
    numbered = map(Numbered, batches_of(list(enumerate(items))))
    run_batches(stage, name, do_each, numbered, work, total=len(items), write=lambda _, batch: made.update(batch[MADE]))
    return [made[number] for number in range(len(items))]


def batches_of(items: Sequence[Item]) -> list[Sequence[Item]]:
    """At most `MOST_TASKS` runs of items."""
    return batches(items, max(1, math.ceil(len(items) / MOST_TASKS)))


def spread_packing(stage: Stage, paths: Mapping[str, str]) -> Spread[PlannedShard, Tar]:
    """For shards, whose tiles stand at `paths` by their ids."""

    def spread(work: Callable[[PlannedShard], Tar], shards: Sequence[PlannedShard]) -> list[Tar]:
        with_tiles = [(shard, [paths[sample.tile_id] for sample in shard.samples]) for shard in shards]
        is_sent = is_remote(stage.settings)
        tars = spread_over(stage, "pack-shards", partial(pack_shard, work, stage.layout, is_sent), with_tiles)
        if is_sent:
            take_over(stage.layout, [shard.path for shard in shards])
        return tars

    return spread


def pack_shard(
    work: Callable[[PlannedShard], Tar], layout: Layout, is_sent: bool, told: tuple[PlannedShard, Sequence[str]]
) -> Tar:
    """Write a shard while its tiles are at hand; it `is_sent` where the flow's disk is another."""
    shard, paths = told
    with at_hand(layout, paths):
        tar = work(shard)
    if is_sent:
        hand_over(layout, shard.path)
    return tar


def place_to_read(stage: Stage, folder: Path) -> Path | str:
    """Where a folder can be read by all workers: here, or in the store."""
    return f"{stage.layout.store}/{stage.layout.relative(folder)}" if is_remote(stage.settings) else folder


def spread_embedding(stage: Stage) -> EmbedMapFn | None:
    """For tiles; None where the runner has no processes of its own, since a model uses all of its process."""
    if not runner_of(stage.settings).is_separate:
        return None

    def spread(work: Callable[[TileRange], Floats], parts: Sequence[TileRange]) -> list[Floats]:
        layout = stage.layout if is_remote(stage.settings) else None
        return spread_over(stage, "embed-tiles", partial(embed_part, work, layout), parts)

    return spread


def embed_part(work: Callable[[TileRange], Floats], layout: Layout | None, part: TileRange) -> Floats:
    """Embed some tiles; with a `layout`, by a run that may have to come from the store."""
    if layout:
        pull_folder(layout, part.model.run_dir)
    return work(part)
