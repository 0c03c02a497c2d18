"""Missions: one `Mission` record per telescope, with its naming rules, files, cameras and credits.

A new mission needs a module in this folder and an entry in `MISSIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable

from hubbleclip.core.errors import SettingsError
from hubbleclip.missions.base import Camera, Mission
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST

__all__ = ["DEFAULT", "MISSIONS", "Camera", "Mission", "mission_of_collections", "mission_of_telescope"]

MISSIONS: dict[str, Mission] = {mission.name: mission for mission in (HST, JWST)}
DEFAULT = HST
"""Mission that is assumed for FITS headers without a known TELESCOP, as in old files and press images."""

_BY_TELESCOPE = {mission.telescope: mission for mission in MISSIONS.values()}
_BY_COLLECTION = {name: mission for mission in MISSIONS.values() for name in mission.collections}


def mission_of_telescope(telescope: object) -> Mission:
    """Find the mission for a value of the FITS keyword TELESCOP; `DEFAULT` for an unknown telescope."""
    return _BY_TELESCOPE.get(str(telescope).strip().upper(), DEFAULT)


def mission_of_collections(collections: Iterable[str]) -> Mission:
    """Find the mission of the first known MAST collection; SettingsError if no collection is known."""
    collections = tuple(collections)
    found = next((_BY_COLLECTION[name] for name in collections if name in _BY_COLLECTION), None)
    if found is None:
        known = ", ".join(sorted(_BY_COLLECTION))
        raise SettingsError(f"archive.collections = {list(collections)} is no known collection: use one of {known}")
    return found
