"""Splits that no dataset should have, made only to measure what ours prevent, and halves of a dataset.

What they give never reaches the catalog, and a dataset built from it stands in a folder of its own.
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
    """Two splits with the same val and test, in which fields are no groups, so that the guard has all the work: with
    it, and leaky, the train tiles that it took out put back.
    """
    by_text = settings.model_copy(update={"field_share": 0.0})
    guarded = {plan.tile_id: plan for plan in assign_splits(tiles, observations, proposals, {}, by_text)}
    homes = split_proposals(tiles, observations, proposals, {}, by_text, {})
    of_train = [tile.tile_id for tile in tiles if homes[tile.proposal_id].split == "train"]
    back = {tile_id: replace(guarded[tile_id], split="train", reason=None) for tile_id in of_train}
    return guarded, {**guarded, **back}


def by_tile(clean: Assignments, settings: SplitSettings) -> dict[str, SplitAssignment]:
    """Leaky: a plain random split of single tiles, as is common: one proposal, and one patch of sky, on both sides."""
    return {tile_id: replace(plan, split=_drawn(tile_id, settings), reason=None) for tile_id, plan in clean.items()}


def _drawn(tile_id: str, settings: SplitSettings) -> str:
    place = unit_hash(f"{settings.salt}:{tile_id}")
    if place < settings.test_share:
        return "test"
    return "val" if place < settings.test_share + settings.val_share else "train"


def half_of(samples: Sequence[Sample], half: int, splits: Iterable[str]) -> list[Sample]:
    """The samples of every other science category, in the order of their names, in these splits; all of the other
    splits.
    """
    halved = set(splits)
    categories = sorted({sample.category or "" for sample in samples})
    mine = set(categories[half::2])
    return [sample for sample in samples if sample.split not in halved or (sample.category or "") in mine]
