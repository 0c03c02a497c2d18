"""Reduce the names of moving targets to designations, so that two names of one body are equal.

The same body has several names in the archive: `67P` and `COMET-67P-CHURYUMOV`, `HAUMEA` and `136108-HAUMEA`,
`C/2012-S1` and `COMET-ISON`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from functools import cache
from importlib.resources import files

from hubbleclip.core.records import Observation, Tile
from hubbleclip.missions.base import PARALLEL

COMET_NUMBER = re.compile(r"\b(?:COMET)?0*(\d{1,3}[PDI])\b")
"""Matches the number of a periodic comet or of an interstellar object: `67P`, `2I`."""
PROVISIONAL = re.compile(r"\b[ACDIPX]? ?((?:1[6-9]|20)\d\d) ?([A-Z] ?\d{1,3}|[A-Z]{2} ?\d{0,3})\b")
"""Matches a provisional designation, with or without the letter of its kind: `C 2012 S1`, `P2010A2`, `2003 UB313`."""
NUMBERED_NAME = re.compile(r"^\d{1,6} ([A-Z]{3,}.*)$")
"""Matches a minor planet with its number: `624 HEKTOR`."""
GENERIC = re.compile(r"\b(?:COMET|ASTEROID|CENTAUR|TROJAN|DWARF PLANET|MINOR PLANET|NUCLEUS)\b ?")


@cache
def _bodies() -> tuple[frozenset[str], dict[str, str]]:
    """Read the names of the major bodies, and map the listed names of other bodies to designations.

    The longest names come first, so that `TEMPEL TUTTLE` is found before `TUTTLE`.
    """
    table = tomllib.loads((files("hubbleclip.dataset") / "moving_bodies.toml").read_text(encoding="utf-8"))
    names = {name: key for key, others in table["designations"].items() for name in (key, *others)}
    return frozenset(table["major"]), {name: names[name] for name in sorted(names, key=len, reverse=True)}


def normalise_target_name(name: str) -> str:
    """Reduce the name of a moving target to a designation."""
    major_bodies, designations = _bodies()
    words: list[str] = re.findall(r"[A-Z0-9]+", name.upper())
    major = next((word for word in words if word in major_bodies), None)
    if major:
        return major
    text = " ".join(words)
    numbered = COMET_NUMBER.search(text) or PROVISIONAL.search(text)
    if numbered:
        code = "".join(numbered.groups()).replace(" ", "")
        return designations.get(code, code)
    known = next((key for alias, key in designations.items() if f" {alias} " in f" {text} "), None)
    if known:
        return known
    specific = NUMBERED_NAME.sub(r"\1", GENERIC.sub("", text).strip())
    return (specific or text).replace(" ", "")


def as_shown(observation: Observation, tile: Tile) -> Observation:
    """Return the observation of a tile; the target is removed for a parallel exposure, which shows another field."""
    is_parallel = PARALLEL in (tile.note or "").split("; ")
    return replace(observation, target_name=None, target_class=None) if is_parallel else observation


def moving_target(observation: Observation) -> str | None:
    """Determine the designation of an observation's moving target; None for a fixed or an unknown target."""
    return designation(observation.target_name, is_moving=observation.is_moving)


def designation(target_name: str | None, *, is_moving: bool) -> str | None:
    """Determine the designation of a moving target; None if the target is fixed or has no name."""
    return (normalise_target_name(target_name) or None) if is_moving and target_name else None
