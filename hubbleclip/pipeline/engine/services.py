"""What must run beside a flow: the simulated archive needs its server, the others nothing."""

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
    """Archive settings that can be asked, for as long as the block lasts."""
    serve = _served_already if settings.archive.from_raw else SERVICES.get(settings.archive.name, _served_already)
    return serve(settings)
