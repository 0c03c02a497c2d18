"""A small simulated archive for the tests of its clients, and makers of clients with short waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.http.client import RequestLimits, Transport
from hubbleclip.archives.http.download import DownloadRequest, FetchedFile, fetch_file
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import FileSources, object_url
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.observations import SkySettings
from hubbleclip.simulator.server.launcher import running_simulator
from tests.archives.mallory import Mallory
from tests.bad_server import BadServer

SKY = SkySettings(num_proposals=12, frame_px=96)
FETCH = FetchSettings(requests_per_s=1000, connections=4, timeout_s=20)
LIMITS = RequestLimits(attempts=4, backoff_s=0.01, outage_s=0.0)


def fetch_and_limits(changes: dict[str, Any]) -> tuple[FetchSettings, RequestLimits]:
    """Take from the changes those of `fetch` and those of the limits."""
    fetch = {name: changes.pop(name) for name in FetchSettings.model_fields if name in changes}
    limits = {one.name: changes.pop(one.name) for one in fields(RequestLimits) if one.name in changes}
    return FETCH.model_copy(update=fetch), replace(LIMITS, **limits)


def make_transport(**changes: Any) -> Transport:
    """A client with short waits."""
    return Transport(*fetch_and_limits(changes))


def fetch(script: BadServer, root: Path, hasty: Any = None, transport: Any = None, **asked: Any) -> FetchedFile:
    """Fetch the file of a server; `asked` are fields of the request, `hasty` has changes of `make_transport`."""
    request = {"uri": "mast:x", "file_name": "a_drz.fits", "size_bytes": None, "layout": Layout(root)} | asked
    return fetch_file(transport or make_transport(**hasty or {}), script.url, DownloadRequest(**request))


def archive_at(url: str, root: Path, **changes: Any) -> MastArchive:
    """An archive with short waits; the changes are settings of `archive` or `fetch`, or limits."""
    fetch, limits = fetch_and_limits(changes)
    settings = ArchiveSettings.model_validate({"name": "simulated", "mast_url": url, **changes})
    return MastArchive(settings, fetch, Layout(root), limits)


def sources_of(mast_url: str, s3_url: str, root: Path, *names: str, **values: object) -> FileSources:
    """Sources of files with short waits; the public copy of the archive is at `s3_url`."""
    client = make_transport(**{"sources": names, "attempts": 2} | values)
    mast = MastClient(mast_url, client)
    sources = FileSources(Layout(root), mast, HST.bucket, 10**8)
    if "s3" in names:
        sources.sources["s3"].url = object_url(client.fetch.s3_root, s3_url)
    return sources


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
def scripted() -> Iterator[Callable[..., BadServer]]:
    """Make a server that gives these responses."""
    with ExitStack() as servers:
        yield lambda *responses, **table: servers.enter_context(BadServer(*responses, **table))


@pytest.fixture
def mallory() -> Iterator[Mallory]:
    with Mallory() as server:
        yield server
