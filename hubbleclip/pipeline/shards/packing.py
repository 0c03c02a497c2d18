"""Pack shards on the workers of a stage.

Workers that share no disk with this process read tiles from the remote store, and write shards to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hubbleclip.core.layout import Layout
from hubbleclip.core.parallel import MapFn
from hubbleclip.dataset.build import PackedShard, PlannedShard
from hubbleclip.dataset.shard_writer import ShardFile
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import map_ordered
from hubbleclip.pipeline.engine.runners import is_remote
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.remote_store import collect_from_store, local_files, send_to_store


def packing_map(stage: Stage, paths: Mapping[str, str]) -> MapFn[PlannedShard, PackedShard]:
    """Make a parallel `map` that packs shards on the workers of a stage."""

    def spread(work: Callable[[PlannedShard], PackedShard], shards: Sequence[PlannedShard]) -> list[PackedShard]:
        with_tiles = [(shard, [paths[sample.tile_id] for sample in shard.samples]) for shard in shards]
        is_sent = is_remote(stage.settings)
        step = Step(name="pack-shards", stage="shards", entity="tile", digest=stage.settings.shards.digest())
        tars = map_ordered(stage, step, partial(pack_shard, work, stage.layout, is_sent), with_tiles)
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
