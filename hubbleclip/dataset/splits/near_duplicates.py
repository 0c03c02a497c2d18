"""Group proposals that have near-duplicate texts or continue each other, so that they are in the same split."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from scipy.cluster.hierarchy import DisjointSet

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import WORD, abstract, is_placeholder
from hubbleclip.dataset.splits.continuations import Link, continuation_links

SHINGLE_WORDS = 5
MIN_CONTAINED = 10
"""Minimum number of shingles of a text for which containment in a longer text is measured.

Texts of fewer than 14 words, which have fewer than 10 shingles, consist of phrases that unrelated proposals share, such
as "will be used to subtract the background".
"""
ROUNDING = 1e-9
"""Tolerance for rounding errors of products: 0.56 * 25 is slightly more than 14 in floating point."""

Shingles = frozenset[str]


def shingles(text: str) -> Shingles:
    """Compute the shingles of a text: all sequences of `SHINGLE_WORDS` consecutive words, in lower case.

    A text with fewer words is one shingle; a text without words has none.
    """
    words = WORD.findall(unicodedata.normalize("NFC", text).lower())  # "e" with a combining accent becomes one letter
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1)))


def jaccard(a: Shingles, b: Shingles) -> float:
    """Compute the Jaccard similarity of two sets."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def containment(a: Shingles, b: Shingles) -> float:
    """Compute the share of the smaller set that is in the larger set; 0 if a set is smaller than `MIN_CONTAINED`."""
    smaller = min(len(a), len(b))
    return len(a & b) / smaller if smaller >= MIN_CONTAINED else 0.0


def similarity(a: Shingles, b: Shingles) -> float:
    """Compute the similarity of two texts: the larger of Jaccard similarity and containment.

    With a threshold of 0.7, the Jaccard similarity alone misses an abstract that was extended by 60 % (similarity
    0.62), and an abstract in which 6 of 150 words were replaced (similarity 0.66).
    """
    return max(jaccard(a, b), containment(a, b))


def near_duplicates(
    sets: Mapping[str, Shingles], min_similarity: float, measure: Callable[[Shingles, Shingles], float] = jaccard
) -> Iterator[tuple[str, str]]:
    """Find all pairs of sets that have at least a given similarity; the search is exact.

    The search uses prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"). The
    elements of each set are sorted from rare to frequent. Let the smaller of two sets have n elements. If the sets are
    similar enough, they share at least `k = ceil(min_similarity * n)` elements. The larger set therefore contains at
    least one of the first `n - k + 1` elements of the smaller set. Only this prefix is looked up in the index of the
    larger sets. Frequent phrases are rarely in a prefix, so the time grows about linearly with the number of texts.
    """
    document_frequency = Counter(item for items in sets.values() for item in items)
    index: dict[str, list[str]] = defaultdict(list)  # element -> keys of the larger sets that contain it
    # The sets are visited in descending order of size, so that the current set is the smaller one of each pair.
    for key in sorted(sets, key=lambda k: (len(sets[k]), k), reverse=True):
        current = sets[key]
        # Elements that occur in only one set are removed, because two sets cannot share them. Without them, the prefix
        # has fewer elements.
        common = [item for item in current if document_frequency[item] > 1]
        min_shared = math.ceil(min_similarity * len(current) - ROUNDING)
        prefix_length = max(0, len(common) - min_shared + 1)
        prefix = sorted(common, key=lambda item: (document_frequency[item], item))[:prefix_length]
        for other in sorted({other for item in prefix for other in index[item]}):
            if measure(current, sets[other]) >= min_similarity:
                yield key, other
        for item in common:
            index[item].append(key)


def text_links(proposals: Mapping[str, Proposal], settings: SplitSettings) -> list[Link]:
    """Link proposals whose texts are near-duplicates, and proposals that continue each other."""
    return [*near_duplicate_links(proposals, settings.near_duplicate), *continuation_links(proposals)]


def near_duplicate_links(proposals: Mapping[str, Proposal], min_similarity: float) -> list[Link]:
    """Link proposals with near-duplicate texts: the abstract of each proposal, or its title if it has no abstract."""
    texts = {key: abstract(proposal) or proposal.title for key, proposal in proposals.items()}
    sets = {key: shingles(text) for key, text in texts.items() if not is_placeholder(text)}
    return [
        Link(one=one, other=other, reason="text", detail=_evidence(sets[one], sets[other], min_similarity))
        for one, other in near_duplicates(sets, min_similarity, similarity)
    ]


def _evidence(one: Shingles, other: Shingles, min_similarity: float) -> str:
    """Return the name and the value of the measure that reaches `min_similarity`: Jaccard similarity or containment."""
    both = jaccard(one, other)
    return f"similarity {both:.2f}" if both >= min_similarity else f"containment {containment(one, other):.2f}"


def group_proposals(proposal_ids: Iterable[str], links: Sequence[Link]) -> dict[str, str]:
    """Find the connected components of linked proposals; return the smallest id in the component of each proposal."""
    ends = (proposal_id for link in links for proposal_id in (link.one, link.other))
    components = DisjointSet((*proposal_ids, *ends))
    for link in links:
        components.merge(link.one, link.other)
    smallest = {proposal_id: min(component) for component in components.subsets() for proposal_id in component}
    return {proposal_id: smallest[proposal_id] for proposal_id in components}  # keeps the order of `proposal_ids`


def group_id(smallest_proposal_id: str) -> str:
    """Compute the id of a proposal group."""
    return hashlib.sha256(f"group:{smallest_proposal_id}".encode()).hexdigest()[:16]
