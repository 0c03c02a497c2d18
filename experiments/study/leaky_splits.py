"""Splits that leak on purpose, to measure the leaks that our splits prevent, and halves of a dataset.

They never reach the catalog, and a dataset built from them is in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Observation, Proposal, Sample, SplitAssignment, Tile
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.assign import assign_splits, split_proposals

Assignments = Mapping[str, SplitAssignment]

FIRST, SECOND = 0, 1


def with_and_without_guard(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    settings: SplitSettings,
) -> tuple[Assignments, Assignments]:
    """Make two splits with the same val and test, with and without the sky guard.

    Groups are formed by text only, not by field, so that overlaps on the sky are left to the guard.

    Parameters
    ----------
    tiles
        All tiles.
    observations
        Observations by id.
    proposals
        Proposals by id.
    settings
        Split settings.

    Returns
    -------
    tuple[Assignments, Assignments]
        The guarded split, and the leaky one, in which the train tiles that the guard excluded are in train again.

    """
    by_text = settings.model_copy(update={"field_share": 0.0})  # groups by text only, not by field on the sky
    guarded = {plan.tile_id: plan for plan in assign_splits(tiles, observations, proposals, {}, by_text)}
    homes = split_proposals(tiles, observations, proposals, {}, by_text, {})
    train_ids = [tile.tile_id for tile in tiles if homes[tile.proposal_id].split == "train"]
    unguarded = {tile_id: replace(guarded[tile_id], split="train", reason=None) for tile_id in train_ids}
    return guarded, {**guarded, **unguarded}  # val and test, and tiles that left val for test, stay as they are


def by_tile(clean: Assignments, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Make a leaky split: single tiles at random, as is common.

    A proposal, and a patch of sky, may be on both sides.

    Parameters
    ----------
    clean
        The clean split, by tile id.
    settings
        Shares of the splits, and the salt.

    Returns
    -------
    dict[str, SplitAssignment]
        The random split, by tile id.

    """
    return {
        tile_id: replace(plan, split=_draw_split(tile_id, settings), reason=None) for tile_id, plan in clean.items()
    }


def _draw_split(tile_id: str, settings: SplitSettings) -> str:
    """Split of a tile, from a hash of its id."""
    position = unit_hash(f"{settings.salt}:{tile_id}")
    if position < settings.test_share:
        return "test"
    return "val" if position < settings.test_share + settings.val_share else "train"


def half_of(samples: Sequence[Sample], half: int, splits: Iterable[str]) -> list[Sample]:
    """Select every other science category, in alphabetical order.

    Parameters
    ----------
    samples
        Samples of all splits.
    half
        `FIRST` or `SECOND`.
    splits
        Splits to halve; all samples of the other splits are kept.

    Returns
    -------
    list[Sample]
        The selected samples.

    """
    halved_splits = set(splits)
    categories = sorted({sample.category or "" for sample in samples})
    chosen = set(categories[half::2])
    return [sample for sample in samples if sample.split not in halved_splits or (sample.category or "") in chosen]
