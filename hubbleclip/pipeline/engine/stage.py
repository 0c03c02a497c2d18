"""A running stage: its settings, its paths, the open catalog, and the archive that it queries."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import ArchiveSettings, Settings
from hubbleclip.core.errors import CatalogLockedError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.remote_store import synchronised_catalog

log = logging.getLogger("hubbleclip.pipeline")
"""Logger of all stages."""
LOCK_POLL_S = 10.0
LOCK_WAIT_S: ContextVar[float] = ContextVar("LOCK_WAIT_S", default=0.0)
"""Maximum wait (s) while another process writes the catalog; only a scheduled flow run sets it above 0."""


def layout_of(settings: Settings) -> Layout:
    """Return the paths of a profile's files, and of their copies in the remote store."""
    store = settings.store and f"{settings.store.rstrip('/')}/{settings.profile}"
    return Layout(settings.root, store, settings.keep_local)


@dataclass(slots=True, kw_only=True)
class Stage:
    """A running stage; `rejected` is the number of items rejected so far."""

    name: str
    settings: Settings
    layout: Layout
    catalog: Catalog
    rejected: int = 0


@contextmanager
def open_stage(name: str, settings: Settings) -> Iterator[Stage]:
    """Open the catalog for writing during a `with` block, and publish a snapshot of the catalog at the end.

    If another process is writing the catalog, a scheduled run waits, and any other run raises CatalogLockedError.
    """
    layout = layout_of(settings)
    with synchronised_catalog(layout), ExitStack() as opened:
        deadline = time.monotonic() + LOCK_WAIT_S.get()
        while True:
            try:
                catalog = opened.enter_context(writing_catalog(layout, memory_mb=settings.flows.catalog_memory_mb))
                break
            except CatalogLockedError as error:
                if time.monotonic() >= deadline:
                    raise
                log.info("waiting: %s", error)
                time.sleep(min(LOCK_POLL_S, max(deadline - time.monotonic(), 0)))
        started = time.monotonic()
        stage = Stage(name=name, settings=settings, layout=layout, catalog=catalog)
        yield stage
    log.info("%s: finished in %.1f s, %d rejected", name, time.monotonic() - started, stage.rejected)


@contextmanager
def served_archive(settings: Settings) -> Iterator[ArchiveSettings]:
    """Serve the simulated archive on loopback during a `with` block, if the settings require this.

    The context manager yields the archive's settings with the address in use.
    """
    archive = settings.archive
    if archive.name != "simulated" or archive.from_raw or archive.mast_url != ArchiveSettings().mast_url:
        yield archive
        return
    from hubbleclip.simulator.server.launcher import running_simulator  # noqa: PLC0415 - slow to import, and only the simulated archive needs it

    with running_simulator(settings.simulator) as url:
        yield archive.model_copy(update={"mast_url": url})
