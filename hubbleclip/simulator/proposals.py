"""Text of the simulated proposals: titles and abstracts from a grammar.

Its sentence patterns, words and names stand in the TOML files beside this one.
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
from hubbleclip.simulator.plans import Plan
from hubbleclip.simulator.random_draws import python_rng

FOLDER = Path(__file__).parent
MIN_WORDS, MAX_WORDS = 95, 178
TYPES = {"GO": 74, "SNAP": 12, "GTO": 8, "GO/DD": 3, "GO/PAR": 3}
REQUIRED = ("context", "gap", "aim", "method", "result")
FIELD = re.compile(r"\{(\w+)\}")
HEAD_END = re.compile(
    r" (?:in|of|at|along|from|between|born|onto|on|behind|beyond|far|over|by|off|against|above|beneath|as|resolved|that"
    r"|left|hidden|among|like) "
)
SMALL_WORDS = frozenset(
    {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with", "its", "per"}
)
SINGULAR = {
    "hold": "holds",
    "are": "is",
    "have": "has",
    "matter": "matters",
    "require": "requires",
    "become": "becomes",
}
MASS_NOUNS = frozenset(
    {
        "evolution",
        "growth",
        "loss",
        "collapse",
        "segregation",
        "inflow",
        "emission",
        "current",
        "efficiency",
        "darkening",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalText:
    """What a proposal says. `patterns` numbers the sentence pattern of each slot, in order."""

    proposal_type: str
    category: str
    title: str
    pi: str
    abstract: str
    patterns: tuple[tuple[str, int], ...]


@lru_cache(maxsize=3)
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=4096)
def write_proposal(seed: int, plan: Plan) -> ProposalText:
    """The text of a plan. A continuation has its parent's abstract but for one or two sentences."""
    rng = python_rng(seed, "text", plan.index)
    words = Words(rng, plan)
    if plan.kind is CALIBRATION:
        patterns: tuple[tuple[str, int], ...] = (("calibration", rng.randrange(len(_table("grammar")["calibration"]))),)
        abstract = words.sentence(*patterns[0])
    else:
        patterns, abstract = _abstract(seed, plan, words)
    people = _table("people")
    return ProposalText(
        proposal_type="CAL" if plan.kind is CALIBRATION else rng.choices(list(TYPES), list(TYPES.values()))[0],
        category=rng.choice(plan.kind.categories), title=words.title(),
        pi=f"{rng.choice(people['first'])} {rng.choice(people['last'])}",
        abstract=abstract, patterns=patterns,
    )  # fmt: skip


def _abstract(seed: int, plan: Plan, words: Words) -> tuple[tuple[tuple[str, int], ...], str]:
    if plan.is_continuation and plan.parent is not None:
        rng = python_rng(seed, "abstract", plan.parent)
        patterns, abstract = _compose(rng, Words(rng, plan))
        added = words.sentence("continuation", words.rng.randrange(3))
        return (*patterns, ("continuation", 0)), f"{abstract} {added}"
    rng = python_rng(seed, "abstract", plan.index)
    return _compose(rng, Words(rng, plan))


def _compose(rng: random.Random, words: Words) -> tuple[tuple[tuple[str, int], ...], str]:
    """Sentences slot by slot: the required slots, and others until the length is right."""
    grammar = _table("grammar")
    drawn = {slot: rng.randrange(len(grammar[slot])) for slot in grammar["order"]}
    optional = [slot for slot in grammar["order"] if slot not in REQUIRED]
    kept = {*REQUIRED, *(slot for slot in optional if rng.random() < 0.6)}
    text = {slot: words.sentence(slot, drawn[slot]) for slot in grammar["order"]}
    for slot in optional:
        if _length(text, kept) < MIN_WORDS:
            kept.add(slot)
    for slot in reversed(optional):
        if _length(text, kept) > MAX_WORDS:
            kept.discard(slot)
    order = [slot for slot in grammar["order"] if slot in kept]
    if "target" in kept and rng.random() < 0.3:
        order.remove("target")
        order.insert(0, "target")
    return tuple((slot, drawn[slot]) for slot in order), " ".join(text[slot] for slot in order)


def _length(text: dict[str, str], kept: set[str]) -> int:
    return sum(len(text[slot].split()) for slot in kept)


class Words:
    """Draws the words for a plan's patterns, and repeats none while there is something else to say."""

    def __init__(self, rng: random.Random, plan: Plan) -> None:
        self.rng = rng
        self.plan = plan
        self.vocabulary = _table("vocabulary")[plan.kind.name]
        self.left: dict[str, list[str]] = {}

    def draw(self, name: str) -> str:
        """A word or phrase of the kind's vocabulary, each in turn before any repeats."""
        if not self.left.get(name):
            self.left[name] = self.rng.sample(self.vocabulary[name], len(self.vocabulary[name]))
        return self.left[name].pop()

    def sentence(self, slot: str, number: int) -> str:
        """One filled pattern, beginning with a capital."""
        text = self.fill(_table("grammar")[slot][number])
        return re.sub(
            r"(^|[.?:] )([a-z])(?=[a-z])",
            lambda match: match[0] if match[1] == ": " else match[1] + match[2].upper(),
            text,
        )

    def fill(self, pattern: str) -> str:
        """`pattern` with every field replaced; verbs agree with the phenomenon drawn before them."""
        phenomenon = ""

        def replacement(match: re.Match[str]) -> str:
            nonlocal phenomenon
            name = match[1]
            if name in SINGULAR:
                return name if _is_plural(phenomenon) else SINGULAR[name]
            value = self.value(name.lower())
            if name.lower() == "phenomenon":
                phenomenon = value
            return value[0].upper() + value[1:] if name[0].isupper() else value

        return FIELD.sub(replacement, pattern)

    def value(self, name: str) -> str:
        """Text of one field: drawn from the plan, from the vocabulary, or a number."""
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
        if name in NUMBERS:
            low, high, digits = NUMBERS[name]
            return f"{self.rng.uniform(low, high):.{digits}f}"
        return self.draw(name)

    def title(self) -> str:
        """A title in title case, for the plan's own target."""
        text = self.fill(self.rng.choice(_table("grammar")["title"]))
        cased = " ".join(
            word if word in SMALL_WORDS or not word.islower() else word[0].upper() + word[1:]
            for word in text.split(" ")
        )
        return cased[0].upper() + cased[1:]


NUMBERS = {
    "decade": (10, 40, 0), "factor": (2, 9, 0), "orbits": (2, 24, 0), "snr": (5, 60, 0), "mag": (21, 29, 1),
    "percent": (2, 20, 0),
    "res": (5, 15, 0), "minutes": (8, 90, 0), "count": (4, 60, 0), "depth": (1, 3.5, 1), "dithers": (3, 9, 0),
}  # fmt: skip


def _is_plural(phrase: str) -> bool:
    """Whether a verb after the phrase takes the plural: judged by its head, the last word before a preposition."""
    head = HEAD_END.split(phrase)[0]
    if " and " in head:
        return True
    last = head.split()[-1]
    return (last.endswith(("s", "ae", "ejecta", "debris")) and not last.endswith(("ss", "sis"))) or last in {
        "ejecta",
        "nuclei",
    }
