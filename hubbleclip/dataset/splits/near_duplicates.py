"""Proposals that must stay together: those with nearly the same text, and those that continue one another."""

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
"""Tolerance for products such as 0.56 * 25, which is slightly more than 14 in floating point."""

Shingles = frozenset[str]


def shingles(text: str) -> Shingles:
    """Shingles of a text: its runs of `SHINGLE_WORDS` words, in lower case without punctuation.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    Shingles
        A shorter text is a single shingle; an empty one has none.

    """
    words = WORD.findall(text.lower())
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1)))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Jaccard similarity of two sets.

    Parameters
    ----------
    a, b
        Sets of shingles.

    Returns
    -------
    float
        Size of the intersection divided by that of the union, in [0, 1].

    """
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def near_duplicates(sets: Mapping[str, Shingles], min_similarity: float) -> Iterator[tuple[str, str]]:
    """Find every pair of sets with at least a given Jaccard similarity, exactly.

    Parameters
    ----------
    sets
        Sets by key.
    min_similarity
        Threshold in (0, 1].

    Yields
    ------
    tuple[str, str]
        Keys of a pair; each pair once.

    Notes
    -----
    Prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): with the rarest elements
    first, two sets that similar share one of their first `n - ceil(min_similarity * n) + 1` elements. Stock phrases are
    hardly ever visited, and the cost grows about linearly with the number of texts.

    """
    document_frequency = Counter(item for items in sets.values() for item in items)
    index: dict[str, list[str]] = defaultdict(list)  # keys of the sets seen so far, by each element of their prefixes
    # In order of size: every candidate is at most as large as the current set, which gives the bound `min_shared`.
    for key in sorted(sets, key=lambda k: (len(sets[k]), k)):
        current = sets[key]
        # Elements of one set alone precede all others in order of rarity and match nothing: they only reduce the
        # prefix of the rest.
        common = [item for item in current if document_frequency[item] > 1]
        min_shared = math.ceil(min_similarity * len(current) - ROUNDING)
        prefix_length = len(common) - min_shared + 1
        if prefix_length <= 0:
            continue
        prefix = sorted(common, key=lambda item: (document_frequency[item], item))[:prefix_length]
        candidates = {other for item in prefix for other in index[item] if len(sets[other]) >= min_shared}
        for other in sorted(candidates):
            if jaccard(current, sets[other]) >= min_similarity:
                yield other, key
        for item in prefix:
            index[item].append(key)


def text_links(proposals: Mapping[str, Proposal], settings: SplitSettings) -> list[Link]:
    """Find the links that the texts of proposals give: near-duplicates, and continuations by title or number.

    Parameters
    ----------
    proposals
        By proposal id; one without an abstract is compared by its title, which is then its caption.
    settings
        `near_duplicate` is the threshold; `continuations` switches those links on.

    Returns
    -------
    list[Link]
        Near-duplicates first.

    """
    sets = {key: shingles(proposal.abstract or proposal.title) for key, proposal in proposals.items()}
    similar = [
        Link(one=one, other=other, reason="text", detail=f"similarity {jaccard(sets[one], sets[other]):.2f}")
        for one, other in near_duplicates({key: items for key, items in sets.items() if items}, settings.near_duplicate)
    ]
    return [*similar, *(continuation_links(proposals) if settings.continuations else ())]


def group_proposals(proposal_ids: Iterable[str], links: Sequence[Link]) -> dict[str, str]:
    """Find the connected components of linked proposals.

    Parameters
    ----------
    proposal_ids
        Ids to group; those of the links are added.
    links
        Edges of the graph.

    Returns
    -------
    dict[str, str]
        Smallest id of each proposal's component.

    """
    ends = (proposal_id for link in links for proposal_id in (link.one, link.other))
    components = DisjointSet((*proposal_ids, *ends))
    for link in links:
        components.merge(link.one, link.other)
    smallest = {proposal_id: min(component) for component in components.subsets() for proposal_id in component}
    return {proposal_id: smallest[proposal_id] for proposal_id in components}  # in the order of the input


def group_id(smallest_proposal_id: str) -> str:
    """Id of a proposal group.

    Parameters
    ----------
    smallest_proposal_id
        Smallest id of the group.

    Returns
    -------
    str
        16 hexadecimal digits.

    """
    return hashlib.sha256(f"group:{smallest_proposal_id}".encode()).hexdigest()[:16]
