"""Make a split that leaks on purpose, to measure the effect of the leaks that the splits of the pipeline prevent.

The leaky split is never written to the catalog. The dataset built from it has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

Assignments = Mapping[str, SplitAssignment]


def by_tile(clean: Assignments, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Make a leaky split that assigns each tile at random, as is commonly done.

    Tiles of the same proposal, or of the same patch of sky, may be both in train and in test.
    """
    return {
        tile_id: replace(plan, split=_draw_split(tile_id, settings), reason=None) for tile_id, plan in clean.items()
    }


def common_test_tiles(plans: Sequence[Assignments]) -> dict[str, SplitAssignment]:
    """Exclude all tiles but those that each split tests.

    On them, a model that was trained on siblings of the tiles can be compared with one that was not.
    """
    return {
        tile_id: plan if all(other[tile_id].split == "test" for other in plans) else replace(plan, split=EXCLUDED)
        for tile_id, plan in plans[0].items()
    }


def _draw_split(tile_id: str, settings: SplitSettings) -> str:
    """Draw the split of a tile from a hash of the tile's id."""
    position = unit_hash(f"{settings.salt}:{tile_id}")
    if position < settings.test_share:
        return "test"
    return "val" if position < settings.test_share + settings.val_share else "train"
