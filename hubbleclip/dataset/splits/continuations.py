"""Proposals that go on with earlier ones: told by their titles, or by the programme numbers that they name.

The rules, weighed on the titles of 10,755 real programmes: two titles that differ only in a mark (part, cycle, epoch,
year, numeral, "continued") are one series whoever leads it, since PIs change between cycles; a number counts with a
word of continuation before it in the sentence, or, named for any other reason, where the PI is the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hubbleclip.core.records import Proposal

MIN_STEM_WORDS = 3
"""A shorter stem, such as `dark monitor`, says too little."""
_COUNT = r"(?:\d{1,2}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)"
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
_UNIT = r"(?:cycle|cyc|part|pt|epoch|year|phase|season|visit)"
_CONTINUES = r"(?:continu(?:ation|ed|es|ing|e)|carry-?over|repeat(?:ed|s)?|resubmission|extension)"
_NOT_AFTER_NAME = "".join(
    rf"(?<!\b{word}[ -])" for word in ("type", "class", "seyfert", "population", "[a-z]", "[a-z][a-z]")
)
"""`Type II`, `H II` and `Mg II` end in a numeral that counts nothing."""
SERIES_MARKERS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:{_CONTINUES}|follow[ -]?up|supplement(?:al|ary)?)\b"
        r"(?: (?:of|from|for|to|into))?(?:[ #]+(?:the|our|programs?|proposals?|go|gto|snap|hopr|and|[#/-]|\d{3,5}))*",
        rf"\b{_UNIT}s?[ .:#-]*{_COUNT}(?: ?(?:of|/|&|and|-|,) ?\d{{1,2}})*\b"
        r"(?: ?[:-]? ?(?:high|medium|med|low|observations?|dd|gto|go))*\b",
        rf"\b{_ORDINAL}[ -]{_UNIT}s?\b(?: observations?\b)?",
        rf"(?<=\W){_NOT_AFTER_NAME}(?:i{{1,3}}|iv|vi{{0,3}}|ix|xi{{0,3}})[ .]*$",
        r"\b(?:19|20)\d\d(?: ?[-/] ?\d{2,4})?[ .)]*$",
        r"\bc\d{1,2}[ .]*$",
        r"^(?:an?|the)\b",
    )
)
WORD = re.compile(r"[^\W_]+")
_LABEL = r"(?:(?:GO|GTO|SNAP|DDT?|ERS|CAL|AR|PID|ID|HST|[Pp]rogram(?:me)?s?|[Pp]roposals?)\b[ .:#/-]*)"
PROGRAMME_NUMBERS = re.compile(rf"{_LABEL}+#?(\d{{4,5}}(?:(?:,| and| &|,? and) (?:{_LABEL}+)?#?\d{{4,5}})*)\b")
CONTINUED_NUMBER = re.compile(
    rf"(?:{_CONTINUES}|part \d+) (?:of|from) #?(?!(?:19|20)\d\d\b)(\d{{4,5}})\b", re.IGNORECASE
)
CONTINUATION = re.compile(rf"\b{_CONTINUES}\b", re.IGNORECASE)
DIGITS = re.compile(r"\d{4}")
SENTENCE_END = re.compile(r"[.;?!](?:\s|$)|\n\s*\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Why two proposals stay together: `reason` by its name, and in `detail` what was seen."""

    one: str
    other: str
    reason: str
    detail: str


def title_stem(title: str) -> str:
    """Words of a title without the marks of a part, a cycle or a continuation; lower case."""
    text = " ".join(title.lower().split())
    for mark in SERIES_MARKERS:
        text = mark.sub(" ", text).strip(" -:.,;(")
    return " ".join(WORD.findall(text))


def same_pi(one: Proposal, other: Proposal) -> bool:
    """Whether surname and first initial agree; unknown PIs never do."""
    names = [re.findall(r"[^\W\d_]+", (proposal.pi or "").lower()) for proposal in (one, other)]
    names = [[name for name in parts if name not in {"jr", "sr", "ii", "iii"}] for parts in names]
    keys = [(parts[-1], parts[0][0]) if parts else None for parts in names]
    return keys[0] is not None and keys[0] == keys[1]


def referenced_programmes(text: str) -> tuple[set[str], set[str]]:
    """Programme numbers that a text says it goes on with, and those that it only names."""
    continued: set[str] = set()
    named: set[str] = set()
    for sentence in filter(DIGITS.search, SENTENCE_END.split(text)):
        continued.update(CONTINUED_NUMBER.findall(sentence))
        said = CONTINUATION.search(sentence)
        for found in PROGRAMME_NUMBERS.finditer(sentence):
            goes_on = said is not None and said.start() < found.start()
            (continued if goes_on else named).update(re.findall(r"\d{4,5}", found[1]))
    return continued, named - continued


def continuation_links(proposals: Mapping[str, Proposal]) -> Iterator[Link]:
    """Links between proposals of one series. Two that go on with a third that is not here are linked as well."""
    series: dict[tuple[str, str], str] = {}
    heirs: dict[str, list[str]] = defaultdict(list)
    for key, proposal in sorted(proposals.items()):
        stem = title_stem(proposal.title)
        if len(stem.split()) >= MIN_STEM_WORDS:
            first = series.setdefault((proposal.archive, stem), key)
            if first != key:
                yield Link(one=first, other=key, reason="title", detail=stem)
        continued, named = referenced_programmes(f"{proposal.title}\n\n{proposal.abstract or ''}")
        for number in sorted(continued - {proposal.number}):
            heirs[f"{proposal.archive}:{number}"].append(key)
        for number in sorted(named - {proposal.number}):
            other = f"{proposal.archive}:{number}"
            if other in proposals and same_pi(proposal, proposals[other]):
                yield Link(one=other, other=key, reason="number", detail=f"names {number}, same PI")
    for parent, mine in sorted(heirs.items()):
        first, *rest = [parent, *mine] if parent in proposals else mine
        for key in rest:
            yield Link(one=first, other=key, reason="number", detail=f"goes on with {parent}")
