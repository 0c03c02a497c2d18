"""Whose data a dataset holds, in the words that its owners ask for."""

from __future__ import annotations

from collections.abc import Iterable

from hubbleclip.missions import MISSIONS
from hubbleclip.missions.registry import DEFAULT

NOTICES = {
    name: {"licence": mission.licence, "attribution": mission.attribution} for name, mission in MISSIONS.items()
} | {
    "simulated": {
        "licence": "CC0 1.0",
        "attribution": "Simulated by hubbleclip. These are not observations of the sky.",
    },
}
UNKNOWN = {
    "licence": "unknown",
    "attribution": "Given by the user as files; ask whoever made them.",
}


def notices(archives: Iterable[str]) -> dict[str, dict[str, str]]:
    """Licence and attribution of each archive named; a new mission brings its own."""
    return {name: NOTICES.get(name, UNKNOWN) for name in sorted(set(archives))}


def homepage(archives: Iterable[str]) -> str:
    """The page of the first mission among the archives; the default mission's without one."""
    return next((MISSIONS[name].homepage for name in sorted(archives) if name in MISSIONS), DEFAULT.homepage)
