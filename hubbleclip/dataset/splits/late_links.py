"""Find assigned proposals in different splits that turn out to be linked, for instance because an abstract came later.

Two proposals without abstracts are assigned by their titles. If their abstracts arrive later and are near-duplicates,
the proposals are in different splits already. Test tiles never change, so the proposals in train are excluded (or those
in val, if the others are in test).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_proposals

LATE_LINK = "late_link"
"""Exclusion reason of a tile whose proposal is linked by text, since its assignment, to one in another split."""
RANKS = {"test": 0, "val": 1, "train": 2}
"""Ranks of the splits: in a set of linked proposals, those of the split with the lowest rank are kept."""


def late_linked(split_of: Mapping[str, str], links: Sequence[Link]) -> set[str]:
    """Find the assigned proposals that must be excluded, because they are linked to one in another split."""
    rank_of = {proposal_id: RANKS[split] for proposal_id, split in split_of.items() if split in RANKS}
    between = [link for link in links if link.one in rank_of and link.other in rank_of]
    root_of = group_proposals(rank_of, between)
    best: dict[str, int] = {}
    for proposal_id, root in root_of.items():
        best[root] = min(rank_of[proposal_id], best.get(root, rank_of[proposal_id]))
    return {proposal_id for proposal_id, root in root_of.items() if rank_of[proposal_id] > best[root]}
