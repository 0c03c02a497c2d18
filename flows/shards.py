"""Split the tiles, make samples of them, pack the samples into an immutable dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from prefect import Task, flow

from flows._edges import checked
from flows._run import Stage, log, open_stage
from flows.mirror import at_hand, pull_datasets, push_folder
from flows.splitting import Material, read_material, split_tiles, tell_splits
from flows.status import NEWEST_DATASET
from hubbleclip.captions import make_captions
from hubbleclip.code_version import code_version
from hubbleclip.contract_edges import Rows, whole
from hubbleclip.contracts import contract_version
from hubbleclip.dataset.directory import SPLITS
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.schemes import RANDOM
from hubbleclip.dataset.shards import BuiltDataset, build_dataset, find_parent, inputs_digest
from hubbleclip.paths import Layout
from hubbleclip.records import Sample, SplitAssignment
from hubbleclip.settings import Settings, read_settings


def pack_dataset(
    samples: Sequence[Sample],
    layout: Layout,
    settings: Settings,
    split_report: Mapping[str, Any],
    split_tables: Mapping[str, pa.Table],
) -> BuiltDataset:
    """Write the shards, the manifest and `dataset.json`."""
    return build_dataset(
        samples,
        lambda tile_id: layout.stored_tile(tile_id).read_bytes(),
        layout.datasets,
        settings.shards,
        contract_version=contract_version("shards"),
        code_version=code_version(),
        settings_digests={"tiles": settings.tiles.digest(), "splits": settings.splits.digest()},
        split_report=split_report,
        split_tables=split_tables,
        read_png_size=lambda tile_id: layout.stored_tile(tile_id).stat().st_size,
    )


task_pack_dataset = Task(pack_dataset, name="pack-dataset", persist_result=False)


@flow(name="shards")
def shards(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Give every new tile its split and build a dataset, unless one of the same samples stands already.

    The catalog knows the datasets of the random split, which are what trainings take; one of another scheme stands in
    its folder alone.
    """
    settings = read_settings(profile, overrides or {})
    with open_stage("shards", settings) as stage:
        newest = stage.catalog.rows(NEWEST_DATASET)
        pull_datasets(stage.layout, stage.layout.absolute(newest[0]["path"]) if newest else None)
        material = read_material(stage)
        assignments = split_tiles(stage, material)
        material = replace(material, tiles=[tile for tile in material.tiles if tile.tile_id in assignments])
        samples = sample_tiles(stage, material, assignments)
        digest = inputs_digest(samples, settings.shards)
        built = stage.catalog.rows("SELECT path FROM dataset WHERE inputs_digest = ?", [digest])
        if built and stage.layout.absolute(built[0]["path"]).is_dir():
            log.info("shards: %s is up to date", built[0]["path"])
            return
        told = tell_splits(material, assignments, settings.splits)
        with at_hand(stage.layout, tiles_to_pack(stage, material, samples)):
            packed = task_pack_dataset(samples, stage.layout, settings, *told)
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


def tiles_to_pack(stage: Stage, material: Material, samples: Sequence[Sample]) -> list[str]:
    """Where the tiles stand that no older dataset lends to the next; none without a store, since all are here."""
    if not stage.layout.store:
        return []
    packable = [sample for sample in samples if sample.split in SPLITS]
    parent = find_parent(stage.layout.datasets, packable, stage.settings.shards, contract_version("shards"))
    new = {sample.tile_id for sample in packable}.difference(parent.manifest["tile_id"].to_pylist() if parent else ())
    return [tile.path for tile in material.tiles if tile.tile_id in new]


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
