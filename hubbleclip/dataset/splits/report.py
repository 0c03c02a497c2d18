"""Report of a dataset's splits: shares by category and instrument, exclusion reasons, and leakage of a random split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment, Tile
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

REPORT = "split_report"
EXCLUDED_TILES = "excluded.parquet"
LINKS = "proposal_links.parquet"
UNKNOWN = "unknown"

Strata = dict[str, dict[str, dict[str, float]]]


def lineage(settings: SplitSettings) -> str:
    """Name the lineage of a dataset: within a lineage no tile ever changes its split."""
    return RANDOM if settings.scheme == RANDOM else f"{settings.scheme}-{settings.digest()}"


def split_report(
    material: Material,
    assignments: Mapping[str, SplitAssignment],
    *,
    links: Iterable[Link],
    leak: Mapping[str, int],
    settings: SplitSettings,
) -> dict[str, Any]:
    """Make a report of the splits.

    The report contains the sizes of the splits (in total, by category and by instrument), the numbers of links and of
    excluded tiles by reason, and the leakage of a random split.
    """
    tiles = material.tiles
    plans = [assignments[tile.tile_id] for tile in tiles]
    proposals = [material.proposals.get(tile.proposal_id) for tile in tiles]
    categories = [(proposal and proposal.category) or UNKNOWN for proposal in proposals]
    return {
        "lineage": lineage(settings),
        "settings": settings.recorded(),
        "wanted_share": {
            "train": round(1 - settings.val_share - settings.test_share, 6),
            "val": settings.val_share,
            "test": settings.test_share,
        },
        "total": _strata(tiles, plans, ["all"] * len(tiles))["all"],
        "by_category": _strata(tiles, plans, categories),
        "by_instrument": _strata(tiles, plans, [material.instrument_of(tile) or UNKNOWN for tile in tiles]),
        "excluded": _sorted_counts(plan.reason for plan in plans if plan.reason is not None),
        "links": _sorted_counts(link.reason for link in links),
        "random_split_of_tiles": dict(leak),
    }


def split_tables(
    tiles: Sequence[Tile], assignments: Mapping[str, SplitAssignment], links: Iterable[Link]
) -> dict[str, pa.Table]:
    """Make two tables for the dataset folder: excluded tiles with their reasons, and links between proposals."""
    excluded = [
        {"tile_id": tile.tile_id, "group_id": plan.group_id, "proposal_id": tile.proposal_id, "reason": plan.reason}
        for tile in sorted(tiles, key=lambda tile: tile.tile_id)
        if (plan := assignments[tile.tile_id]).split == EXCLUDED
    ]
    # The rows are sorted, so that equal splits give files with equal bytes.
    link_rows = sorted((asdict(link) for link in links), key=lambda row: tuple(row.values()))
    tables = {
        EXCLUDED_TILES: (excluded, ("tile_id", "group_id", "proposal_id", "reason")),
        LINKS: (link_rows, ("one", "other", "reason", "detail")),
    }
    return {
        file: pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))
        for file, (rows, names) in tables.items()
    }


def leak_summary(leak: Mapping[str, int]) -> str:
    """Describe the leakage of a random split of tiles in one sentence."""
    share = leak["num_leaking"] / max(leak["num_train"], 1)
    return (
        f"a random split of tiles would leak {share:.0%} of its {leak['num_train']} train tiles:"
        f" {leak['num_shared_abstract']} share an abstract with val or test, {leak['num_overlap']} overlap on the sky,"
        f" {leak['num_moving_target']} show the same moving body"
    )


def _strata(tiles: Sequence[Tile], plans: Sequence[SplitAssignment], values: Sequence[str]) -> Strata:
    """Count the tiles, proposals and groups for each value and split.

    `values` contains the value of each tile, such as its instrument. `share` is the share of the value's tiles that
    are in the split.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)  # indices of the tiles, by value and split
    for index, (plan, value) in enumerate(zip(plans, values, strict=True)):
        members[value, plan.split].append(index)
    num_tiles = Counter(values)
    strata: Strata = {value: {} for value in sorted(num_tiles)}
    for (value, split), mine in sorted(members.items()):
        strata[value][split] = {
            "tiles": len(mine),
            "proposals": len({tiles[index].proposal_id for index in mine}),
            "groups": len({plans[index].group_id for index in mine}),
            "share": round(len(mine) / num_tiles[value], 4),
        }
    return strata


def _sorted_counts(reasons: Iterable[str]) -> dict[str, int]:
    """Count the occurrences of each reason; the result is sorted by reason."""
    return dict(sorted(Counter(reasons).items()))
