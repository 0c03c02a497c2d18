"""Missions. One `Mission` record per telescope has its naming rules, files, cameras and credits."""

from __future__ import annotations

from hubbleclip.missions.base import Camera, Mission
from hubbleclip.missions.registry import MISSIONS, mission_of_collections, mission_of_telescope

__all__ = ["MISSIONS", "Camera", "Mission", "mission_of_collections", "mission_of_telescope"]
