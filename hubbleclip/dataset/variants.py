"""Splits that no dataset should have, made only to measure what ours prevent, and halves of a dataset.

What they give never reaches the catalog, and a dataset built from it stands in a folder of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hubbleclip.dataset.packing import unit_hash
from hubbleclip.dataset.sky_guard import EXCLUDED
from hubbleclip.records import Sample, SplitAssignment
from hubbleclip.settings import SplitSettings

Assignments = Mapping[str, SplitAssignment]

SKY_REASONS = frozenset({"overlap", "moving_target"})
FIRST, SECOND = 0, 1


def without_guard(clean: Assignments) -> dict[str, SplitAssignment]:
    """Leaky: the train tiles that the sky guard took out are back; val and test stay as they are."""
    splits: dict[str, set[str]] = defaultdict(set)
    for plan in clean.values():
        splits[plan.group_id].add(plan.split)
    return {
        tile_id: replace(plan, split="train", reason=None)
        if plan.reason in SKY_REASONS and splits[plan.group_id] <= {EXCLUDED, "train"}
        else plan
        for tile_id, plan in clean.items()
    }


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
