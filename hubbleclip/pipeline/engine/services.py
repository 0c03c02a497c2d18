"""What a stage needs while it runs: the simulated archive is served on loopback, other archives need nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hubbleclip.config.settings import ArchiveSettings, Settings


@contextmanager
def _served_already(settings: Settings) -> Iterator[ArchiveSettings]:
    yield settings.archive


@contextmanager
def _simulated(settings: Settings) -> Iterator[ArchiveSettings]:
    from hubbleclip.simulator.server.launcher import running_simulator, simulated_addresses  # noqa: PLC0415 - only the demo pays for it

    if settings.archive.mast_url != ArchiveSettings().mast_url:
        yield settings.archive
        return
    with running_simulator(settings.simulator) as url:
        yield settings.archive.model_copy(update=simulated_addresses(url))


SERVICES: dict[str, Callable[[Settings], AbstractContextManager[ArchiveSettings]]] = {"simulated": _simulated}


def archive_service(settings: Settings) -> AbstractContextManager[ArchiveSettings]:
    """Start what the archive needs, for the duration of a `with` block.

    Parameters
    ----------
    settings
        All settings; `archive.name` chooses the service.

    Returns
    -------
    context manager
        Yields the section `archive` with the URLs to ask.

    """
    serve = _served_already if settings.archive.from_raw else SERVICES.get(settings.archive.name, _served_already)
    return serve(settings)
