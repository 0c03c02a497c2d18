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
    """Licence and attribution of archives; a new mission brings its own.

    Parameters
    ----------
    archives
        Names of archives, with repetitions.

    Returns
    -------
    dict[str, dict[str, str]]
        `licence` and `attribution` by archive, in order of name; `UNKNOWN` for archives without a notice.

    """
    return {name: NOTICES.get(name, UNKNOWN) for name in sorted(set(archives))}


def homepage(archives: Iterable[str]) -> str:
    """Choose the page that a dataset's metadata link.

    Parameters
    ----------
    archives
        Names of archives.

    Returns
    -------
    str
        URL of the first mission among them, in order of name; that of the default mission without one.

    """
    return next((MISSIONS[name].homepage for name in sorted(archives) if name in MISSIONS), DEFAULT.homepage)
