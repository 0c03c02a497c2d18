"""Proposals that must stay together: those whose texts are nearly the same, and those that go on with one another."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from scipy.cluster.hierarchy import DisjointSet

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.splits.continuations import WORD, Link, continuation_links

SHINGLE_WORDS = 5
ROUNDING = 1e-9
"""Keeps 0.56 * 25 from being a little more than 14."""

Shingles = frozenset[str]


def shingles(text: str) -> Shingles:
    """Runs of 5 words, lower case, without punctuation; a shorter text is one run of its own."""
    words = WORD.findall(text.lower())
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1)))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared part of the union of two sets, in [0, 1]."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def near_duplicates(sets: Mapping[str, Shingles], least: float) -> Iterator[tuple[str, str]]:
    """Every pair of keys whose sets have a Jaccard similarity of at least `least`, exactly, once.

    Prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): with the rarest
    elements first, two sets that similar must share one of their first `n - ceil(least * n) + 1` elements, so that
    stock phrases are hardly ever looked at and the cost grows about as the number of texts. Elements of one set alone
    come first and find nothing: only the rest is sorted and kept.
    """
    commonness = Counter(item for items in sets.values() for item in items)
    seen: dict[str, list[str]] = defaultdict(list)
    for key in sorted(sets, key=lambda k: (len(sets[k]), k)):
        mine = sets[key]
        common = [item for item in mine if commonness[item] > 1]
        least_shared = math.ceil(least * len(mine) - ROUNDING)
        prefix_length = len(common) - least_shared + 1
        if prefix_length <= 0:
            continue
        prefix = sorted(common, key=lambda item: (commonness[item], item))[:prefix_length]
        candidates = {other for item in prefix for other in seen[item] if len(sets[other]) >= least_shared}
        for other in sorted(candidates):
            if jaccard(mine, sets[other]) >= least:
                yield other, key
        for item in prefix:
            seen[item].append(key)


def text_links(proposals: Mapping[str, Proposal], settings: SplitSettings) -> list[Link]:
    """Why proposals stay together by what they say: near-duplicate texts, continuations by title or by number.

    A proposal without an abstract is compared by its title, which is then its caption.
    """
    sets = {key: shingles(proposal.abstract or proposal.title) for key, proposal in proposals.items()}
    alike = [
        Link(one=one, other=other, reason="text", detail=f"similarity {jaccard(sets[one], sets[other]):.2f}")
        for one, other in near_duplicates({key: items for key, items in sets.items() if items}, settings.near_duplicate)
    ]
    return [*alike, *(continuation_links(proposals) if settings.continuations else ())]


def group_proposals(proposal_ids: Iterable[str], links: Sequence[Link]) -> dict[str, str]:
    """For every proposal id, linked ones included, the smallest among those tied to it, directly or through others."""
    ends = (proposal_id for link in links for proposal_id in (link.one, link.other))
    tied = DisjointSet((*proposal_ids, *ends))
    for link in links:
        tied.merge(link.one, link.other)
    smallest = {proposal_id: min(group) for group in tied.subsets() for proposal_id in group}
    return {proposal_id: smallest[proposal_id] for proposal_id in tied}


def group_id(smallest_proposal_id: str) -> str:
    """Identity of a proposal group: 16 hex digits."""
    return hashlib.sha256(f"group:{smallest_proposal_id}".encode()).hexdigest()[:16]
