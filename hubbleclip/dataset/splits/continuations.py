"""Proposals that continue earlier ones, recognised by their titles or by the programme numbers that they name.

The rules were tuned on the titles of 10,755 real programmes. Two titles that differ only in a marker (part, cycle,
epoch, year, numeral, "continued") are one series whoever the PI is, because PIs change between cycles. A programme
number links if a word of continuation precedes it in the sentence or if the PI is the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hubbleclip.core.records import Proposal

MIN_STEM_WORDS = 3
"""Fewest words of a stem that identifies a series; `dark monitor` does not."""
_COUNT = r"(?:\d{1,2}|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten)"
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)"
_UNIT = r"(?:cycle|cyc|part|pt|epoch|year|phase|season|visit)"
_CONTINUES = r"(?:continu(?:ation|ed|es|ing|e)|carry-?over|repeat(?:ed|s)?|resubmission|extension)"
_NOT_AFTER_NAME = "".join(
    rf"(?<!\b{word}[ -])" for word in ("type", "class", "seyfert", "population", "[a-z]", "[a-z][a-z]")
)
"""The Roman numeral of `Type II`, `H II` and `Mg II` is part of a name and does not number a series."""
SERIES_MARKERS = tuple(
    re.compile(pattern)
    for pattern in (
        # "continuation of GO 12345", "follow-up"
        rf"\b(?:{_CONTINUES}|follow[ -]?up|supplement(?:al|ary)?)\b"
        r"(?: (?:of|from|for|to|into))?(?:[ #]+(?:the|our|programs?|proposals?|go|gto|snap|hopr|and|[#/-]|\d{3,5}))*",
        # "part 2", "cycle 11 & 12", "epoch three: high"
        rf"\b{_UNIT}s?[ .:#-]*{_COUNT}(?: ?(?:of|/|&|and|-|,) ?\d{{1,2}})*\b"
        r"(?: ?[:-]? ?(?:high|medium|med|low|observations?|dd|gto|go))*\b",
        # "third epoch"
        rf"\b{_ORDINAL}[ -]{_UNIT}s?\b(?: observations?\b)?",
        # a final Roman numeral, unless it belongs to a name
        rf"(?<=\W){_NOT_AFTER_NAME}(?:i{{1,3}}|iv|vi{{0,3}}|ix|xi{{0,3}})[ .]*$",
        # a final year, or range of years
        r"\b(?:19|20)\d\d(?: ?[-/] ?\d{2,4})?[ .)]*$",
        # a final cycle such as "c17"
        r"\bc\d{1,2}[ .]*$",
        # a leading article
        r"^(?:an?|the)\b",
    )
)
WORD = re.compile(r"[^\W_]+")
_LABEL = r"(?:(?:GO|GTO|SNAP|DDT?|ERS|CAL|AR|PID|ID|HST|[Pp]rogram(?:me)?s?|[Pp]roposals?)\b[ .:#/-]*)"
# One or more programme numbers behind a label: "GO 9146", "programs 5132, 5420 and GO-6003".
PROGRAMME_NUMBERS = re.compile(rf"{_LABEL}+#?(\d{{4,5}}(?:(?:,| and| &|,? and) (?:{_LABEL}+)?#?\d{{4,5}})*)\b")
# A number without a label, directly after "continuation of": not a year.
CONTINUED_NUMBER = re.compile(
    rf"(?:{_CONTINUES}|part \d+) (?:of|from) #?(?!(?:19|20)\d\d\b)(\d{{4,5}})\b", re.IGNORECASE
)
CONTINUATION = re.compile(rf"\b{_CONTINUES}\b", re.IGNORECASE)
DIGITS = re.compile(r"\d{4}")
# Coarser than captions.split_sentences: a false break only separates a number from its word of continuation.
SENTENCE_END = re.compile(r"[.;?!](?:\s|$)|\n\s*\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Reason for which two proposals stay together.

    Attributes
    ----------
    one, other
        Proposal ids.
    reason
        `text`, `title`, `number` or `field`.
    detail
        The evidence, for the report.

    """

    one: str
    other: str
    reason: str
    detail: str


def title_stem(title: str) -> str:
    """Title without the markers of a part, a cycle or a continuation.

    Parameters
    ----------
    title
        Title of a proposal.

    Returns
    -------
    str
        Words in lower case, joined by blanks.

    """
    text = " ".join(title.lower().split())
    for marker in SERIES_MARKERS:
        text = marker.sub(" ", text).strip(" -:.,;(")  # stripped each time: some markers match only at the end
    return " ".join(WORD.findall(text))


def same_pi(one: Proposal, other: Proposal) -> bool:
    """Whether two proposals have the same principal investigator.

    Parameters
    ----------
    one, other
        `pi` is used: given names first, then the surname.

    Returns
    -------
    bool
        Whether surname and first initial agree; False where a PI is unknown.

    """
    names = [re.findall(r"[^\W\d_]+", (proposal.pi or "").lower()) for proposal in (one, other)]
    names = [[name for name in parts if name not in {"jr", "sr", "ii", "iii"}] for parts in names]
    keys = [(parts[-1], parts[0][0]) if parts else None for parts in names]  # (surname, initial)
    return keys[0] is not None and keys[0] == keys[1]


def referenced_programmes(text: str) -> tuple[set[str], set[str]]:
    """Programme numbers in a text.

    Parameters
    ----------
    text
        Title and abstract.

    Returns
    -------
    tuple[set[str], set[str]]
        Numbers of continued programmes, and numbers that are only mentioned.

    """
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
    """Find links between proposals of one series.

    Parameters
    ----------
    proposals
        By proposal id, `archive:number`.

    Yields
    ------
    Link
        With reason `title` or `number`. Two proposals that continue a third are linked even if the third is absent.

    """
    series: dict[tuple[str, str], str] = {}  # first proposal of each (archive, stem)
    successors: dict[str, list[str]] = defaultdict(list)  # proposals that continue a number
    for key, proposal in sorted(proposals.items()):
        stem = title_stem(proposal.title)
        if len(stem.split()) >= MIN_STEM_WORDS:
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
        # Without the parent, its followers are linked to the first of them.
        first, *rest = [parent, *followers] if parent in proposals else followers
        for key in rest:
            yield Link(one=first, other=key, reason="number", detail=f"goes on with {parent}")  # words: ok
