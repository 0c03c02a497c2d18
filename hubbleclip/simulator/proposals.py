"""Text of the simulated proposals: titles and abstracts from a grammar.

The sentence patterns are in `grammar.toml`, the phrases of each kind of object in `vocabulary.toml` and invented
investigators in `people.toml`, beside this module.
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
MIN_WORDS, MAX_WORDS = 95, 178  # Length of an abstract.
TYPE_WEIGHTS = {"GO": 74, "SNAP": 12, "GTO": 8, "GO/DD": 3, "GO/PAR": 3}  # Percent of proposals by type.
REQUIRED_SLOTS = ("context", "gap", "aim", "method", "result")
FIELD_PATTERN = re.compile(r"\{(\w+)\}")
# Words that end the head of a noun phrase.
PHRASE_HEAD_END = re.compile(
    r" (?:in|of|at|along|from|between|born|onto|on|behind|beyond|far|over|by|off|against|above|beneath|as|resolved|that"
    r"|left|hidden|among|like) "
)
# Not capitalised in a title.
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
    """Text of a proposal. `patterns` has the slot and the number of each sentence pattern, in order."""

    proposal_type: str
    category: str
    title: str
    pi: str
    abstract: str
    patterns: tuple[tuple[str, int], ...]


@lru_cache(maxsize=3)
def _read_table(name: str) -> dict[str, Any]:
    """Read one of the TOML files beside this module."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=4096)
def write_proposal(seed: int, plan: ObservingPlan) -> ProposalText:
    """Write the text of a plan. A continuation repeats its parent's abstract and adds a sentence.

    Parameters
    ----------
    seed
        Seed of the simulator.
    plan
        What the proposal observes; its targets, camera and filters appear in the text.

    Returns
    -------
    ProposalText
        Title, abstract, investigator, type and category.

    """
    rng = python_rng(seed, "text", plan.index)
    writer = SentenceWriter(rng, plan)
    if plan.kind is CALIBRATION:
        patterns: tuple[tuple[str, int], ...] = (
            ("calibration", rng.randrange(len(_read_table("grammar")["calibration"]))),
        )
        abstract = writer.write_sentence(*patterns[0])
    else:
        patterns, abstract = _make_abstract(seed, plan, writer)
    people = _read_table("people")
    return ProposalText(
        proposal_type=_draw_type(rng, plan),
        category=rng.choice(plan.kind.categories), title=writer.write_title(),
        pi=f"{rng.choice(people['first'])} {rng.choice(people['last'])}",
        abstract=abstract, patterns=patterns,
    )  # fmt: skip


def _draw_type(rng: random.Random, plan: ObservingPlan) -> str:
    """Draw the type of the proposal; a calibration proposal draws nothing."""
    if plan.kind is CALIBRATION:
        return "CAL"
    return rng.choices(list(TYPE_WEIGHTS), list(TYPE_WEIGHTS.values()))[0]


def _make_abstract(seed: int, plan: ObservingPlan, writer: SentenceWriter) -> tuple[tuple[tuple[str, int], ...], str]:
    """Write the abstract of a science proposal, and return it after its patterns."""
    if plan.is_continuation and plan.parent is not None:
        # The parent's generator, so that the sentences are the parent's own.
        rng = python_rng(seed, "abstract", plan.parent)
        patterns, abstract = _compose_abstract(rng, SentenceWriter(rng, plan))
        added = writer.write_sentence("continuation", writer.rng.randrange(3))
        return (*patterns, ("continuation", 0)), f"{abstract} {added}"
    rng = python_rng(seed, "abstract", plan.index)
    return _compose_abstract(rng, SentenceWriter(rng, plan))


def _compose_abstract(rng: random.Random, writer: SentenceWriter) -> tuple[tuple[tuple[str, int], ...], str]:
    """Write one sentence per slot: the required slots, and others until the length is in range."""
    grammar = _read_table("grammar")
    pattern_numbers = {slot: rng.randrange(len(grammar[slot])) for slot in grammar["order"]}
    optional = [slot for slot in grammar["order"] if slot not in REQUIRED_SLOTS]
    chosen = {*REQUIRED_SLOTS, *(slot for slot in optional if rng.random() < 0.6)}
    # Sentences of all slots are drawn, also unused ones, so that the draws do not depend on the choice.
    text = {slot: writer.write_sentence(slot, pattern_numbers[slot]) for slot in grammar["order"]}
    for slot in optional:
        if _num_words(text, chosen) < MIN_WORDS:
            chosen.add(slot)
    for slot in reversed(optional):
        if _num_words(text, chosen) > MAX_WORDS:
            chosen.discard(slot)
    slots = [slot for slot in grammar["order"] if slot in chosen]
    # Some abstracts begin with their target.
    if "target" in chosen and rng.random() < 0.3:
        slots.remove("target")
        slots.insert(0, "target")
    return tuple((slot, pattern_numbers[slot]) for slot in slots), " ".join(text[slot] for slot in slots)


def _num_words(text: dict[str, str], chosen: set[str]) -> int:
    """Count the words of the chosen slots."""
    return sum(len(text[slot].split()) for slot in chosen)


class SentenceWriter:
    """Fills sentence patterns with phrases of a plan's kind; none repeats until all were used."""

    def __init__(self, rng: random.Random, plan: ObservingPlan) -> None:
        self.rng = rng
        self.plan = plan
        self.vocabulary = _read_table("vocabulary")[plan.kind.name]
        self.unused: dict[str, list[str]] = {}

    def draw_phrase(self, name: str) -> str:
        """Draw a phrase of the kind's vocabulary, each once before any repeats.

        Parameters
        ----------
        name
            Key of the vocabulary, e.g. `question`.

        Returns
        -------
        str
            Word or phrase.

        """
        if not self.unused.get(name):
            self.unused[name] = self.rng.sample(self.vocabulary[name], len(self.vocabulary[name]))
        return self.unused[name].pop()

    def write_sentence(self, slot: str, number: int) -> str:
        """Write one sentence that begins with a capital.

        Parameters
        ----------
        slot
            Rhetorical slot, a key of the grammar.
        number
            Index of the pattern within the slot.

        Returns
        -------
        str
            The filled pattern.

        """
        text = self.fill_fields(_read_table("grammar")[slot][number])
        # Capitals after a full stop or question mark, but not after a colon.
        return re.sub(
            r"(^|[.?:] )([a-z])(?=[a-z])",
            lambda match: match[0] if match[1] == ": " else match[1] + match[2].upper(),
            text,
        )

    def fill_fields(self, pattern: str) -> str:
        """Replace every field of a pattern.

        Parameters
        ----------
        pattern
            Text with fields in braces. A field with a capital gives a capitalised phrase; a verb such as `{are}` agrees
            in number with the phenomenon drawn before it.

        Returns
        -------
        str
            Text without fields.

        """
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
        """Return the text of one field.

        Parameters
        ----------
        name
            Field in lower case: of the plan, of NUMBER_RANGES or of the vocabulary.

        Returns
        -------
        str
            Text from the plan, a random number, or a phrase.

        """
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
        """Write a title in title case, for the plan's own target.

        Returns
        -------
        str
            Title.

        """
        text = self.fill_fields(self.rng.choice(_read_table("grammar")["title"]))
        cased = " ".join(
            word if word in LOWERCASE_WORDS or not word.islower() else word[0].upper() + word[1:]
            for word in text.split(" ")
        )
        return cased[0].upper() + cased[1:]


# Field: lowest, highest, decimals.
NUMBER_RANGES = {
    "decade": (10, 40, 0), "factor": (2, 9, 0), "orbits": (2, 24, 0), "snr": (5, 60, 0), "mag": (21, 29, 1),
    "percent": (2, 20, 0),
    "res": (5, 15, 0), "minutes": (8, 90, 0), "count": (4, 60, 0), "depth": (1, 3.5, 1), "dithers": (3, 9, 0),
}  # fmt: skip


def _is_plural(phrase: str) -> bool:
    """Decide whether a verb after the phrase is plural, from its head: the last word before a preposition."""
    head = PHRASE_HEAD_END.split(phrase)[0]
    if " and " in head:
        return True
    last = head.split()[-1]
    return (last.endswith(("s", "ae", "ejecta", "debris")) and not last.endswith(("ss", "sis"))) or last in {
        "ejecta",
        "nuclei",
    }
