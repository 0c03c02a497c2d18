"""Missions: each telescope's naming rules, files, cameras and credits in one `Mission` record."""

from __future__ import annotations

from hubbleclip.missions.base import Camera, Mission
from hubbleclip.missions.registry import MISSIONS, mission_of_collections, mission_of_telescope

__all__ = ["MISSIONS", "Camera", "Mission", "mission_of_collections", "mission_of_telescope"]
