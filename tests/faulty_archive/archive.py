"""The simulated archive with faults and odd contents: its settings, its store, its application, and its launcher."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from hubbleclip.simulator.observations import SimObservation, SimProposal, SkySettings
from hubbleclip.simulator.server import launcher
from hubbleclip.simulator.server.app import LabelMiddleware, make_app, serve
from hubbleclip.simulator.server.mast_tables import Row
from hubbleclip.simulator.server.product_store import ArchiveStore
from tests.faulty_archive import arrivals, odd_rows
from tests.faulty_archive.faults import TRANSPORT
from tests.faulty_archive.plan import FaultMiddleware, FaultPlan

MODULE = "tests.faulty_archive"
DOWN_S = 0.2


class FaultySettings(SkySettings):
    """Settings of a simulated archive that does what a demo does not need."""

    changed_share: float = Field(0.0, ge=0, le=0.3)
    """Share of the observations that the archive lists up to 30 nights after their release date; share that it
    withdraws, and share that it gives another number (`obsid`), in the same time; and share of the visits that it then
    lists as Hubble Advanced Products.
    """
    odd_share: float = Field(0.0, ge=0, le=1)
    """Share of the observations with a second plane, share released before their exposure, and share followed by a row
    of a sky cell, which has no proposal.
    """
    odd_products: bool = False
    """Also list grism exposures, files of the Hubble Legacy Archive and of sky cells, member exposures, and pictures of
    raw exposures.
    """
    faults: FaultPlan = FaultPlan()
    """Faults of the server."""


class OddStore(ArchiveStore):
    """Contents of the archive with changes from night to night and with odd rows."""

    settings: FaultySettings

    def listed_observations(self, proposal: SimProposal) -> Iterable[SimObservation]:
        """List the observations of a proposal, with a grism exposure if the settings ask for it."""
        observations = arrivals.listed_observations(self.settings, proposal)
        return odd_rows.with_grism(observations) if self.settings.odd_products else observations

    def observation_rows(self) -> Iterable[SimObservation]:
        """Make one item per row of the observation table."""
        return arrivals.rows_of(self.settings, self.observations.values())

    def product_rows(self, obsids: Sequence[int]) -> list[Row]:
        """List the files of observations, and foreign files."""
        rows = super().product_rows(obsids)
        found = [self.by_obsid[obsid] for obsid in obsids if obsid in self.by_obsid]
        return (
            rows + [row for item in found for row in odd_rows.foreign_rows(item)]
            if self.settings.odd_products
            else rows
        )


def make_faulty_app(settings: SkySettings) -> ASGIApp:
    """Make the application of the archive, with what the settings add to it if they are `FaultySettings`."""
    settings = FaultySettings.model_validate(settings.model_dump())
    app = LabelMiddleware(FaultMiddleware(make_app(OddStore(settings)), settings.faults))

    async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's own connection object, because ASGI offers no way to break a connection
        connection = getattr(getattr(send, "__self__", None), "transport", None)
        await app({**scope, TRANSPORT: connection}, receive, send)

    return with_connection


def with_faults(settings: SkySettings, faults: FaultPlan) -> FaultySettings:
    return FaultySettings.model_validate({**settings.model_dump(), "faults": faults.model_dump()})


def running_archive(settings: SkySettings, faults: FaultPlan | None = None) -> AbstractContextManager[str]:
    """Run the archive in a child process for the duration of a `with` block, and yield its URL."""
    return launcher.running_simulator(with_faults(settings, faults) if faults else settings, MODULE)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application in a thread for a `with` block, and yield its URL."""
    ready: queue.SimpleQueue[tuple[str, uvicorn.Server]] = queue.SimpleQueue()
    options = {"app": app, "on_ready": lambda *running: ready.put(running)}
    thread = threading.Thread(target=serve, args=(SkySettings(),), kwargs=options)
    thread.start()
    url, server = ready.get(timeout=20)
    try:
        yield url
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@dataclass(slots=True)
class RestartedArchive:
    """State of an archive that is killed and restarted: its URL, its process, and the number of restarts until now."""

    url: str
    child: subprocess.Popen[str]
    num_restarts: int = 0


@contextmanager
def restarting_archive(
    settings: SkySettings, faults: FaultPlan, *, waits_s: Iterable[float]
) -> Iterator[RestartedArchive]:
    """Run an archive that is killed at given times, even during a response, and restarted on the same port."""
    settings = with_faults(settings, faults)
    child, url = launcher.start(settings, MODULE)
    settings = settings.model_copy(update={"port": urlsplit(url).port})
    archive, is_over = RestartedArchive(url, child), threading.Event()

    def restart() -> None:
        for wait_s in waits_s:
            if is_over.wait(wait_s):
                return
            archive.child.kill()  # SIGKILL, so that responses are interrupted in the middle
            launcher.stop(archive.child)
            time.sleep(DOWN_S)
            archive.child, _ = launcher.start(settings, MODULE)
            archive.num_restarts += 1

    restarter = threading.Thread(target=restart, name="restarter")
    restarter.start()
    try:
        yield archive
    finally:
        is_over.set()
        restarter.join()
        launcher.stop(archive.child)
