"""A small simulated archive for the tests of its clients, with the faults that a test needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubbleclip.archives import open_archive
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.core.layout import Layout
from hubbleclip.simulator.server.launcher import running_simulator, simulated_addresses
from tests.archives.script_server import Respond, Script
from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.plan import FaultPlan, FaultRule

SKY = SimulatorSettings(num_proposals=12, frame_px=96)
FETCH = FetchSettings(requests_per_s=1000, connections=4, backoff_s=0.01, attempts=4, timeout_s=20)


def archive_at(url: str, root: Path, fetch: FetchSettings = FETCH, **settings: object) -> MastArchive:
    values = ArchiveSettings.model_validate({"name": "simulated", **simulated_addresses(url), **settings})
    archive = open_archive(values, fetch, Layout(root))
    assert isinstance(archive, MastArchive)
    return archive


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    with running_simulator(SKY) as url:
        yield url


@pytest.fixture
def archive(simulator: str, tmp_path: Path) -> MastArchive:
    return archive_at(simulator, tmp_path)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Callable[..., MastArchive]]:
    """Make an archive whose server fails by these rules."""
    contexts = []

    def make(*rules: FaultRule) -> MastArchive:
        context = running_archive(SKY, FaultPlan(rules=rules))
        url = context.__enter__()
        contexts.append(context)
        return archive_at(url, tmp_path)

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    """Make a server that gives these responses in turn."""
    scripts: list[Script] = []

    def make(*responses: Respond) -> Script:
        scripts.append(Script(*responses))
        return scripts[-1]

    yield make
    for script in scripts:
        script.close()
