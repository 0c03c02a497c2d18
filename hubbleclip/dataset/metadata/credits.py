"""Whose data a dataset holds, in the words that its owners ask for."""

from __future__ import annotations

from collections.abc import Iterable

NOTICES = {
    "hst": {
        "licence": "NASA and STScI: public domain; ESA: CC BY 4.0",
        "attribution": "Based on observations made with the NASA/ESA Hubble Space Telescope, and obtained from the "
        "Mikulski Archive for Space Telescopes at the Space Telescope Science Institute.",
    },
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
    """Licence and attribution of archives; a new archive adds its own to `NOTICES`.

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
