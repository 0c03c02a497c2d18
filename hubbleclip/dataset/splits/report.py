"""What a dataset tells of its splits: shares by category and instrument, what was left out and why, what else leaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.splits.assign import LeakReport
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.schemes import RANDOM
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

REPORT = "split_report"
EXCLUDED_TILES = "excluded.parquet"
LINKS = "proposal_links.parquet"
UNKNOWN = "unknown"

Strata = dict[str, dict[str, dict[str, float]]]


def lineage(settings: SplitSettings) -> str:
    """Name of the line of datasets in which no tile ever moves: random splits, whatever their shares, are one line."""
    return RANDOM if settings.scheme == RANDOM else f"{settings.scheme}-{settings.digest()}"


def split_report(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    assignments: Mapping[str, SplitAssignment],
    *,
    links: Iterable[Link],
    leak: LeakReport,
    settings: SplitSettings,
) -> dict[str, Any]:
    """The report, fit for JSON: tiles, proposals and groups of each split over all, by category and by instrument; what
    links proposals, what is excluded; the leak of a plain random split of tiles.
    """
    plans = [assignments[tile.tile_id] for tile in tiles]
    return {
        "lineage": lineage(settings),
        "settings": settings.model_dump(mode="json"),
        "wanted_share": {
            "train": round(1 - settings.val_share - settings.test_share, 6),
            "val": settings.val_share,
            "test": settings.test_share,
        },
        "total": _strata(tiles, plans, ["all"] * len(tiles))["all"],
        "by_category": _strata(tiles, plans, [_category(proposals.get(tile.proposal_id)) for tile in tiles]),
        "by_instrument": _strata(tiles, plans, [_instrument(tile, observations) for tile in tiles]),
        "excluded": _sorted_counts(plan.reason for plan in plans if plan.reason is not None),
        "links": _sorted_counts(link.reason for link in links),
        "random_split_of_tiles": asdict(leak),
    }


def split_tables(
    tiles: Sequence[Tile], assignments: Mapping[str, SplitAssignment], links: Iterable[Link]
) -> dict[str, pa.Table]:
    """Tables that stand beside the manifest, by file name: the tiles left out, each with its reason, and why proposals
    stay together.
    """
    out = [
        {"tile_id": tile.tile_id, "group_id": plan.group_id, "proposal_id": tile.proposal_id, "reason": plan.reason}
        for tile in sorted(tiles, key=lambda tile: tile.tile_id)
        if (plan := assignments[tile.tile_id]).split == EXCLUDED
    ]
    whys = sorted((asdict(link) for link in links), key=lambda row: tuple(row.values()))
    return {
        EXCLUDED_TILES: pa.Table.from_pylist(out, schema=_text_columns("tile_id", "group_id", "proposal_id", "reason")),
        LINKS: pa.Table.from_pylist(whys, schema=_text_columns("one", "other", "reason", "detail")),
    }


def leak_summary(leak: LeakReport) -> str:
    """The leak of a random split of tiles in one sentence."""
    share = leak.num_leaking / max(leak.num_train, 1)
    return (
        f"a random split of tiles would leak {share:.0%} of its {leak.num_train} train tiles:"
        f" {leak.num_shared_abstract} share an abstract with val or test, {leak.num_overlap} overlap on the sky,"
        f" {leak.num_moving_target} show the same moving body"
    )


def _strata(tiles: Sequence[Tile], plans: Sequence[SplitAssignment], values: Sequence[str]) -> Strata:
    """For each value and split, the number of tiles, proposals and groups, and the share of the value's tiles."""
    members: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (plan, value) in enumerate(zip(plans, values, strict=True)):
        members[value][plan.split].append(index)
    return {
        value: {
            split: {
                "tiles": len(mine),
                "proposals": len({tiles[index].proposal_id for index in mine}),
                "groups": len({plans[index].group_id for index in mine}),
                "share": round(len(mine) / sum(map(len, splits.values())), 4),
            }
            for split, mine in sorted(splits.items())
        }
        for value, splits in sorted(members.items())
    }


def _sorted_counts(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))


def _category(proposal: Proposal | None) -> str:
    return (proposal and proposal.category) or UNKNOWN


def _instrument(tile: Tile, observations: Mapping[str, Observation]) -> str:
    observation = observations.get(tile.obs_id)
    return tile.instrument or (observation and observation.instrument) or UNKNOWN


def _text_columns(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])
