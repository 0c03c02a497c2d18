"""Titles and abstracts of the simulated proposals, written with a grammar.

Three files beside this module are used: `grammar.toml` has the sentence patterns, `vocabulary.toml` has the phrases for
each kind of object, and `people.toml` has the names of invented investigators.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hubbleclip.simulator.instruments import CAMERAS
from hubbleclip.simulator.object_kinds import CALIBRATION
from hubbleclip.simulator.plans import ObservingPlan
from hubbleclip.simulator.random_draws import python_rng

FOLDER = Path(__file__).parent
MIN_WORDS, MAX_WORDS = 95, 178  # Limits of the length of an abstract.
TYPE_WEIGHTS = {"GO": 74, "SNAP": 12, "GTO": 8, "GO/DD": 3, "GO/PAR": 3}  # Percentage of each type of proposal.
REQUIRED_SLOTS = ("context", "gap", "aim", "method", "result")
FIELD_PATTERN = re.compile(r"\{(\w+)\}")
# The head of a noun phrase ends before the first of these words.
PHRASE_HEAD_END = re.compile(
    r" (?:in|of|at|along|from|between|born|onto|on|behind|beyond|far|over|by|off|against|above|beneath|as|resolved|that"
    r"|left|hidden|among|like) "
)
# These words are not capitalised in a title.
LOWERCASE_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with", "its", "per"}
)
SINGULAR_VERBS = {
    "hold": "holds",
    "are": "is",
    "have": "has",
    "matter": "matters",
    "require": "requires",
    "become": "becomes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """Text of a proposal.

    A slot is the role of a sentence, such as `aim`. The grammar lists the sentence patterns of each slot. `patterns`
    has a pair (slot, index of the pattern in the slot's list) for each sentence of the abstract, in order.
    """

    proposal_type: str
    category: str
    title: str
    pi: str
    abstract: str
    patterns: tuple[tuple[str, int], ...]


@lru_cache(maxsize=3)
def _read_table(name: str) -> dict[str, Any]:
    """Read the TOML file of this name, which lies beside this module."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=4096)
def write_proposal(plan: ObservingPlan) -> ProposalText:
    """Write the text of a proposal.

    A continuation repeats the abstract of its parent and adds a sentence.
    """
    rng = python_rng("text", plan.index)
    writer = SentenceWriter(rng, plan)
    if plan.kind is CALIBRATION:
        patterns: tuple[tuple[str, int], ...] = (
            ("calibration", rng.randrange(len(_read_table("grammar")["calibration"]))),
        )
        abstract = writer.write_sentence(*patterns[0])
    else:
        patterns, abstract = _make_abstract(plan, writer)
    people = _read_table("people")
    return ProposalText(
        proposal_type=_draw_type(rng, plan),
        category=rng.choice(plan.kind.categories),
        title=writer.write_title(),
        pi=f"{rng.choice(people['first'])} {rng.choice(people['last'])}",
        abstract=abstract,
        patterns=patterns,
    )


def _draw_type(rng: random.Random, plan: ObservingPlan) -> str:
    """Draw the type of a science proposal; return CAL for a calibration proposal."""
    if plan.kind is CALIBRATION:
        return "CAL"
    return rng.choices(list(TYPE_WEIGHTS), list(TYPE_WEIGHTS.values()))[0]


def _make_abstract(plan: ObservingPlan, writer: SentenceWriter) -> tuple[tuple[tuple[str, int], ...], str]:
    """Write the abstract of a science proposal. Return the sentence patterns that it uses, and its text."""
    if plan.is_continuation and plan.parent is not None:
        # The parent's abstract was drawn with the same seed, so the same sentences are drawn again.
        rng = python_rng("abstract", plan.parent)
        patterns, abstract = _compose_abstract(rng, SentenceWriter(rng, plan))
        added = writer.write_sentence("continuation", writer.rng.randrange(3))
        return (*patterns, ("continuation", 0)), f"{abstract} {added}"
    rng = python_rng("abstract", plan.index)
    return _compose_abstract(rng, SentenceWriter(rng, plan))


def _compose_abstract(rng: random.Random, writer: SentenceWriter) -> tuple[tuple[tuple[str, int], ...], str]:
    """Write an abstract with one sentence per slot. Return the sentence patterns that it uses, and its text.

    All required slots are used. Optional slots are drawn, then added or removed until the number of words is in range.
    """
    grammar = _read_table("grammar")
    pattern_numbers = {slot: rng.randrange(len(grammar[slot])) for slot in grammar["order"]}
    optional = [slot for slot in grammar["order"] if slot not in REQUIRED_SLOTS]
    chosen = {*REQUIRED_SLOTS, *(slot for slot in optional if rng.random() < 0.6)}
    # A sentence is drawn for every slot, used or not, so that the draws do not depend on the chosen slots.
    text = {slot: writer.write_sentence(slot, pattern_numbers[slot]) for slot in grammar["order"]}
    for slot in optional:
        if _num_words(text, chosen) < MIN_WORDS:
            chosen.add(slot)
    for slot in reversed(optional):
        if _num_words(text, chosen) > MAX_WORDS:
            chosen.discard(slot)
    slots = [slot for slot in grammar["order"] if slot in chosen]
    # Some abstracts begin with the sentence about their target.
    if "target" in chosen and rng.random() < 0.3:
        slots.remove("target")
        slots.insert(0, "target")
    return tuple((slot, pattern_numbers[slot]) for slot in slots), " ".join(text[slot] for slot in slots)


def _num_words(text: dict[str, str], chosen: set[str]) -> int:
    """Count the words of the sentences of the chosen slots."""
    return sum(len(text[slot].split()) for slot in chosen)


class SentenceWriter:
    """Writer that fills sentence patterns with phrases about the kind of object that a proposal observes.

    A field is a placeholder in a sentence pattern, such as `question`. The vocabulary lists the phrases of each field.
    A phrase is repeated only after all phrases of its field have been used.
    """

    def __init__(self, rng: random.Random, plan: ObservingPlan) -> None:
        self.rng = rng
        self.plan = plan
        self.vocabulary = _read_table("vocabulary")[plan.kind.name]
        self.unused: dict[str, list[str]] = {}

    def draw_phrase(self, name: str) -> str:
        """Draw a phrase from the vocabulary of the kind of object.

        A phrase is repeated only after all phrases of its field have been drawn.
        """
        if not self.unused.get(name):
            self.unused[name] = self.rng.sample(self.vocabulary[name], len(self.vocabulary[name]))
        return self.unused[name].pop()

    def write_sentence(self, slot: str, number: int) -> str:
        """Write one sentence, which begins with a capital letter."""
        text = self.fill_fields(_read_table("grammar")[slot][number])
        # A capital letter follows a full stop or question mark, but not a colon.
        return re.sub(
            r"(^|[.?:] )([a-z])(?=[a-z])",
            lambda match: match[0] if match[1] == ": " else match[1] + match[2].upper(),
            text,
        )

    def fill_fields(self, pattern: str) -> str:
        """Replace every field of a pattern with text."""
        phenomenon = ""

        def replacement(match: re.Match[str]) -> str:
            nonlocal phenomenon
            name = match[1]
            if name in SINGULAR_VERBS:
                return name if _is_plural(phenomenon) else SINGULAR_VERBS[name]
            value = self.field_value(name.lower())
            if name.lower() == "phenomenon":
                phenomenon = value
            return value[0].upper() + value[1:] if name[0].isupper() else value

        return FIELD_PATTERN.sub(replacement, pattern)

    def field_value(self, name: str) -> str:
        """Return the text of one field."""
        targets = self.plan.targets
        if name == "target":
            return " and ".join(target.name for target in targets) if self.rng.random() < 0.5 else targets[0].name
        if name == "variant":
            return str(self.rng.choice(self.vocabulary["variant"][targets[0].variant]))
        if name == "camera":
            return self.rng.choice([self.plan.camera, self.plan.camera, CAMERAS[self.plan.camera].instrument])
        if name == "filters":
            names = self.plan.filters
            return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
        if name in NUMBER_RANGES:
            low, high, digits = NUMBER_RANGES[name]
            return f"{self.rng.uniform(low, high):.{digits}f}"
        return self.draw_phrase(name)

    def write_title(self) -> str:
        """Write a title about the target of the plan, in title case."""
        text = self.fill_fields(self.rng.choice(_read_table("grammar")["title"]))
        cased = " ".join(
            word if word in LOWERCASE_WORDS or not word.islower() else word[0].upper() + word[1:]
            for word in text.split(" ")
        )
        return cased[0].upper() + cased[1:]


# Lowest number, highest number and number of decimals, by field.
NUMBER_RANGES = {
    "decade": (10, 40, 0),
    "factor": (2, 9, 0),
    "orbits": (2, 24, 0),
    "snr": (5, 60, 0),
    "mag": (21, 29, 1),
    "percent": (2, 20, 0),
    "res": (5, 15, 0),
    "minutes": (8, 90, 0),
    "count": (4, 60, 0),
    "depth": (1, 3.5, 1),
    "dithers": (3, 9, 0),
}


def _is_plural(phrase: str) -> bool:
    """Decide whether a noun phrase is plural, by the last word before its first preposition."""
    head = PHRASE_HEAD_END.split(phrase)[0]
    if " and " in head:
        return True
    last = head.split()[-1]
    return (last.endswith(("s", "ae", "ejecta", "debris")) and not last.endswith(("ss", "sis"))) or last in {
        "ejecta",
        "nuclei",
    }
