"""Licences and attributions of the data in a dataset, in the wording that the data owners require."""

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
    """Look up the licence and the attribution of archives.

    If an archive holds the data of a mission, both texts come from the record of this mission in `MISSIONS`.
    """
    return {name: NOTICES.get(name, UNKNOWN) for name in sorted(set(archives))}


def homepage(archives: Iterable[str]) -> str:
    """Choose the web page that the metadata of a dataset refer to."""
    return next((MISSIONS[name].homepage for name in sorted(archives) if name in MISSIONS), DEFAULT.homepage)
