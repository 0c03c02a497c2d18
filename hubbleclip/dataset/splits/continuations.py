"""Find proposals that continue earlier proposals, by their titles or by the programme numbers in their texts.

The rules were tuned on the titles of 10,755 real programmes. Proposals whose titles differ only in a marker (such as
part, cycle, epoch, year, numeral or "continued") belong to one series. Their PIs may differ, because PIs change between
cycles. A proposal whose text contains the number of another programme is linked to that programme if a word such as
"continuation" precedes the number in the same sentence, or if both have the same PI.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import WORD, is_placeholder

MIN_STEM_WORDS = 3
"""Minimum number of words that must remain in a title, after its markers are removed, to identify a series.

Shorter titles such as `dark monitor` are used by unrelated proposals.
"""
_COUNT = r"(?:\d{1,2}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)"
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
_UNIT = r"(?:cycle|cyc|part|pt|epoch|year|phase|season|visit)"
_CONTINUES = r"(?:continu(?:ation|ed|es|ing|e)|carry-?over|repeat(?:ed|s)?|resubmission|extension)"
_NOT_AFTER_NAME = "".join(
    rf"(?<!\b{word}[ -])" for word in ("type", "class", "seyfert", "population", "[a-z]", "[a-z][a-z]")
)
"""Lookbehind pattern that excludes the Roman numerals in names such as `Type II`, `H II` and `Mg II`.

Such a numeral is part of the name and is not the number of a part of a series.
"""
SERIES_MARKERS = tuple(
    re.compile(pattern)
    for pattern in (
        # matches "continuation of GO 12345" and "follow-up"
        rf"\b(?:{_CONTINUES}|follow[ -]?up|supplement(?:al|ary)?)\b"
        r"(?: (?:of|from|for|to|into))?(?:[ #]+(?:the|our|programs?|proposals?|go|gto|snap|hopr|and|[#/-]|\d{3,5}))*",
        # matches "part 2", "cycle 11 & 12" and "epoch three: high"
        rf"\b{_UNIT}s?[ .:#-]*{_COUNT}(?: ?(?:of|/|&|and|-|,) ?\d{{1,2}})*\b"
        r"(?: ?[:-]? ?(?:high|medium|med|low|observations?|dd|gto|go))*\b",
        # matches "third epoch"
        rf"\b{_ORDINAL}[ -]{_UNIT}s?\b(?: observations?\b)?",
        # matches a Roman numeral at the end, unless it is part of a name
        rf"(?<=\W){_NOT_AFTER_NAME}(?:i{{1,3}}|iv|vi{{0,3}}|ix|xi{{0,3}})[ .]*$",
        # matches a year or a range of years at the end
        r"\b(?:19|20)\d\d(?: ?[-/] ?\d{2,4})?[ .)]*$",
        # matches a cycle such as "c17" at the end
        r"\bc\d{1,2}[ .]*$",
        # matches an article at the start
        r"^(?:an?|the)\b",
    )
)
_LABEL = r"(?:(?:GO|GTO|SNAP|DDT?|ERS|CAL|AR|PID|ID|HST|[Pp]rogram(?:me)?s?|[Pp]roposals?)\b[ .:#/-]*)"
# Matches one or more programme numbers after a label: "GO 9146", "programs 5132, 5420 and GO-6003".
PROGRAMME_NUMBERS = re.compile(rf"{_LABEL}+#?(\d{{4,5}}(?:(?:,| and| &|,? and) (?:{_LABEL}+)?#?\d{{4,5}})*)\b")
# Matches a programme number without a label directly after words such as "continuation of"; years are excluded.
CONTINUED_NUMBER = re.compile(
    rf"(?:{_CONTINUES}|part \d+) (?:of|from) #?(?!(?:19|20)\d\d\b)(\d{{4,5}})\b", re.IGNORECASE
)
CONTINUATION = re.compile(rf"\b{_CONTINUES}\b", re.IGNORECASE)
DIGITS = re.compile(r"\d{4}")
# This pattern is simpler than `captions.split_sentences`. A wrong sentence break has little effect: it only separates a
# programme number from a preceding word such as "continuation".
SENTENCE_END = re.compile(r"[.;?!](?:\s|$)|\n\s*\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link between two proposals, which must therefore be in the same split.

    Attributes
    ----------
    one, other
        Ids of the two proposals.
    reason
        Reason for the link: `text`, `title`, `number` or `field`.
    detail
        Evidence for the link, as a text for the report.

    """

    one: str
    other: str
    reason: str
    detail: str


def title_stem(title: str) -> str:
    """Remove the markers of a part, a cycle or a continuation from a title."""
    text = " ".join(title.lower().split())
    for marker in SERIES_MARKERS:
        # Punctuation is stripped after each marker, because some markers match only at the end of the text.
        text = marker.sub(" ", text).strip(" -:.,;(")
    return " ".join(WORD.findall(text))


def same_pi(one: Proposal, other: Proposal) -> bool:
    """Determine whether two proposals have the same PI; in the field `pi`, given names must precede the surname."""
    names = [re.findall(r"[^\W\d_]+", (proposal.pi or "").lower()) for proposal in (one, other)]
    names = [[name for name in parts if name not in {"jr", "sr", "ii", "iii"}] for parts in names]
    keys = [(parts[-1], parts[0][0]) if parts else None for parts in names]  # surname and first initial
    return keys[0] is not None and keys[0] == keys[1]


def referenced_programmes(text: str) -> tuple[set[str], set[str]]:
    """Find the numbers of the programmes that a text continues, and the numbers of programmes that it only mentions."""
    continued: set[str] = set()
    named: set[str] = set()
    for sentence in filter(DIGITS.search, SENTENCE_END.split(text)):
        continued.update(CONTINUED_NUMBER.findall(sentence))
        word = CONTINUATION.search(sentence)
        for numbers in PROGRAMME_NUMBERS.finditer(sentence):
            is_continued = word is not None and word.start() < numbers.start()
            (continued if is_continued else named).update(re.findall(r"\d{4,5}", numbers[1]))
    return continued, named - continued


def continuation_links(proposals: Mapping[str, Proposal]) -> Iterator[Link]:
    """Find links between proposals that belong to the same series."""
    series: dict[tuple[str, str], str] = {}  # id of the first proposal for each pair of archive and title stem
    successors: dict[str, list[str]] = defaultdict(list)  # ids of continuations, by id of the continued proposal
    for key, proposal in sorted(proposals.items()):
        stem = title_stem(proposal.title)
        if len(stem.split()) >= MIN_STEM_WORDS and not is_placeholder(stem):
            first = series.setdefault((proposal.archive, stem), key)
            if first != key:
                yield Link(one=first, other=key, reason="title", detail=stem)
        continued, named = referenced_programmes(f"{proposal.title}\n\n{proposal.abstract or ''}")
        for number in sorted(continued - {proposal.number}):
            successors[f"{proposal.archive}:{number}"].append(key)
        for number in sorted(named - {proposal.number}):
            other = f"{proposal.archive}:{number}"
            if other in proposals and same_pi(proposal, proposals[other]):
                yield Link(one=other, other=key, reason="number", detail=f"names {number}, same PI")
    for parent, followers in sorted(successors.items()):
        # If the continued proposal is missing, its first continuation is linked to all other continuations.
        first, *rest = [parent, *followers] if parent in proposals else followers
        for key in rest:
            # This wording is stored in datasets and must not change, so the line is exempt from the test of wording.
            yield Link(one=first, other=key, reason="number", detail=f"goes on with {parent}")  # words: ok
