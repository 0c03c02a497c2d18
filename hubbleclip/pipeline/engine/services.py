"""Services that must run while a stage uses an archive.

The simulated archive is served on the loopback address of this machine; the other archives need no service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hubbleclip.config.settings import ArchiveSettings, Settings


@contextmanager
def _served_already(settings: Settings) -> Iterator[ArchiveSettings]:
    yield settings.archive


@contextmanager
def _simulated(settings: Settings) -> Iterator[ArchiveSettings]:
    from hubbleclip.simulator.server.launcher import running_simulator, simulated_addresses  # noqa: PLC0415 - slow to import, and only the simulated archive needs it

    if settings.archive.mast_url != ArchiveSettings().mast_url:
        yield settings.archive
        return
    with running_simulator(settings.simulator) as url:
        yield settings.archive.model_copy(update=simulated_addresses(url))


SERVICES: dict[str, Callable[[Settings], AbstractContextManager[ArchiveSettings]]] = {"simulated": _simulated}


def archive_service(settings: Settings) -> AbstractContextManager[ArchiveSettings]:
    """Run the service that an archive needs during a `with` block."""
    serve = _served_already if settings.archive.from_raw else SERVICES.get(settings.archive.name, _served_already)
    return serve(settings)
