"""The test split as evaluation sees it: tiles in a fixed order, their groups, and one caption a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.errors import EvaluationError
from hubbleclip.evaluation.retrieval import Floats, Ints
from hubbleclip.records import Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSet:
    """Tiles sorted by id; `group_t` gives each tile's group as an index into `captions_g`."""

    __test__ = False
    samples: tuple[Sample, ...]
    group_t: Ints
    captions_g: tuple[str, ...]

    @property
    def num_groups(self) -> int:
        """How many captions there are to choose from."""
        return len(self.captions_g)


def make_test_set(samples: Sequence[Sample], split: str = "test") -> TestSet:
    """Test set of the rows of a split. A group's caption is the main one of its first proposal and tile.

    Raises EvaluationError when there are fewer than two groups, for then there is nothing to tell apart.
    """
    tiles = sorted((sample for sample in samples if sample.split == split), key=lambda sample: sample.tile_id)
    groups = sorted({tile.group_id for tile in tiles})
    if len(groups) < 2:
        found = f"the {split} split has {len(groups)} proposal groups and needs 2"
        raise EvaluationError(f"{found}: raise splits.{split}_share")
    index = {group: number for number, group in enumerate(groups)}
    captions = dict.fromkeys(groups, "")
    for tile in sorted(tiles, key=lambda tile: (tile.proposal_id, tile.tile_id), reverse=True):
        captions[tile.group_id] = tile.captions[0]
    numbers = [index[tile.group_id] for tile in tiles]
    return TestSet(
        samples=tuple(tiles),
        group_t=np.array(numbers),
        captions_g=tuple(captions.values()),
    )


def shuffled_partner(group_t: Ints, seed: int) -> Ints:
    """For each tile (t,) a group other than its own, drawn evenly: the pairs that do not belong together."""
    num_groups = int(group_t.max()) + 1
    step_t = np.random.default_rng(seed).integers(1, num_groups, size=len(group_t))
    partner_t: Ints = (group_t + step_t) % num_groups
    return partner_t


def pair_similarities(scores_tg: Floats, group_t: Ints, seed: int) -> tuple[Floats, Floats]:
    """Cosine similarities (t,) of the tiles with their own caption, and with a caption of another group."""
    tiles = np.arange(len(group_t))
    return scores_tg[tiles, group_t], scores_tg[tiles, shuffled_partner(group_t, seed)]


def example_tiles(test_set: TestSet, count: int) -> list[int]:
    """Indices of `count` tiles to show: of groups, and as far as they go of kinds of object, that differ."""
    first = {int(group): tile for tile, group in reversed(list(enumerate(test_set.group_t)))}
    order = sorted(first.values())
    seen: dict[str | None, int] = {}
    turns = []
    for tile in order:
        kind = test_set.samples[tile].target_class
        turns.append((seen.setdefault(kind, 0), tile))
        seen[kind] += 1
    return [tile for _, tile in sorted(turns)][:count]
