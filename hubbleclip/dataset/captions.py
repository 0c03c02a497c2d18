"""Captions: texts made from a proposal, by kind, and a caption's sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Caption, Proposal

CaptionKind = Callable[[Proposal], str | None]

MIN_WORDS = 3
"""A sentence of fewer words says nothing of an image."""

ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "al approx appl av avg ca cf ch co dept dr e.g eg eq eqs esp est et etc fig figs i.e ie incl jr mr mrs ms no "
        "nos obs p pp para ph.d prof prop ref refs resp sec sect sr st tab vol vols viz vs w.r.t wrt",
    )
)
"""Words that end in a full stop and do not end a sentence, lower case, without the last stop."""

SENTENCE_BREAK = re.compile(r"(?<=[.!?])([\"'”’)\]}]*)\s+(?=[\"'“‘(\[{]*[A-Z0-9])")
LAST_WORD = re.compile(r"(\S+?)\.$")
INITIAL = re.compile(r"(?:[A-Z]\.-?)*[A-Z]")


def clean(text: str) -> str:
    """`text` with every run of white space as one blank, and none at its ends."""
    return " ".join(text.split())


def abstract(proposal: Proposal) -> str | None:
    """The abstract, the caption of the paper (arXiv 2403.08851, section 3)."""
    return proposal.abstract


def title(proposal: Proposal) -> str | None:
    """The title, also of proposals whose abstract is lost."""
    return proposal.title


def category_title(proposal: Proposal) -> str | None:
    """The science category, then the title; the title alone where there is no category."""
    return f"{proposal.category}: {proposal.title}" if proposal.category else proposal.title


CAPTION_KINDS: dict[str, CaptionKind] = {
    "abstract": abstract,
    "title": title,
    "category_title": category_title,
}
"""A new kind of caption is a function here."""


def make_captions(proposal: Proposal, kinds: Iterable[str]) -> list[Caption]:
    """Captions of the kinds asked for, in that order; kinds for which the proposal has no text are left out.

    Raises SettingsError for a kind that is not in the registry.
    """
    captions = []
    for kind in kinds:
        if kind not in CAPTION_KINDS:
            raise SettingsError(f"setting shards.caption_kinds: no kind {kind!r}; use {', '.join(CAPTION_KINDS)}")
        text = clean(CAPTION_KINDS[kind](proposal) or "")
        if text:
            captions.append(Caption(proposal_id=proposal.proposal_id, kind=kind, text=text))
    return captions


def split_sentences(text: str) -> list[str]:
    """Sentences of a scientific text, in order; joined by blanks they give the cleaned text back.

    A full stop ends a sentence only before white space and a capital or a digit, and not after an abbreviation
    ("et al.", "i.e.", "Fig.") or an initial ("J. Smith"). A fragment of under three words joins its neighbour.
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
    match = LAST_WORD.search(before)
    if match is None:
        return True
    word = match[1].lstrip("\"'“‘([{")
    return word.lower() not in ABBREVIATIONS and not INITIAL.fullmatch(word)


def _append(sentences: list[str], sentence: str) -> None:
    if not sentence:
        return
    if sentences and min(len(sentence.split()), len(sentences[-1].split())) < MIN_WORDS:
        sentences[-1] += f" {sentence}"
    else:
        sentences.append(sentence)
