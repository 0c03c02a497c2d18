"""The test split as evaluation sees it: tiles in a fixed order, the captions that they find, and their groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_proposals, near_duplicates, shingles
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

ALIKE = 0.7
"""Least similarity (Jaccard, of runs of five words) of texts that are one caption, as of `splits.near_duplicate`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSet:
    """Tiles sorted by id; `caption_t` gives each tile's own caption as an index into `captions_c`, and `group_c` the
    group of a caption's proposals, the unit of splits and resamples.
    """

    __test__ = False
    samples: tuple[Sample, ...]
    caption_t: Ints
    captions_c: tuple[str, ...]
    group_c: Ints

    @property
    def group_t(self) -> Ints:
        """Each tile's group."""
        return self.group_c[self.caption_t]

    @property
    def num_groups(self) -> int:
        """How many groups there are to resample."""
        return int(self.group_c.max()) + 1


def make_test_set(samples: Sequence[Sample], split: str = "test") -> TestSet:
    """Test set of the rows of a split. A proposal's caption is the main one of its first tile; those of a group that
    say nearly the same are one, that of the first, so that none is a wrong answer to its like. Others stand apart:
    proposals of one patch of sky may ask for quite other things.

    Raises EvaluationError when there are fewer than two groups, for then there is nothing to tell apart.
    """
    tiles = sorted((sample for sample in samples if sample.split == split), key=lambda sample: sample.tile_id)
    groups = sorted({tile.group_id for tile in tiles})
    if len(groups) < 2:
        found = f"the {split} split has {len(groups)} proposal groups and needs 2"
        raise EvaluationError(f"{found}: raise splits.{split}_share")
    owner = caption_owners(tiles)
    owners = sorted({(owner[tile.proposal_id], tile.group_id) for tile in tiles}, key=lambda pair: pair[::-1])
    index = {proposal_id: number for number, (proposal_id, _) in enumerate(owners)}
    texts = main_captions(tiles)
    return TestSet(
        samples=tuple(tiles),
        caption_t=np.array([index[owner[tile.proposal_id]] for tile in tiles]),
        captions_c=tuple(texts[proposal_id] for proposal_id, _ in owners),
        group_c=np.array([groups.index(group) for _, group in owners]),
    )


def main_captions(tiles: Sequence[Sample]) -> dict[str, str]:
    """Each proposal's caption: the main one of its first tile."""
    return {tile.proposal_id: tile.captions[0] for tile in reversed(tiles)}


def caption_owners(tiles: Sequence[Sample]) -> dict[str, str]:
    """For each proposal the first one of its group that says nearly the same."""
    texts, group_of = main_captions(tiles), {tile.proposal_id: tile.group_id for tile in tiles}
    sets = {proposal_id: shingles(text) for proposal_id, text in texts.items()}
    alike = near_duplicates({name: items for name, items in sets.items() if items}, ALIKE)
    links = [Link(one=a, other=b, reason="text", detail="") for a, b in alike if group_of[a] == group_of[b]]
    return group_proposals(texts, links)


def shuffled_partner(caption_t: Ints, seed: int) -> Ints:
    """For each tile (t,) a caption other than its own, drawn evenly: the pairs that do not belong together."""
    num_captions = int(caption_t.max()) + 1
    step_t = np.random.default_rng(seed).integers(1, num_captions, size=len(caption_t))
    partner_t: Ints = (caption_t + step_t) % num_captions
    return partner_t


def pair_similarities(scores_tc: Floats, caption_t: Ints, seed: int) -> tuple[Floats, Floats]:
    """Cosine similarities (t,) of the tiles with their own caption, and with another one."""
    tiles = np.arange(len(caption_t))
    return scores_tc[tiles, caption_t], scores_tc[tiles, shuffled_partner(caption_t, seed)]


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
