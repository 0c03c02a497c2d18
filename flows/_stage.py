"""One stage of a run, as its parts know it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hubbleclip.catalog import Catalog
from hubbleclip.paths import Layout
from hubbleclip.settings import Settings


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage of a run: its settings, its place on disk, the open catalog, and how far it is."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
