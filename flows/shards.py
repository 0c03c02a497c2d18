"""Split the tiles, make samples of them, pack the samples into an immutable dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import Task, flow

from flows._run import Stage, log, open_stage
from flows.pending import from_rows
from hubbleclip.captions import make_captions
from hubbleclip.code_version import code_version
from hubbleclip.contracts import contract_version
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.shards import BuiltDataset, build_dataset, inputs_digest
from hubbleclip.dataset.splits import assign_splits
from hubbleclip.paths import Layout
from hubbleclip.records import Observation, Proposal, Sample, SplitAssignment, Tile
from hubbleclip.settings import Settings, read_settings


def pack_dataset(samples: Sequence[Sample], layout: Layout, settings: Settings) -> BuiltDataset:
    """Write the shards, the manifest and `dataset.json`."""
    return build_dataset(
        samples,
        lambda tile_id: layout.stored_tile(tile_id).read_bytes(),
        layout.datasets,
        settings.shards,
        contract_version=contract_version("shards"),
        code_version=code_version(),
        settings_digests={"tiles": settings.tiles.digest(), "splits": settings.splits.digest()},
        read_png_size=lambda tile_id: layout.stored_tile(tile_id).stat().st_size,
    )


task_assign_splits: Task[..., list[SplitAssignment]] = Task(assign_splits, name="assign-splits", persist_result=False)
task_pack_dataset = Task(pack_dataset, name="pack-dataset", persist_result=False)


@flow(name="shards")
def shards(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Give every new tile its split and build a dataset, unless one of the same samples stands already."""
    settings = read_settings(profile, overrides or {})
    with open_stage("shards", settings) as stage:
        samples = sample_tiles(stage)
        digest = inputs_digest(samples, settings.shards)
        built = stage.catalog.rows("SELECT path FROM dataset WHERE inputs_digest = ?", [digest])
        if built and stage.layout.absolute(built[0]["path"]).is_dir():
            log.info("shards: %s is up to date", built[0]["path"])
            return
        packed = task_pack_dataset(samples, stage.layout, settings)
        stage.catalog.upsert(
            {"sample": samples, "dataset": [packed.dataset], "shard": packed.shards, "placement": packed.placements}
        )
        log.info("shards: %s holds %d samples in %d shards", packed.dataset.path, len(samples), len(packed.shards))


def sample_tiles(stage: Stage) -> list[Sample]:
    """Samples of all current tiles; their captions, splits and what is left out go to the catalog."""
    catalog, settings = stage.catalog, stage.settings
    tiles = from_rows(Tile, catalog.named("current_tiles", settings_digest=settings.tiles.digest()))
    observations = {o.obs_id: o for o in from_rows(Observation, catalog.rows("FROM observation"))}
    proposals = {p.proposal_id: p for p in from_rows(Proposal, catalog.rows("FROM proposal"))}
    existing = {s.tile_id: s for s in from_rows(SplitAssignment, catalog.rows("FROM split"))}
    new = task_assign_splits(tiles, observations, proposals, existing, settings.splits)
    captions = [c for p in proposals.values() for c in make_captions(p, settings.shards.caption_kinds)]
    assignments = existing | {s.tile_id: s for s in new}
    samples, rejections = make_samples(
        tiles, observations, proposals, assignments, settings.shards, settings.shards.digest()
    )
    catalog.upsert({"split": new, "caption": captions, "rejection": rejections})
    stage.rejected += len(rejections)
    return samples
