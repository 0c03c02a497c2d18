"""Write answers by rules and a vocabulary of astronomical terms, without a language model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import get_args

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.schema import MAX_SUMMARY_WORDS, Answer, Category
from hubbleclip.captions.vocabulary import VOCABULARY_FILE, Term, find_targets, find_terms, read_vocabulary
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.errors import AnswerError

RULES_VERSION = 1
"""Version of these rules and of the vocabulary. Raise it with any change that alters the answer about an abstract."""
TITLE_WEIGHT = 3
MAX_AIM_WORDS = 20
CATEGORIES: tuple[str, ...] = get_args(Category)
CALIBRATION = CATEGORIES[-1]

HINTS = {
    "Solar System": "solar system|planetary|comet|asteroid",
    "Exoplanets and Planet Formation": "exoplanet|extra-solar|extrasolar|planet formation|debris disk|protoplanet",
    "Calibration": r"calibrat|commissioning|engineering|\bcal[-/ ]",
    "Large Scale Structure": "cosmolog|large scale|lensing",
    "Black Holes and Active Galaxies": r"\bagn|quasar|black hole|active galax",
    "Intergalactic and Circumgalactic Medium": "intergalactic|circumgalactic|absorption line",
    "Stellar Populations and the Interstellar Medium": r"stellar pop|interstellar|\bism\b|star cluster|stellar cluster",
    "Stars": "stellar physics|stars|stellar|star formation",
    "Galaxies": "galax",
}
"""Regular expression of each science category. If several expressions match, the first category is chosen.

The searched text is the proposal's category in the archive, or the title if the archive gives no category.
"""
HINT_WEIGHT = 8
"""Number of votes for the category that is found by `HINTS`; a term in the abstract adds one vote for its category."""

AIM_VERBS = (
    "address|assess|calibrate|catalog|characterize|characterise|check|compare|confirm|constrain|"
    "derive|detect|determine|discover|distinguish|document|estimate|establish|examine|explore|"
    "find|follow|identify|image|infer|investigate|map|measure|model|monitor|observe|obtain|"
    "probe|quantify|reconstruct|resolve|reveal|search|study|survey|test|trace|track|"
    "understand|verify"
)
AIM = re.compile(rf"\b(?:to|will|and|we|shall|by|for)\s+((?:{AIM_VERBS})\b[^.;:?!()*\n]*)", re.IGNORECASE)
NOT_AN_AIM = re.compile(r"\b(?:able|used|difficult|impossible|failed|unable|known|thought|expected|hard)\s+to\s*$")
CLAUSE_END = re.compile(r",|\b(?:which|that|because|while|whereas|so|thus|thereby|in order|using|with|as well as)\b")
LAST_WORDS = re.compile(r"a|an|and|any|at|both|by|for|from|in|into|its|of|on|or|over|the|their|this|to|with|within")
"""Matches articles, prepositions and similar words, which are removed from the end of a science aim."""

GENERIC = {
    "Solar System": ("solar system object", "planetary surface", "small body"),
    "Exoplanets and Planet Formation": ("star with planets", "planetary system", "circumstellar environment"),
    "Stars": ("individual star", "stellar field", "evolved star"),
    "Stellar Populations and the Interstellar Medium": ("resolved stellar population", "star field", "gas and dust"),
    "Galaxies": ("nearby or distant galaxy", "galaxy structure", "stellar light of a galaxy"),
    "Black Holes and Active Galaxies": ("active galaxy", "bright galactic nucleus", "accreting black hole"),
    "Intergalactic and Circumgalactic Medium": ("gas between galaxies", "quasar field", "galaxy halo gas"),
    "Large Scale Structure": ("distant galaxies", "galaxy cluster field", "deep extragalactic field"),
    "Calibration": ("calibration exposure", "detector test image", "instrument calibration"),
}
"""Generic search phrases by science category. They are used if fewer than three search phrases come from the text."""


def rank(title: Iterable[Term], abstract: Iterable[Term]) -> list[Term]:
    """Sort terms by weighted number of occurrences, and drop terms that overlap with a better term.

    Occurrences in the title, and terms with modifiers, have a higher weight. Two terms overlap if one has all words of
    the other. If the better term is a single word, the longer term is kept and the single word is dropped.
    """
    weight: Counter[str] = Counter()
    first: dict[str, Term] = {}
    for found, times in [(f, TITLE_WEIGHT) for f in title] + [(f, 1) for f in abstract]:
        weight[found.name] += times
        first.setdefault(found.name, found)
    order = sorted(first, key=lambda name: -weight[name] * (1 + min(len(name.split()) - 1, 2) / 2))
    kept: list[str] = []
    for name in order:
        if not any(
            set(name.split()) <= set(other.split()) or set(other.split()) <= set(name.split()) for other in kept
        ):
            kept.append(name)
            continue
        # a longer name replaces the bare term, because "dwarf galaxy" says more than "galaxy"
        shorter = next((other for other in kept if set(other.split()) < set(name.split())), None)
        if shorter is not None and len(shorter.split()) == 1:
            kept[kept.index(shorter)] = name
    return [first[name] for name in dict.fromkeys(kept)]


def find_aims(text: str) -> list[str]:
    """Find at most 4 aims of a proposal: clauses that begin with a verb such as "measure" or "constrain"."""
    aims: dict[str, None] = {}
    for match in AIM.finditer(text):
        if NOT_AN_AIM.search(text[max(0, match.start() - 20) : match.start(1)]):
            continue
        clause = CLAUSE_END.split(" ".join(match[1].split()), maxsplit=1)[0]
        words = clause.split()[:MAX_AIM_WORDS]
        while words and (LAST_WORDS.fullmatch(words[-1].lower()) or not words[-1].strip("-–—")):
            words.pop()
        if len(words) > 2:
            aims.setdefault(" ".join([words[0].lower(), *words[1:]])[:160], None)
    return list(aims)[:4]


def classify(source: SourceText, terms: Iterable[Term]) -> str:
    """Choose the science category by votes of the terms and of the proposal's category in the archive."""
    votes: dict[str, float] = defaultdict(float, Counter(found.category for found in terms))
    given = (source.category or source.title).lower()
    hinted = next((name for name, pattern in HINTS.items() if given and re.search(pattern, given)), None)
    if hinted:
        votes[hinted] += HINT_WEIGHT
    votes[CALIBRATION] /= 2  # halved, because words such as "sensitivity" occur in many science proposals
    return max(reversed(CATEGORIES), key=lambda name: votes[name])


def summarise(objects: list[str], phenomena: list[str], targets: list[str], aims: list[str]) -> str:
    """Compose a summary of at most 40 words."""
    what = _joined(objects[:3])
    named = f" ({', '.join(targets[:2])})" if targets else ""
    happening = f"; {_joined(phenomena[:3])}" if phenomena else ""
    text = f"{what[:1].upper()}{what[1:]}{named}{happening}."
    summary = text
    for num in (1, 2):
        longer = f"{text} Aim: {'; '.join(aims[:num])}."
        if len(longer.split()) <= MAX_SUMMARY_WORDS:
            summary = longer
    return summary


def _joined(names: list[str]) -> str:
    """Join names by commas, with "and" before the last name."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))


def search_phrases(objects: list[str], phenomena: list[str], category: str) -> list[str]:
    """Compose 3 to 8 short queries, without proper names."""
    pairs = [
        f"{thing} with {phenomenon}"
        for thing, phenomenon in zip(objects[:2], phenomena[:2], strict=False)
        if not set(thing.split()) & set(phenomenon.split()) and len(f"{thing} {phenomenon}".split()) < 9
    ]
    phrases = list(dict.fromkeys([*objects[:4], *pairs, *phenomena[:2]]))
    generic = [phrase for phrase in GENERIC[category] if phrase not in phrases]
    phrases = [phrase for phrase in phrases if not find_targets(phrase)]
    return [*phrases, *generic[: max(0, 3 - len(phrases))]][:8]


def title_phrase(title: str) -> str:
    """Return the first words of a title, at most 8. They are used as `objects` if no term and no target is found."""
    return " ".join(re.split(r"[:;,.?!()]", title.strip())[0].split()[:8])[:80].strip()


class Rules:
    """Backend that finds the terms of the vocabulary, names of targets, and clauses that state an aim."""

    model = "rules"
    is_model = False
    version = RULES_VERSION

    def __init__(self, _settings: CaptionSettings | None = None) -> None:
        """Accept the settings, as every backend does, and ignore them."""

    def prompt(self) -> str:
        """Return the vocabulary, on which the answers depend."""
        return VOCABULARY_FILE.read_text(encoding="utf-8")

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        """Write an answer from the terms, targets and aims that are found in title and abstract."""
        words = read_vocabulary()
        things = [find_terms(text, words.objects, words.modifiers) for text in (source.title, source.abstract)]
        events = [find_terms(text, words.phenomena) for text in (source.title, source.abstract)]
        targets = find_targets(source.text)
        targets.sort(key=lambda name: -source.abstract.count(name) - TITLE_WEIGHT * source.title.count(name))
        targets = targets[:5]
        planets = [Term(name, "Solar System") for name in targets if name in words.solar_system]
        found = [*things[0] * TITLE_WEIGHT, *things[1], *events[0] * TITLE_WEIGHT, *events[1], *planets]
        category = classify(source, found)
        objects, phenomena = (
            [found.name for found in rank(*terms) if category == CALIBRATION or found.category != CALIBRATION]
            for terms in (things, events)
        )
        objects = objects[:6] or list(filter(None, [*targets[:1], title_phrase(source.title or source.abstract)]))[:1]
        if not objects:
            raise AnswerError("no_object", "the text names no object")
        phenomena = [name for name in phenomena if name not in objects][:5]
        aims = find_aims(source.abstract) or [f"study {_joined(objects[:2])}"]
        return Reply(
            answer=Answer.model_validate(
                {
                    "objects": objects,
                    "phenomena": phenomena,
                    "science_aims": aims,
                    "target_names": targets,
                    "category": category,
                    "summary": summarise(objects, phenomena, targets, aims),
                    "search_phrases": search_phrases(objects, phenomena, category),
                }
            )
        )
