"""One stage of a run: its settings, the open catalog, and how its work is executed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from hubbleclip.catalog.catalog import Catalog, writing_catalog
from hubbleclip.config.settings import FlowSettings, Settings
from hubbleclip.core.errors import CatalogLockedError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.execution import PLAIN, Execution
from hubbleclip.pipeline.remote_store import synchronised_catalog

log = logging.getLogger("hubbleclip.pipeline")
LOCK_POLL_S = 10.0


def layout_of(settings: Settings) -> Layout:
    """File names of a profile, and of its copy in the remote store.

    Parameters
    ----------
    settings
        All settings.

    Returns
    -------
    Layout
        Paths below `data/<profile>`.

    """
    store = settings.store and f"{settings.store.rstrip('/')}/{settings.profile}"
    return Layout(settings.root, store, settings.keep_local)


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage while it runs. `rejected` counts the items rejected so far; `started` is of the monotonic clock."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    execution: Execution = PLAIN
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)


@contextmanager
def open_stage(name: str, settings: Settings, execution: Execution = PLAIN) -> Iterator[Stage]:
    """Open the catalog for writing, and publish a snapshot of it at the end.

    Parameters
    ----------
    name
        Name of the stage, for the log.
    settings
        All settings.
    execution
        Where the batches run.

    Yields
    ------
    Stage
        The stage with the open catalog.

    Raises
    ------
    CatalogLockedError
        When another process still writes the catalog after `execution.lock_wait_s`.

    """
    layout = layout_of(settings)
    wait_s = execution.lock_wait_s(settings.flows)
    with synchronised_catalog(layout), locked_catalog(layout, settings.flows, wait_s) as catalog:
        stage = Stage(name=name, settings=settings, layout=layout, catalog=catalog, execution=execution)
        yield stage
    took_s = time.monotonic() - stage.started
    log.info("%s: finished in %.1f s, %d rejected", stage.name, took_s, stage.rejected)


def bounded_catalog(layout: Layout, settings: FlowSettings) -> AbstractContextManager[Catalog]:
    """The catalog for writing, within the memory and threads of the settings.

    Parameters
    ----------
    layout
        File names of the profile.
    settings
        The section `flows`.

    Returns
    -------
    context manager
        Yields the open Catalog.

    """
    return writing_catalog(layout, memory_mb=settings.catalog_memory_mb, threads=settings.catalog_threads)


@contextmanager
def locked_catalog(layout: Layout, settings: FlowSettings, wait_s: float) -> Iterator[Catalog]:
    """The catalog for writing, after a wait for another writer.

    Parameters
    ----------
    layout
        File names of the profile.
    settings
        The section `flows`.
    wait_s
        Longest wait in seconds.

    Yields
    ------
    Catalog
        The open catalog.

    Raises
    ------
    CatalogLockedError
        When another process still writes it after `wait_s`.

    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as opened:
        while True:
            try:
                catalog = opened.enter_context(bounded_catalog(layout, settings))
                break
            except CatalogLockedError as error:
                if time.monotonic() >= deadline:
                    raise
                log.info("waiting: %s", error)
                time.sleep(min(LOCK_POLL_S, max(deadline - time.monotonic(), 0)))
        yield catalog
