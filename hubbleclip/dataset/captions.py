"""Make captions of several kinds from the texts of a proposal, and split a caption into sentences."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from hubbleclip.config.captions import WRITTEN_KINDS
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import HEADER_SOURCE, AbstractSummary, Observation, Proposal

PHRASES = "phrases"
PHRASE_BREAK = "; "
"""Separator of the phrases in a caption of the kind `phrases`; training draws one phrase at a time."""
CaptionKind = Callable[[Proposal, Observation | None, AbstractSummary | None, Observation | None], str | None]
"""Function that makes a caption; it returns None or "" if there is no text.

It takes a proposal, an observation, the texts that were written about the proposal's abstract, and a press-release
image of the observed field.
"""

MIN_WORDS = 3
"""Minimum number of words of a sentence. A shorter sentence describes no image and is joined to its neighbour."""

PLACEHOLDER_WORDS = frozenset(
    re.findall(
        r"\S+",
        "a abstract above added an and announced at available be been below by content currently description "
        "determined empty entered file follow follows for found given has here image in is it later made missing n "
        "nil no none not null of on or page pending phase present program programme proposal provided public "
        "released request section see submitted summary supplied supply tba tbc tbd tbs text the there this time "
        "title to unavailable undefined unknown was will withheld yet",
    )
)
"""Words, in lower case. A text that has only these words is a placeholder, such as "Abstract not available"."""
WORD = re.compile(r"[^\W_]+")

ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "al approx appl av avg ca cf ch co dept dr e.g eg eq eqs esp est et etc fig figs i.e ie incl jr mr mrs ms no "
        "nos obs p pp para ph.d prof prop ref refs resp sec sect sr st tab vol vols viz vs w.r.t wrt",
    )
)
"""Abbreviations whose full stop does not end a sentence, in lower case and without the last full stop."""

# Matches the white space between two sentences, with any quotation marks or brackets that close the first sentence.
# The match must follow `.`, `!` or `?`. A capital letter or a digit must follow the match, possibly after opening
# quotation marks or brackets.
SENTENCE_BREAK = re.compile(r"(?<=[.!?])([\"'”’)\]}]*)\s+(?=[\"'“‘(\[{]*[A-Z0-9])")
LAST_WORD = re.compile(r"(\S+?)\.$")
INITIAL = re.compile(r"(?:[A-Z]\.-?)*[A-Z]")  # matches the `J` of "J. Smith" and the `J.-P` of "J.-P. Luminet"


def clean(text: str) -> str:
    """Replace every sequence of white-space characters by one space, and remove white space at both ends."""
    return " ".join(text.split())


def is_placeholder(text: str) -> bool:
    """Determine whether all words of a text are `PLACEHOLDER_WORDS`, as in "not available", "N/A" or "---"."""
    return PLACEHOLDER_WORDS.issuperset(WORD.findall(text.lower()))


def abstract(proposal: Proposal, *_: object) -> str | None:
    """Return the abstract of a proposal, which the reference paper uses as caption (arXiv 2403.08851, section 3)."""
    return None if is_placeholder(proposal.abstract or "") else proposal.abstract


def title(proposal: Proposal, observation: Observation | None = None, *_: object) -> str:
    """Return the title of a proposal, which exists even if the abstract is missing.

    The title of a proposal that was made from file headers names the target and the filter of only one file. For such a
    proposal, the title of the observation is returned instead, if the observation has a title.
    """
    own = observation.title if observation and proposal.source == HEADER_SOURCE else None
    return own or proposal.title


def category_title(proposal: Proposal, observation: Observation | None = None, *_: object) -> str:
    """Return the science category and the title of a proposal."""
    own = title(proposal, observation)
    return f"{proposal.category}: {own}" if proposal.category else own


CAPTION_KINDS: dict[str, CaptionKind] = {
    "abstract": abstract,
    "title": title,
    "category_title": category_title,
    "press": lambda _proposal, _observation, _written, press: press.title if press else None,
    "summary": lambda _proposal, _observation, written, _press: written.summary if written else None,
    PHRASES: lambda _proposal, _observation, written, _press: (
        PHRASE_BREAK.join(written.search_phrases) if written else None
    ),
    "objects": lambda _proposal, _observation, written, _press: (
        ", ".join([*written.objects, *written.phenomena]) if written else None
    ),
}
"""Caption functions by the name that `shards.caption_kinds` uses. To add a kind of caption, add an entry."""


def make_captions(
    proposal: Proposal,
    kinds: Iterable[str],
    summaries: Mapping[str, AbstractSummary] = MappingProxyType({}),
    observation: Observation | None = None,
    press: Observation | None = None,
) -> dict[str, str]:
    """Make the captions of a proposal, or of one of its observations, by kind; kinds without a text are skipped.

    `summaries` contains the texts that rules or language models wrote about the abstract, by `AbstractSummary.writer`.
    The key `""` is for the rules or the model that the settings select. A caption from these texts is returned with the
    writer in its kind, as in `summary@rules-1.1`.
    """
    captions = {}
    for kind in kinds:
        name, at, writer = kind.partition("@")
        is_written = name in WRITTEN_KINDS
        if name not in CAPTION_KINDS or (at and not is_written):
            known = ", ".join(CAPTION_KINDS)
            raise SettingsError(f"setting shards.caption_kinds: unknown kind {kind!r}: use {known}")
        summary = summaries.get(writer) if is_written else None
        # All samples of a proposal share one copy of its texts in memory.
        text = sys.intern(clean(CAPTION_KINDS[name](proposal, observation, summary, press) or ""))
        if text:
            captions[f"{name}@{summary.writer}" if summary else name] = text
    return captions


def split_sentences(text: str) -> list[str]:
    """Split a scientific text into sentences; the sentences, joined by spaces, are equal to `clean(text)`.

    A full stop ends a sentence only if white space and then a capital letter or a digit follow it. A full stop that
    belongs to an abbreviation ("et al.", "i.e.", "Fig.") or to an initial ("J. Smith") does not end a sentence. A
    fragment of fewer than `MIN_WORDS` words is joined to the sentence next to it.
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


def split_to_fit(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Split a text into pieces that fit a model's context; each piece has as many sentences as fit.

    A sentence that is too long on its own is split between words.
    """
    if fits(text):
        return [text]
    pieces: list[str] = []
    for sentence in split_sentences(text):
        for part in [sentence] if fits(sentence) else _split_words(sentence, fits):
            longer = f"{pieces[-1]} {part}" if pieces else part
            if pieces and fits(longer):
                pieces[-1] = longer
            else:
                pieces.append(part)
    return pieces or [text]


def _split_words(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """Split a sentence between words into the longest parts that fit; a word that does not fit is a part of its own."""
    words, parts = sentence.split(), []
    while words:
        # The number of words that fit is found by bisection; it is at least one.
        num_words = max(1, bisect_left(range(1, len(words) + 1), True, key=lambda n: not fits(" ".join(words[:n]))))
        parts.append(" ".join(words[:num_words]))
        words = words[num_words:]
    return parts


def _ends_sentence(before: str) -> bool:
    """Return whether the last character of a text ends a sentence, and not an abbreviation or an initial."""
    match = LAST_WORD.search(before)
    if match is None:  # the text ends in ! or ?
        return True
    word = match[1].lstrip("\"'“‘([{")
    return word.lower() not in ABBREVIATIONS and not INITIAL.fullmatch(word)


def _append(sentences: list[str], sentence: str) -> None:
    """Append a sentence, or join it to the last sentence if one of the two has fewer than `MIN_WORDS` words."""
    if not sentence:
        return
    if sentences and min(len(sentence.split()), len(sentences[-1].split())) < MIN_WORDS:
        sentences[-1] += f" {sentence}"
    else:
        sentences.append(sentence)
