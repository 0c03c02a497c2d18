"""Proposals that must stay together: those whose texts are the same, or nearly so."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from hubbleclip.records import Proposal

WORD = re.compile(r"[^\W_]+")
NUM_WORDS = 5
ROUNDING = 1e-9
"""Keeps 0.56 * 25 from being a little more than 14."""

Shingles = frozenset[str]


def shingles(text: str) -> Shingles:
    """Runs of 5 words, lower case, without punctuation; a shorter text is one run of its own."""
    words = WORD.findall(text.lower())
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + NUM_WORDS]) for i in range(max(1, len(words) - NUM_WORDS + 1)))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared part of the union of two sets, in [0, 1]."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def near_duplicates(sets: Mapping[str, Shingles], least: float) -> Iterator[tuple[str, str]]:
    """Every pair of keys whose sets have a Jaccard similarity of at least `least`, exactly, once.

    Prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): with the rarest
    elements first, two sets that similar must share one of their first `n - ceil(least * n) + 1` elements, so that
    stock phrases are hardly ever looked at and the cost grows about as the number of texts.
    """
    commonness = Counter(item for items in sets.values() for item in items)
    seen: dict[str, list[str]] = defaultdict(list)
    for key in sorted(sets, key=lambda k: (len(sets[k]), k)):
        mine = sets[key]
        rarest = sorted(mine, key=lambda item: (commonness[item], item))
        least_shared = math.ceil(least * len(mine) - ROUNDING)
        prefix = rarest[: len(mine) - least_shared + 1]
        candidates = {other for item in prefix for other in seen[item] if len(sets[other]) >= least_shared}
        for other in sorted(candidates):
            if jaccard(mine, sets[other]) >= least:
                yield other, key
        for item in prefix:
            seen[item].append(key)


def group_proposals(proposals: Mapping[str, Proposal], least: float) -> dict[str, str]:
    """For every proposal id, the smallest proposal id among those tied to it, itself included.

    Near-duplicates of near-duplicates are tied as well. A proposal without an abstract is compared by its title, which
    is then its caption.
    """
    parents = {proposal_id: proposal_id for proposal_id in proposals}

    def root(key: str) -> str:
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    sets = {key: shingles(proposal.abstract or proposal.title) for key, proposal in proposals.items()}
    for one, other in near_duplicates({key: items for key, items in sets.items() if items}, least):
        low, high = sorted((root(one), root(other)))
        parents[high] = low
    return {key: root(key) for key in parents}


def group_id(smallest_proposal_id: str) -> str:
    """Identity of a proposal group: 16 hex digits."""
    return hashlib.sha256(f"group:{smallest_proposal_id}".encode()).hexdigest()[:16]
