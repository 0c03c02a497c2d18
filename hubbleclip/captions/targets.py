"""Find the names and designations of astronomical objects in a text."""

from __future__ import annotations

import re
from functools import cache

from hubbleclip.captions.vocabulary import read_vocabulary

# A number, coordinates such as J1030+0524, or a supernova such as 1987A; a letter of a component or planet may follow.
NUMBER = r"J?\d+(?:\.\d+)?(?:[+−–-]\d+(?:\.\d+)?)*(?:[A-Za-z]{1,4}\b)?(?: [b-h]\b)?"
COMETS = r"\b(?:[1-9]\d{0,2}[PD]/[A-Z][\w-]+(?: [A-Z][\w-]+)?|[CP]/\d{4} [A-Z]\d+(?: \([^)]{3,30}\))?)"
NUMBERED = r"\(\d{3,6}\) [A-Z][\w’']+"
COORDINATES = r"\bJ\d{4,}(?:\.\d+)?[+−–-]\d{4,}(?:\.\d+)?"


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Compile the patterns of comets, designations with a known prefix, known names, asteroids, and coordinates."""
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
    spans = sorted(match.span() for pattern in _patterns() for match in pattern.finditer(text))
    names: dict[str, None] = {}
    end = 0
    for start, stop in spans:
        if start >= end:
            names.setdefault(" ".join(text[start:stop].split()), None)
            end = stop
    return list(names)
