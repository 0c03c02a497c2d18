"""Split the tiles, make samples of them, pack the samples into an immutable dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import Settings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.contracts.validation import Rows, whole
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Dataset, Sample, SplitAssignment, Tile
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import BuiltDataset, build_dataset, inputs_digest
from hubbleclip.dataset.captions import make_captions
from hubbleclip.dataset.manifest import DESCRIPTION
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.pipeline.engine.boundaries import checked
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.engine.parallel_work import spread_packing
from hubbleclip.pipeline.engine.stage import Stage, open_stage
from hubbleclip.pipeline.remote_store import at_hand, pull_datasets, push_folder
from hubbleclip.pipeline.shards.splitting import Material, read_material, split_tiles, tell_splits
from hubbleclip.pipeline.status import NEWEST_DATASET

log = logging.getLogger("hubbleclip.pipeline")


def pack_dataset(
    stage: Stage, material: Material, samples: Sequence[Sample], assignments: Mapping[str, SplitAssignment]
) -> BuiltDataset:
    """Write the shards, the manifest and `dataset.json`."""
    settings, layout = stage.settings, stage.layout
    split_report, split_tables = tell_splits(material, assignments, settings.splits)
    tiles = {tile.tile_id: tile for tile in material.tiles}
    return build_dataset(
        samples,
        partial(read_tile, layout),
        layout.datasets,
        settings.shards,
        contract_version=contract_version("shards"),
        code_version=code_version(),
        settings_digests={"tiles": settings.tiles.digest(), "splits": settings.splits.digest()},
        split_report=split_report,
        split_tables=split_tables,
        read_png_size=lambda tile_id: size_of(tiles[tile_id], layout),
        spread=spread_packing(stage, {tile_id: tile.path for tile_id, tile in tiles.items()}),
    )


def read_tile(layout: Layout, tile_id: str) -> bytes:
    """The picture of a tile."""
    return layout.existing_tile(tile_id).read_bytes()


def size_of(tile: Tile, layout: Layout) -> int:
    """Length of a tile's picture in bytes; one that was cut before the catalog kept it is looked at."""
    if tile.size_bytes is not None:
        return tile.size_bytes
    with at_hand(layout, [tile.path]):
        return layout.absolute(tile.path).stat().st_size


def shards(settings: Settings, execution: Execution = PLAIN) -> None:
    """Give every new tile its split and build a dataset, unless one of the same samples stands already.

    The catalog knows the datasets of the random split, which are what trainings take; one of another scheme stands in
    its folder alone.
    """
    with open_stage("shards", settings, execution) as stage:
        newest = stage.catalog.rows(NEWEST_DATASET)
        pull_datasets(stage.layout, stage.layout.absolute(newest[0]["path"]) if newest else None)
        material = read_material(stage)
        assignments = split_tiles(stage, material)
        material = replace(material, tiles=[tile for tile in material.tiles if tile.tile_id in assignments])
        samples = sample_tiles(stage, material, assignments)
        digest = inputs_digest(samples, settings.shards)
        if (built := use_again(stage, digest)) is not None:
            log.info("shards: %s is up to date", built.path)
            return
        packed = pack_dataset(stage, material, samples, assignments)
        push_folder(stage.layout, stage.layout.absolute(packed.dataset.path))
        rows: Rows = {
            "sample": samples,
            "dataset": [packed.dataset],
            "shard": packed.shards,
            "placement": packed.placements,
        }
        if settings.splits.scheme == RANDOM:
            stage.catalog.upsert(whole(rows))
        log.info("shards: %s holds %d samples in %d shards", packed.dataset.path, len(samples), len(packed.shards))


def use_again(stage: Stage, inputs_digest: str) -> Dataset | None:
    """The dataset of these inputs, if it stands; it counts as built now, since trainings take the newest."""
    found = to_records(Dataset, stage.catalog.rows("FROM dataset WHERE inputs_digest = ?", [inputs_digest]))
    built = next((one for one in found if (stage.layout.absolute(one.path) / DESCRIPTION).is_file()), None)
    if built is not None and built.digest != stage.catalog.rows(NEWEST_DATASET)[0]["digest"]:
        stage.catalog.upsert({"dataset": [replace(built, built_at=datetime.now(UTC))]})
    return built


def sample_tiles(stage: Stage, material: Material, assignments: Mapping[str, SplitAssignment]) -> list[Sample]:
    """Samples of all current tiles; their captions and what is left out go to the catalog."""
    settings, proposals = stage.settings.shards, material.proposals
    captions = [c for p in proposals.values() for c in make_captions(p, settings.caption_kinds)]
    samples, rejections = make_samples(
        material.tiles, material.observations, proposals, assignments, settings, settings.digest()
    )
    rows = checked(stage, {"sample": samples, "caption": captions, "rejection": rejections}, "make-samples")
    stage.catalog.upsert({name: rows[name] for name in ("caption", "rejection")})
    stage.rejected += len(rows["rejection"])
    return rows["sample"]
