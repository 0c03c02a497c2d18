"""One stage of a run, as its parts know it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hubbleclip.catalog import Catalog
from hubbleclip.paths import Layout
from hubbleclip.settings import Settings


def layout_of(settings: Settings) -> Layout:
    """Where a profile keeps what."""
    store = settings.store and f"{settings.store.rstrip('/')}/{settings.profile}"
    return Layout(settings.root, store, settings.keep_local)


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage of a run: its settings, its place on disk, the open catalog, and how far it is."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
