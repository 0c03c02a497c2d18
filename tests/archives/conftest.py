"""A small simulated archive for the tests of its clients, with the faults that a test needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hubbleclip.archives import open_archive
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.server.launcher import running_simulator, simulated_addresses
from tests.archives.mallory import Mallory
from tests.bad_server import BadServer
from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.plan import FaultPlan, FaultRule

SKY = SimulatorSettings(num_proposals=12, frame_px=96)
FETCH = FetchSettings(requests_per_s=1000, connections=4, backoff_s=0.01, attempts=4, timeout_s=20)


def archive_at(url: str, root: Path, fetch: FetchSettings = FETCH, **settings: object) -> MastArchive:
    values = ArchiveSettings.model_validate({"name": "simulated", **simulated_addresses(url), **settings})
    archive = open_archive(values, fetch, Layout(root))
    assert isinstance(archive, MastArchive)
    return archive


def observation(**row: object) -> Observation:
    """An observation of the proposal 12675, with the given CAOM columns."""
    named = {"obs_id": "ibol02010", "obsid": "2003", "proposal_id": "12675", **row}
    found = observation_from_row(named, "hst", datetime(2026, 1, 1, tzinfo=UTC), HST.products)
    assert found is not None
    return found


def observe(archive: MastArchive, since_mjd: float = 0.0) -> list[Observation]:
    return [item for page in archive.query_observations(since_mjd) for item in page]


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
def scripted() -> Iterator[Callable[..., BadServer]]:
    """Make a server that gives these responses."""
    with ExitStack() as servers:
        yield lambda *responses, **table: servers.enter_context(BadServer(*responses, **table))


@pytest.fixture
def mallory() -> Iterator[Mallory]:
    with Mallory() as server:
        yield server
