"""Make splits that leak on purpose, and select halves of a dataset.

The leaky splits are used to measure the effect of the leaks that the splits of the pipeline prevent.

The leaky splits are never written to the catalog. Each dataset built from a leaky split has a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Sample, SplitAssignment
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.assign import assign_splits, split_proposals
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.near_duplicates import text_links

Assignments = Mapping[str, SplitAssignment]

FIRST, SECOND = 0, 1


def with_and_without_guard(material: Material, settings: SplitSettings) -> tuple[Assignments, Assignments]:
    """Make two splits with the same val and test tiles, one with and one without the sky guard.

    Proposals are grouped only by near-duplicate texts, not by shared fields on the sky, so that only the sky guard
    prevents overlaps on the sky.

    Parameters
    ----------
    material
        All tiles to split, with their observations and proposals.
    settings
        Split settings (the section `splits`).

    Returns
    -------
    tuple[Assignments, Assignments]
        The split with the sky guard, and the leaky split, in which the tiles that the sky guard excludes are in train.
        Both map tile ids to assignments.

    """
    # group proposals by text only, not by shared field on the sky
    by_text = settings.model_copy(update={"field_share": 0.0})
    guarded = {plan.tile_id: plan for plan in assign_splits(material, {}, by_text)}
    homes = split_proposals(material, {}, by_text, {}, text_links(material.proposals, by_text))
    train_ids = [tile.tile_id for tile in material.tiles if homes[tile.proposal_id].split == "train"]
    unguarded = {tile_id: replace(guarded[tile_id], split="train", reason=None) for tile_id in train_ids}
    return guarded, {**guarded, **unguarded}  # val and test tiles, and tiles moved from val to test, are unchanged


def by_tile(clean: Assignments, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Make a leaky split that assigns each tile at random, as is commonly done.

    Tiles of the same proposal, or of the same patch of sky, may be both in train and in test.

    Parameters
    ----------
    clean
        Assignments of the clean split, by tile id.
    settings
        Split settings; the shares of test and val and the salt are used.

    Returns
    -------
    dict[str, SplitAssignment]
        Assignments of the random split, by tile id.

    """
    return {
        tile_id: replace(plan, split=_draw_split(tile_id, settings), reason=None) for tile_id, plan in clean.items()
    }


def _draw_split(tile_id: str, settings: SplitSettings) -> str:
    """Draw the split of a tile from a hash of the tile's id."""
    position = unit_hash(f"{settings.salt}:{tile_id}")
    if position < settings.test_share:
        return "test"
    return "val" if position < settings.test_share + settings.val_share else "train"


def half_of(samples: Sequence[Sample], half: int, splits: Iterable[str]) -> list[Sample]:
    """Select the samples of every second science category; the categories are in alphabetical order.

    Parameters
    ----------
    samples
        Samples of all splits.
    half
        Half to select: `FIRST` starts with the first category, `SECOND` starts with the second category.
    splits
        Names of the splits from which samples are removed; all samples of the other splits are kept.

    Returns
    -------
    list[Sample]
        The selected samples.

    """
    halved_splits = set(splits)
    categories = sorted({sample.category or "" for sample in samples})
    chosen = set(categories[half::2])
    return [sample for sample in samples if sample.split not in halved_splits or (sample.category or "") in chosen]
