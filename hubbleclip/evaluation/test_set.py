"""A split as evaluation uses it: tiles in a fixed order, the distinct captions, and the proposal groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_proposals, near_duplicates, shingles
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

SAME_CAPTION_SIMILARITY = 0.7
"""Least Jaccard similarity (of runs of five words) of texts that count as one caption, as `splits.near_duplicate`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestSet:
    """Tiles in order of id, with the distinct captions and the proposal groups.

    `caption_t` is each tile's own caption as an index into `captions_c`; `group_c` is the group of each caption's
    proposals, the unit of splits and of the bootstrap.
    """

    __test__ = False  # pytest must not collect the class by its name
    samples: tuple[Sample, ...]
    caption_t: Ints
    captions_c: tuple[str, ...]
    group_c: Ints

    @property
    def group_t(self) -> Ints:
        """Group (t,) of each tile."""
        return self.group_c[self.caption_t]

    @property
    def num_groups(self) -> int:
        """Number of groups to resample."""
        return int(self.group_c.max()) + 1


def make_test_set(samples: Sequence[Sample], split: str = "test") -> TestSet:
    """Make a test set of the rows of a split.

    A proposal's caption is the main one of its first tile. Proposals of a group with nearly the same caption share that
    of the first, so that none is a wrong answer for the other. Others of the group keep their own: proposals for the
    same patch of sky may have different aims.

    Parameters
    ----------
    samples : sequence of Sample
        Rows of a dataset, of any split.
    split : str
        Split to use.

    Returns
    -------
    TestSet
        The split's tiles, captions and groups.

    Raises
    ------
    EvaluationError
        If the split has fewer than two proposal groups.

    """
    tiles = sorted((sample for sample in samples if sample.split == split), key=lambda sample: sample.tile_id)
    groups = sorted({tile.group_id for tile in tiles})
    if len(groups) < 2:
        problem = f"the {split} split has {len(groups)} proposal groups and needs 2"
        raise EvaluationError(f"{problem}: raise splits.{split}_share")
    representative_of = caption_representatives(tiles)
    # Sorted by group, then by proposal: captions of a group are neighbours.
    captions = sorted(
        {(representative_of[tile.proposal_id], tile.group_id) for tile in tiles}, key=lambda pair: pair[::-1]
    )
    index_of = {proposal_id: index for index, (proposal_id, _) in enumerate(captions)}
    texts = main_captions(tiles)
    return TestSet(
        samples=tuple(tiles),
        caption_t=np.array([index_of[representative_of[tile.proposal_id]] for tile in tiles]),
        captions_c=tuple(texts[proposal_id] for proposal_id, _ in captions),
        group_c=np.array([groups.index(group) for _, group in captions]),
    )


def main_captions(tiles: Sequence[Sample]) -> dict[str, str]:
    """Find each proposal's caption, the main one of its first tile.

    Parameters
    ----------
    tiles : sequence of Sample
        Rows in order of tile id.

    Returns
    -------
    dict of str to str
        Captions by proposal id.

    """
    return {tile.proposal_id: tile.captions[0] for tile in reversed(tiles)}  # the first tile is written last


def caption_representatives(tiles: Sequence[Sample]) -> dict[str, str]:
    """Find, for each proposal, the first proposal of its group with nearly the same caption.

    Parameters
    ----------
    tiles : sequence of Sample
        Rows in order of tile id.

    Returns
    -------
    dict of str to str
        Proposal ids by proposal id; most proposals represent themselves.

    """
    texts, group_of = main_captions(tiles), {tile.proposal_id: tile.group_id for tile in tiles}
    sets = {proposal_id: shingles(text) for proposal_id, text in texts.items()}
    # A text without words has no shingles: it is not similar to any other.
    pairs = near_duplicates({name: items for name, items in sets.items() if items}, SAME_CAPTION_SIMILARITY)
    links = [Link(one=a, other=b, reason="text", detail="") for a, b in pairs if group_of[a] == group_of[b]]
    return group_proposals(texts, links)


def shuffled_captions(caption_t: Ints, seed: int) -> Ints:
    """Draw a wrong caption for each tile.

    Parameters
    ----------
    caption_t : ndarray
        Index (t,) of each tile's own caption.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    ndarray
        Index (t,) of another caption, each with the same probability.

    """
    num_captions = int(caption_t.max()) + 1
    step_t = np.random.default_rng(seed).integers(1, num_captions, size=len(caption_t))
    other_t: Ints = (caption_t + step_t) % num_captions  # a step of 1 to c - 1 never ends at the tile's own caption
    return other_t


def pair_similarities(scores_tc: Floats, caption_t: Ints, seed: int) -> tuple[Floats, Floats]:
    """Select the similarities of true and of shuffled pairs.

    Parameters
    ----------
    scores_tc : ndarray
        Cosine similarities (t, c) of tiles and captions.
    caption_t : ndarray
        Index (t,) of each tile's own caption.
    seed : int
        Seed of the shuffled pairs.

    Returns
    -------
    tuple of ndarray
        Similarities (t,) of the tiles with their own caption, and with another one.

    """
    tiles = np.arange(len(caption_t))
    return scores_tc[tiles, caption_t], scores_tc[tiles, shuffled_captions(caption_t, seed)]


def example_tiles(test_set: TestSet, count: int) -> list[int]:
    """Choose tiles to show: one per group, of different target classes as long as there are any.

    Parameters
    ----------
    test_set : TestSet
        Tiles to choose from.
    count : int
        Greatest number of tiles.

    Returns
    -------
    list of int
        Indices of at most `count` tiles, always the same.

    """
    first_tile = {int(group): tile for tile, group in reversed(list(enumerate(test_set.group_t)))}
    # Round robin over the classes: a tile's round is the number of earlier tiles of its class.
    seen: dict[str | None, int] = {}
    rounds = []
    for tile in sorted(first_tile.values()):
        target_class = test_set.samples[tile].target_class
        rounds.append((seen.setdefault(target_class, 0), tile))
        seen[target_class] += 1
    return [tile for _, tile in sorted(rounds)][:count]
