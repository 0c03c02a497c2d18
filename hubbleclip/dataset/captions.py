"""Captions: texts made from a proposal, by kind, and the sentences of a caption."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Caption, Proposal

CaptionKind = Callable[[Proposal], str | None]

MIN_WORDS = 3
"""A sentence of fewer words does not describe an image."""

ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "al approx appl av avg ca cf ch co dept dr e.g eg eq eqs esp est et etc fig figs i.e ie incl jr mr mrs ms no "
        "nos obs p pp para ph.d prof prop ref refs resp sec sect sr st tab vol vols viz vs w.r.t wrt",
    )
)
"""Abbreviations whose full stop does not end a sentence: lower case, without the last full stop."""

# A stop, optional closing quotes or brackets, white space, then a capital or a digit behind optional opening ones.
SENTENCE_BREAK = re.compile(r"(?<=[.!?])([\"'”’)\]}]*)\s+(?=[\"'“‘(\[{]*[A-Z0-9])")
LAST_WORD = re.compile(r"(\S+?)\.$")
INITIAL = re.compile(r"(?:[A-Z]\.-?)*[A-Z]")  # `J` of "J. Smith", `J.-P` of "J.-P. Luminet"


def clean(text: str) -> str:
    """Replace every run of white space by one blank, and remove it at the ends.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        One line.

    """
    return " ".join(text.split())


def abstract(proposal: Proposal) -> str | None:
    """Abstract of a proposal, the caption of the reference paper (arXiv 2403.08851, section 3).

    Parameters
    ----------
    proposal
        `abstract` is used.

    Returns
    -------
    str or None
        None where the abstract is missing.

    """
    return proposal.abstract


def title(proposal: Proposal) -> str | None:
    """Title of a proposal, which exists also where the abstract is missing.

    Parameters
    ----------
    proposal
        `title` is used.

    Returns
    -------
    str or None
        May be empty.

    """
    return proposal.title


def category_title(proposal: Proposal) -> str | None:
    """Science category and title of a proposal.

    Parameters
    ----------
    proposal
        `category` and `title` are used.

    Returns
    -------
    str or None
        `category: title`, or the title alone where the category is missing.

    """
    return f"{proposal.category}: {proposal.title}" if proposal.category else proposal.title


CAPTION_KINDS: dict[str, CaptionKind] = {
    "abstract": abstract,
    "title": title,
    "category_title": category_title,
}
"""Caption functions by the name used in `shards.caption_kinds`; a new kind is one more entry."""


def make_captions(proposal: Proposal, kinds: Iterable[str]) -> list[Caption]:
    """Make the captions of a proposal.

    Parameters
    ----------
    proposal
        Source of the texts.
    kinds
        Names in `CAPTION_KINDS`, the main one first.

    Returns
    -------
    list[Caption]
        In the order of `kinds`; kinds for which the proposal has no text are skipped.

    Raises
    ------
    SettingsError
        For an unknown kind.

    """
    captions = []
    for kind in kinds:
        if kind not in CAPTION_KINDS:
            raise SettingsError(f"setting shards.caption_kinds: no kind {kind!r}: use {', '.join(CAPTION_KINDS)}")
        text = clean(CAPTION_KINDS[kind](proposal) or "")
        if text:
            captions.append(Caption(proposal_id=proposal.proposal_id, kind=kind, text=text))
    return captions


def split_sentences(text: str) -> list[str]:
    """Split a scientific text into sentences.

    A full stop ends a sentence only before white space and a capital or a digit, and not after an abbreviation
    ("et al.", "i.e.", "Fig.") or an initial ("J. Smith"). A fragment shorter than `MIN_WORDS` is joined to its
    neighbour.

    Parameters
    ----------
    text
        Any text; white space is normalised.

    Returns
    -------
    list[str]
        In order; joined by blanks they equal `clean(text)`.

    """
    text = clean(text)
    sentences: list[str] = []
    start = 0
    for match in SENTENCE_BREAK.finditer(text):
        if _ends_sentence(text[start : match.start()]):
            _append(sentences, text[start : match.end(1)])
            start = match.end()
    _append(sentences, text[start:])
    return sentences


def _ends_sentence(before: str) -> bool:
    """Whether a text that precedes a possible break is a full sentence: no abbreviation or initial ends it."""
    match = LAST_WORD.search(before)
    if match is None:  # ends in ! or ?
        return True
    word = match[1].lstrip("\"'“‘([{")
    return word.lower() not in ABBREVIATIONS and not INITIAL.fullmatch(word)


def _append(sentences: list[str], sentence: str) -> None:
    """Append a sentence, or join it to the last one if either is shorter than `MIN_WORDS`."""
    if not sentence:
        return
    if sentences and min(len(sentence.split()), len(sentences[-1].split())) < MIN_WORDS:
        sentences[-1] += f" {sentence}"
    else:
        sentences.append(sentence)
