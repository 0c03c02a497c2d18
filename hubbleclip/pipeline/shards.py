"""The stage `shards`: assign tiles to splits, make samples, and pack the samples into an immutable dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from hubbleclip.captions.backends import writer_of
from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import Settings, SplitSettings
from hubbleclip.contracts.schema import contract_version
from hubbleclip.contracts.validation import Rows, reject_broken_rows, whole
from hubbleclip.core.errors import DatasetError, TileFileError
from hubbleclip.core.layout import Layout
from hubbleclip.core.parallel import MapFn
from hubbleclip.core.records import AbstractSummary, Dataset, Observation, Proposal, Sample, SplitAssignment, Tile
from hubbleclip.core.timestamps import next_time
from hubbleclip.core.version import code_version
from hubbleclip.dataset.build import BuiltDataset, PackedShard, PlannedShard, build_dataset, inputs_digest
from hubbleclip.dataset.manifest import DESCRIPTION
from hubbleclip.dataset.samples import make_samples
from hubbleclip.dataset.shard_writer import ShardFile
from hubbleclip.dataset.splits.assign import PERMANENT, assign_splits, leak_report
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.near_duplicates import text_links
from hubbleclip.dataset.splits.report import check_test_lists, leak_summary, released_splits, split_report, split_tables
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.dataset.splits.shared_fields import field_links
from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import map_ordered
from hubbleclip.pipeline.engine.runners import is_remote
from hubbleclip.pipeline.engine.stage import Stage, log, open_stage
from hubbleclip.pipeline.ingest.query_observations import date_of
from hubbleclip.pipeline.remote_store import collect_from_store, local_files, pull_datasets, push_folder, send_to_store
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.pipeline.tiles.run import forget_damaged, read_tile

FORMER = """
SELECT t.proposal_id, s.tile_id, s.group_id, s.split, s.reason FROM split s JOIN tile t USING (tile_id)
QUALIFY row_number() OVER (
  PARTITION BY t.proposal_id ORDER BY coalesce(s.reason IN (SELECT unnest(?)), false) DESC, s.tile_id
) = 1
"""
"""Query for the split assignment of one tile of each proposal. The tile may have been cut with other settings.

If some tiles of a proposal were excluded for a permanent reason, one of these tiles is taken, because the reason holds
for the whole proposal.
"""


SUMMARIES = """
SELECT p.proposal_id, s.* FROM abstract_summary s JOIN proposal p ON s.abstract_sha256 = sha256(p.abstract)
ORDER BY ALL
"""


SAME_FILES = """
SELECT one, proposal_id AS other, 'file' AS reason, min(uri) AS detail
FROM (SELECT *, min(proposal_id) OVER (PARTITION BY sha256) AS one FROM product WHERE sha256 IS NOT NULL)
WHERE one <> proposal_id GROUP BY ALL ORDER BY ALL
"""


def read_material(stage: Stage) -> Material:
    """Read all current tiles with their observations and proposals from the catalog."""
    catalog = stage.catalog
    return Material(
        tiles=to_records(Tile, catalog.named_query("current_tiles", settings_digest=stage.settings.tiles.digest())),
        observations={o.obs_id: o for o in to_records(Observation, catalog.rows("FROM observation"))},
        proposals={p.proposal_id: p for p in to_records(Proposal, catalog.rows("FROM proposal"))},
        summaries=read_summaries(stage),
        same_files=[Link(**row) for row in catalog.rows(SAME_FILES)],
    )


def read_summaries(stage: Stage) -> dict[str, dict[str, AbstractSummary]]:
    """Read the summaries of abstracts, by proposal id and then by `AbstractSummary.writer`.

    The summary by the caption backend that the settings select is also stored under the key `""`.
    """
    selected = writer_of(stage.settings.captions)
    found: dict[str, dict[str, AbstractSummary]] = {}
    for row in stage.catalog.rows(SUMMARIES):
        summaries = found.setdefault(row.pop("proposal_id"), {})
        summary = AbstractSummary(**row)
        summaries[summary.writer] = summary
        if summary.writer == selected:
            summaries[""] = summary
    return found


def split_tiles(stage: Stage, material: Material) -> dict[str, SplitAssignment]:
    """Assign every tile to a split.

    The catalog stores only the assignments of the random split scheme. The assignments of another scheme are stored in
    the datasets of that scheme. A tile whose assignment breaks its data contract is rejected and belongs to no split.
    """
    settings, datasets_dir = stage.settings.splits, stage.layout.datasets
    existing, new = plan_splits(stage, material)
    rows = reject_broken_rows({"split": new}, "shards", "tile", settings.digest())
    stage.catalog.upsert(rows)
    stage.rejected += len(rows.get("rejection", ()))
    rejected = {plan.tile_id for plan in new}.difference(plan.tile_id for plan in rows["split"])
    if settings.scheme != RANDOM:
        existing = released_splits(datasets_dir, settings)
        new = assign_splits(material, existing, settings)
    found = existing | {plan.tile_id: plan for plan in new}
    kept = {tile_id: plan for tile_id, plan in found.items() if tile_id not in rejected}
    check_test_lists(datasets_dir, {tile_id: plan.split for tile_id, plan in kept.items()}, settings)
    return kept


def plan_splits(stage: Stage, material: Material) -> tuple[dict[str, SplitAssignment], list[SplitAssignment]]:
    """Read the existing assignments of the random split scheme, and make the new and changed assignments."""
    existing = {s.tile_id: s for s in to_records(SplitAssignment, stage.catalog.rows("FROM split"))}
    at_random = stage.settings.splits.model_copy(update={"scheme": RANDOM})
    former = {row.pop("proposal_id"): SplitAssignment(**row) for row in stage.catalog.rows(FORMER, [sorted(PERMANENT)])}
    return existing, assign_splits(material, existing, at_random, former=former)


def report_splits(
    material: Material, assignments: Mapping[str, SplitAssignment], settings: SplitSettings
) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Make the report on the splits, and its tables.

    For comparison, the report counts the training tiles that would leak if single tiles were split at random.
    """
    by_text = [*text_links(material.proposals, settings), *material.same_files]
    leak = leak_report(material, by_text, settings)
    log.info("splits: %s", leak_summary(leak))
    links = [*by_text, *field_links(material.observations.values())]
    report = split_report(material, assignments, links=links, leak=leak, settings=settings)
    return report, split_tables(material.tiles, assignments, links)


def pack_dataset(
    stage: Stage, material: Material, samples: Sequence[Sample], assignments: Mapping[str, SplitAssignment]
) -> BuiltDataset:
    """Write the shards, the manifest and `dataset.json` of a new dataset."""
    settings, layout = stage.settings, stage.layout
    split_report, split_tables = report_splits(material, assignments, settings.splits)
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
        read_png_size=lambda tile_id: tiles[tile_id].size_bytes or 0,
        released_on=newest_release(material, samples),
        map_fn=packing_map(stage, {tile_id: tile.path for tile_id, tile in tiles.items()}),
    )


def newest_release(material: Material, samples: Iterable[Sample]) -> date | None:
    """Find the day on which the newest observation of a dataset became public."""
    released = (material.observations[sample.obs_id].released_mjd for sample in samples)
    days = [mjd for mjd in released if mjd is not None]
    return date_of(math.floor(max(days))) if days else None


def shards(settings: Settings) -> None:
    """Assign every new tile to a split and build a dataset, unless a dataset of the same samples exists.

    Only datasets of the random split scheme are recorded in the catalog and used for training. A dataset of another
    scheme exists only as a folder.
    """
    with open_stage("shards", settings) as stage:
        newest = stage.catalog.rows(NEWEST_DATASET)
        pull_datasets(stage.layout, stage.layout.absolute(newest[0]["path"]) if newest else None)
        material = read_material(stage)
        if not material.tiles:
            raise DatasetError(
                "there is no tile to pack: run `hubbleclip ingest`, then `hubbleclip tiles` (`hubbleclip status` says"
                " why files are rejected)"
            )
        assignments = split_tiles(stage, material)
        material = replace(material, tiles=[tile for tile in material.tiles if tile.tile_id in assignments])
        samples = sample_tiles(stage, material, assignments)
        packed = pack_intact(stage, material, samples, assignments)
        if packed is None:
            return
        push_folder(stage.layout, stage.layout.absolute(packed.dataset.path))
        rows: Rows = {
            "sample": samples,
            "dataset": [replace(packed.dataset, built_at=next_build_time(stage))],
            "shard": packed.shards,
            "placement": packed.placements,
        }
        if settings.splits.scheme == RANDOM:
            stage.catalog.upsert(whole(rows))
        made = packed.dataset
        log.info("shards: %s holds %d samples in %d shards", made.path, made.num_samples, made.num_shards)


def pack_intact(
    stage: Stage, material: Material, samples: Sequence[Sample], assignments: Mapping[str, SplitAssignment]
) -> BuiltDataset | None:
    """Pack the samples with intact tiles, and make the products of damaged tiles pending again."""
    if (built := reuse_dataset(stage, inputs_digest(samples, stage.settings.shards))) is not None:
        log.info("shards: %s is up to date", built.path)
        return None
    try:
        return pack_dataset(stage, material, samples, assignments)
    except TileFileError as error:
        damaged = frozenset(error.tile_ids)
    forget_damaged(stage, damaged)
    material = replace(material, tiles=[tile for tile in material.tiles if tile.tile_id not in damaged])
    return pack_intact(stage, material, [s for s in samples if s.tile_id not in damaged], assignments)


def reuse_dataset(stage: Stage, inputs_digest: str) -> Dataset | None:
    """Find an existing dataset that was built from the same samples and settings.

    If the found dataset is not the newest, its build time is renewed, because trainings use the newest dataset.
    """
    found = to_records(Dataset, stage.catalog.rows("FROM dataset WHERE inputs_digest = ?", [inputs_digest]))
    built = next((one for one in found if (stage.layout.absolute(one.path) / DESCRIPTION).is_file()), None)
    if built is not None and built.digest != stage.catalog.rows(NEWEST_DATASET)[0]["digest"]:
        stage.catalog.upsert({"dataset": [replace(built, built_at=next_build_time(stage))]})
    return built


def next_build_time(stage: Stage) -> datetime:
    """Return a time later than the build time of every dataset, even if the clock was ahead at an earlier build."""
    return next_time(stage.catalog.rows("SELECT max(built_at) AS at FROM dataset")[0]["at"], "dataset")


def sample_tiles(stage: Stage, material: Material, assignments: Mapping[str, SplitAssignment]) -> list[Sample]:
    """Make samples of all current tiles, and write rejections to the catalog."""
    settings = stage.settings.shards
    samples, rejections = make_samples(material, assignments, settings)
    made: Rows = {"sample": samples, "rejection": rejections}
    rows = reject_broken_rows(made, "shards", "tile", settings.digest())
    stage.catalog.upsert({"rejection": rows["rejection"]})
    stage.rejected += len(rows["rejection"])
    return rows["sample"]


def packing_map(stage: Stage, paths: Mapping[str, str]) -> MapFn[PlannedShard, PackedShard]:
    """Make a function like `map` that packs shards in parallel on the workers of a stage."""

    def spread(work: Callable[[PlannedShard], PackedShard], shards: Sequence[PlannedShard]) -> list[PackedShard]:
        with_tiles = [(shard, [paths[sample.tile_id] for sample in shard.samples]) for shard in shards]
        is_sent = is_remote(stage.settings)
        step = Step(name="pack-shards", stage="shards", entity="tile", digest=stage.settings.shards.digest())
        tars = list(map_ordered(stage, step, partial(pack_shard, work, stage.layout, is_sent), with_tiles))
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
    """Fetch the tiles of one shard to the local disk, write the shard, and send it to the store if `is_sent`."""
    shard, paths = given
    with local_files(layout, paths):
        tar = work(shard)
    if is_sent and isinstance(tar, ShardFile):
        send_to_store(layout, shard.path)
    return tar
