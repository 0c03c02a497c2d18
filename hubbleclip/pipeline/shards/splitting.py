"""Assign tiles to train, val and test, and report on the splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hubbleclip.captions.registry import writer_of
from hubbleclip.catalog.pending import to_records
from hubbleclip.config.settings import SplitSettings
from hubbleclip.contracts.validation import reject_broken_rows
from hubbleclip.core.records import AbstractSummary, Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.splits.assign import PERMANENT, assign_splits, leak_report
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.frozen_tests import check_test_lists, released_splits
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.near_duplicates import text_links
from hubbleclip.dataset.splits.report import leak_summary, split_report, split_tables
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.dataset.splits.shared_fields import field_links
from hubbleclip.pipeline.engine.stage import Stage

log = logging.getLogger("hubbleclip.pipeline")

FORMER = """
SELECT t.proposal_id, s.tile_id, s.group_id, s.split, s.reason FROM split s JOIN tile t USING (tile_id)
QUALIFY row_number() OVER (
  PARTITION BY t.proposal_id ORDER BY coalesce(s.reason IN (SELECT unnest(?)), false) DESC, s.tile_id
) = 1
"""
"""Query for one existing split assignment of each proposal; the tile may have been cut under other tile settings.

A tile that was excluded for a permanent reason comes first, because the reason holds for the whole proposal.
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
    """Read the summaries of abstracts by proposal and writer; the key `""` has that of the selected writer."""
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

    The catalog stores the assignments of the random split scheme. The assignments of another scheme are stored only in
    the datasets of that scheme. A tile whose assignment breaks its data contract is rejected and belongs to no split.
    """
    settings, datasets_dir = stage.settings.splits, stage.layout.datasets
    existing, new = plan_splits(stage, material)
    rejected = write_splits(stage, new)
    if settings.scheme != RANDOM:
        existing = released_splits(datasets_dir, settings)
        new = assign_splits(material, existing, settings)
    found = existing | {plan.tile_id: plan for plan in new}
    kept = {tile_id: plan for tile_id, plan in found.items() if tile_id not in rejected}
    check_test_lists(datasets_dir, {tile_id: plan.split for tile_id, plan in kept.items()}, settings)
    return kept


def plan_splits(stage: Stage, material: Material) -> tuple[dict[str, SplitAssignment], list[SplitAssignment]]:
    """Read the assignments of the random split scheme, and make the new and changed ones."""
    existing = {s.tile_id: s for s in to_records(SplitAssignment, stage.catalog.rows("FROM split"))}
    at_random = stage.settings.splits.model_copy(update={"scheme": RANDOM})
    former = {row.pop("proposal_id"): SplitAssignment(**row) for row in stage.catalog.rows(FORMER, [sorted(PERMANENT)])}
    return existing, assign_splits(material, existing, at_random, former=former)


def write_splits(stage: Stage, new: Sequence[SplitAssignment]) -> set[str]:
    """Write new split assignments to the catalog, and return the ids of the tiles whose assignments are rejected."""
    rows = reject_broken_rows({"split": new}, "shards", "tile", stage.settings.splits.digest())
    stage.catalog.upsert(rows)
    stage.rejected += len(rows.get("rejection", ()))
    return {plan.tile_id for plan in new}.difference(plan.tile_id for plan in rows["split"])


def report_splits(
    material: Material, assignments: Mapping[str, SplitAssignment], settings: SplitSettings
) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Make the report on the splits and its tables; it also counts the leaks of a random split of single tiles."""
    by_text = [*text_links(material.proposals, settings), *material.same_files]
    leak = leak_report(material, by_text, settings)
    log.info("splits: %s", leak_summary(leak))
    links = [*by_text, *field_links(material.observations.values())]
    report = split_report(material, assignments, links=links, leak=leak, settings=settings)
    return report, split_tables(material.tiles, assignments, links)
