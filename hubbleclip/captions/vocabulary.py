"""Find terms of astronomy and names of targets in texts, and convert texts to a normal form for comparisons."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.toml")
WORD = re.compile(r"[^\W_]+(?:[-'/+][^\W_]+)*[*+]?")
MAX_TERM_WORDS = 4
MAX_MODIFIERS = 3
TYPE = re.compile(r"I{1,3}[abcnLP/]*$|I?V$")
"""Matches the type of a supernova, such as `Ia`, or a luminosity class, such as `V`."""
# Matches a number, coordinates such as J1030+0524, or a supernova such as 1987A. Letters of a component or a planet may
# follow.
NUMBER = r"J?\d+(?:\.\d+)?(?:[+−–-]\d+(?:\.\d+)?)*(?:[A-Za-z]{1,4}\b)?(?: [b-h]\b)?"
COMETS = r"\b(?:[1-9]\d{0,2}[PD]/[A-Z][\w-]+(?: [A-Z][\w-]+)?|[CP]/\d{4} [A-Z]\d+(?: \([^)]{3,30}\))?)"
NUMBERED = r"\(\d{3,6}\) [A-Z][\w’']+"
COORDINATES = r"\bJ\d{4,}(?:\.\d+)?[+−–-]\d{4,}(?:\.\d+)?"


class Term(NamedTuple):
    """A term and its science category. For a term that was found in a text, `name` includes the modifiers before it."""

    name: str
    category: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The content of `vocabulary.toml`. `objects` and `phenomena` map each singular, lower-case spelling to a term."""

    objects: Mapping[str, Term]
    phenomena: Mapping[str, Term]
    modifiers: frozenset[str]
    solar_system: frozenset[str]
    target_names: Sequence[str]
    target_prefixes: Sequence[str]


@cache
def _file() -> dict[str, dict[str, list[str]]]:
    """Read the file of the vocabulary."""
    return tomllib.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))


@cache
def read_vocabulary() -> Vocabulary:
    """Read the vocabulary."""
    found = _file()
    objects, phenomena = (_spellings(found[table]) for table in ("objects", "phenomena"))
    targets = found["targets"]
    return Vocabulary(
        objects=objects,
        phenomena=phenomena,
        modifiers=frozenset(found["modifiers"]["words"]),
        solar_system=frozenset(targets["solar_system"]),
        target_names=[*targets["solar_system"], *targets["names"]],
        target_prefixes=targets["prefixes"],
    )


def _spellings(terms: Mapping[str, Sequence[str]]) -> dict[str, Term]:
    """Map all spellings and synonyms of each term, with and without hyphens, to the term."""
    spelled = {name: Term(name, category) for category, names in terms.items() for name in names}
    for family in _file()["synonyms"]["families"]:
        known = next((spelled[member] for member in family if member in spelled), None)
        if known:
            spelled |= {member: Term(family[0], known.category) for member in family}
    plain = {name.replace("-", " "): term for name, term in spelled.items()}
    return {" ".join(normal_words(name)): term for name, term in (plain | spelled).items()}


@cache
def singular(word: str) -> str:
    """Reduce a word in lower case to its singular, in the spelling of the vocabulary."""
    found = _file()
    spelling: Mapping[str, str] = found["spelling"]  # type: ignore[assignment]  # a table of strings, not of lists
    if word in spelling:
        return spelling[word]
    unchanged = set(found["singular"]["words"])
    if word in unchanged or len(word) < 4 or word.endswith(("ss", "sis")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "shes", "ches")) or word[:-2] in unchanged:
        return word[:-2]
    return word.removesuffix("'s").removesuffix("s")


def normal_words(text: str) -> list[str]:
    """Split a text into words in lower case and in the singular."""
    return [singular(word.lower()) for word in WORD.findall(text)]


@cache
def _synonyms() -> tuple[re.Pattern[str], dict[str, str]]:
    """Compile a pattern of all synonyms, and map each synonym to the first entry of its list; all are in plain form."""
    first: dict[str, str] = {}
    for family in _file()["synonyms"]["families"]:
        members = [plain_form(member) for member in family]
        for member in members:
            first.setdefault(member, members[0])
    longest_first = sorted(first, key=len, reverse=True)
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)"), first


@lru_cache(64)  # cached, because a text is compared with many phrases
def plain_form(text: str) -> str:
    """Return the words of a text, and the parts of hyphenated words, in singular and lower case, joined by spaces."""
    return " ".join(singular(part) for word in normal_words(text) for part in word.split("-"))


@lru_cache(64)
def normal_form(text: str) -> str:
    """Return the plain form of a text, with each synonym replaced by the first entry of its list of synonyms."""
    pattern, first = _synonyms()
    return pattern.sub(lambda match: first[match[0]], plain_form(text))


def find_terms(text: str, terms: Mapping[str, Term], modifiers: frozenset[str] = frozenset()) -> list[Term]:
    """Find vocabulary terms, by longest match, in each clause of a text; modifiers before a term are included."""
    found = []
    for clause in re.split(r"[.,;:?!()\[\]\n]+(?=\s|$)", text):
        words = WORD.findall(clause)
        lower = [word.lower() for word in words]
        single = [singular(word) for word in lower]
        start = place = 0
        while place < len(words):
            longest = min(MAX_TERM_WORDS, len(words) - place)
            length = next((n for n in range(longest, 0, -1) if " ".join(single[place : place + n]) in terms), 0)
            if not length:
                place += 1
                continue
            first = place
            while first > max(start, place - MAX_MODIFIERS) and lower[first - 1] in modifiers:
                first -= 1
            # A type such as "Ia" is a part of the name only after the word "type".
            while first < place and TYPE.match(words[first]):
                first += 1
            term = terms[" ".join(single[place : place + length])]
            found.append(Term(" ".join([*map(_shown, words[first:place]), term.name]), term.category))
            start = place = place + length
    return found


def _shown(word: str) -> str:
    """Return a modifier in lower case, unless it is an acronym or the type of a supernova."""
    return word if sum(map(str.isupper, word)) > 1 or TYPE.match(word) else word.lower()


@cache
def _target_patterns() -> tuple[re.Pattern[str], ...]:
    """Compile patterns for names of targets: comets, designations, known names, asteroids, and coordinates."""
    found = read_vocabulary()
    names = "|".join(re.escape(name) for name in sorted(found.target_names, key=len, reverse=True))
    prefixes = "|".join(re.escape(name) for name in sorted(found.target_prefixes, key=len, reverse=True))
    return (
        re.compile(COMETS),
        re.compile(rf"(?<![\w-])(?:{prefixes})(?:[ -]?)(?:{NUMBER})"),
        re.compile(
            rf"(?<![\w-])(?<!hot )(?<!warm )(?<!Hot )(?<!Warm )(?:{names})(?![\w-]|[- ](?:mass|radi|size|like))"
        ),
        re.compile(NUMBERED),
        re.compile(COORDINATES),
    )


def find_targets(text: str) -> list[str]:
    """Find the proper names and designations of objects in a text, each once and spelled as in the text."""
    spans = sorted(match.span() for pattern in _target_patterns() for match in pattern.finditer(text))
    names: dict[str, None] = {}
    end = 0
    for start, stop in spans:
        if start >= end:
            names.setdefault(" ".join(text[start:stop].split()), None)
            end = stop
    return list(names)
