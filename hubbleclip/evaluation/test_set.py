"""The test set of an evaluation: the tiles of a split in a fixed order, their distinct captions and proposal groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.config.model import BOOTSTRAP_SEED, NUM_EXAMPLE_TILES
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.dataset.captions import clean
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_proposals, near_duplicates, shingles
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

SAME_CAPTION_SIMILARITY = 0.7
"""Texts count as the same caption if the Jaccard similarity of their five-word shingles is at least this value.

The value is the same as the default of the setting `splits.near_duplicate`.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSet:
    """Tiles in order of tile id, with their distinct captions and their proposal groups.

    `caption_t` has, for each tile, the index of the tile's own caption in `captions_c`. `group_c` has the proposal
    group of each caption. A proposal group is never divided between splits, and the bootstrap resamples whole proposal
    groups.
    """

    __test__ = False  # pytest would otherwise collect the class, because its name begins with `Test`
    samples: tuple[Sample, ...]
    caption_t: Ints
    captions_c: tuple[str, ...]
    group_c: Ints

    @property
    def group_t(self) -> Ints:
        """Proposal group (t,) of each tile."""
        return self.group_c[self.caption_t]

    @property
    def num_groups(self) -> int:
        """Number of proposal groups, which the bootstrap resamples."""
        return int(self.group_c.max()) + 1


def make_test_set(samples: Sequence[Sample], split: str | None = "test") -> TestSet:
    """Make a test set from the rows of one split, or from all rows if `split` is None.

    The caption of a proposal is the main caption of the proposal's first tile. If proposals of one group have nearly
    the same caption, all of them get the caption of the proposal with the smallest id. Otherwise these nearly equal
    captions would count as wrong answers for each other's tiles. Proposals of one group with different captions keep
    their own captions, because their aims may differ. Groups with exactly the same caption are merged, because no
    scorer could know to which of these groups a tile belongs.
    """
    tiles = sorted((sample for sample in samples if split in {None, sample.split}), key=lambda sample: sample.tile_id)
    texts = main_captions(tiles)
    group_of = groups_by_caption(tiles, texts)
    groups = sorted(set(group_of.values()))
    if len(groups) < 2:
        problem = f"the {split or 'test'} split has {len(groups)} proposal groups and needs 2"
        raise EvaluationError(f"{problem}: raise splits.{split or 'test'}_share")
    representative_of = caption_representatives(texts, group_of)
    # Captions are sorted by group, then by proposal, so that the captions of a group are adjacent.
    captions = sorted({(group_of[proposal_id], proposal_id) for proposal_id in representative_of.values()})
    index_of = {proposal_id: index for index, (_, proposal_id) in enumerate(captions)}
    return TestSet(
        samples=tuple(tiles),
        caption_t=np.array([index_of[representative_of[tile.proposal_id]] for tile in tiles]),
        captions_c=tuple(texts[proposal_id] for _, proposal_id in captions),
        group_c=np.array([groups.index(group) for group, _ in captions]),
    )


def main_captions(tiles: Sequence[Sample]) -> dict[str, str]:
    """Find the caption of each proposal, which is the main caption of the proposal's first tile."""
    # In reverse order, a proposal's first tile comes last, so the caption of the first tile is kept.
    return {tile.proposal_id: tile.main_caption for tile in reversed(tiles)}


def groups_by_caption(tiles: Sequence[Sample], texts: Mapping[str, str]) -> dict[str, str]:
    """Find the group of each proposal, and merge groups that have exactly the same caption."""
    group_of = {tile.proposal_id: tile.group_id for tile in tiles}
    first_of: dict[str, str] = {}  # the first group of each caption
    links = [
        Link(one=group, other=first_of.setdefault(clean(texts[proposal_id]), group), reason="text", detail="")
        for proposal_id, group in group_of.items()
    ]
    united = group_proposals(group_of.values(), links)
    return {proposal_id: united[group] for proposal_id, group in group_of.items()}


def caption_representatives(texts: Mapping[str, str], group_of: Mapping[str, str]) -> dict[str, str]:
    """Map each proposal to the smallest id among the proposals of its group that have nearly the same caption."""
    sets = {proposal_id: shingles(text) for proposal_id, text in texts.items()}
    # A text without words has no shingles (runs of words) to compare, so it is similar to no other text.
    pairs = near_duplicates({name: items for name, items in sets.items() if items}, SAME_CAPTION_SIMILARITY)
    links = [Link(one=a, other=b, reason="text", detail="") for a, b in pairs if group_of[a] == group_of[b]]
    return group_proposals(texts, links)


def pair_similarities(scores_tc: Floats, caption_t: Ints, seed: int = BOOTSTRAP_SEED) -> tuple[Floats, Floats]:
    """Select each tile's similarity with its own caption (true pair) and with a random wrong caption
    (shuffled pair).
    """
    tiles, num_captions = np.arange(len(caption_t)), int(caption_t.max()) + 1
    step_t = np.random.default_rng(seed).integers(1, num_captions, size=len(caption_t))
    other_t = (caption_t + step_t) % num_captions  # 0 < step < num_captions: never the tile's own caption
    return scores_tc[tiles, caption_t], scores_tc[tiles, other_t]


def example_tiles(test_set: TestSet, count: int = NUM_EXAMPLE_TILES) -> list[int]:
    """Choose example tiles to show: at most one per proposal group, from as many target classes as possible."""
    first_tile = {int(group): tile for tile, group in reversed(list(enumerate(test_set.group_t)))}
    # Tiles are chosen in rounds, at most one per class. A tile's round is the number of earlier tiles of its class.
    seen: dict[str | None, int] = {}
    rounds = []
    for tile in sorted(first_tile.values()):
        target_class = test_set.samples[tile].target_class
        rounds.append((seen.setdefault(target_class, 0), tile))
        seen[target_class] += 1
    return [tile for _, tile in sorted(rounds)][:count]
