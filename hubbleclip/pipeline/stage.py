"""One stage of a run, as its parts know it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from hubbleclip.catalog.catalog import Catalog, writing_catalog
from hubbleclip.config.settings import FlowSettings, Settings
from hubbleclip.core.layout import Layout


def layout_of(settings: Settings) -> Layout:
    """Where a profile keeps what."""
    store = settings.store and f"{settings.store.rstrip('/')}/{settings.profile}"
    return Layout(settings.root, store, settings.keep_local)


def bounded_catalog(layout: Layout, settings: FlowSettings) -> AbstractContextManager[Catalog]:
    """The catalog for writing, in as much memory as the settings say."""
    return writing_catalog(layout, memory_mb=settings.catalog_memory_mb, threads=settings.catalog_threads)


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage of a run: its settings, its place on disk, the open catalog, and how far it is."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
