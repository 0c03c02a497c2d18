"""The simulated archive as a child process that never outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import ArchiveError
from hubbleclip.simulator.server.fault_plan import FaultPlan

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


@contextmanager
def running_simulator(settings: SimulatorSettings, faults: FaultPlan | None = None) -> Iterator[str]:
    """Yield the address of an archive that answers, and stop it afterwards.

    The child ends when its standard input does, which the system closes also when this process is killed. Raises
    ArchiveError when it does not start.
    """
    child, url = _start(settings, faults)
    try:
        yield url
    finally:
        _stop(child)


@dataclass(slots=True)
class Restarts:
    """An archive at `url` that was killed and started again `count` times so far."""

    url: str
    count: int = 0


@contextmanager
def restarting_simulator(
    settings: SimulatorSettings, faults: FaultPlan | None = None, *, waits_s: Iterable[float], down_s: float = 0.2
) -> Iterator[Restarts]:
    """Like `running_simulator`, but after each of the waits the server is killed in whatever it does, and after
    `down_s` comes back on the same port, its faults drawn from the beginning. `itertools.repeat(5)` kills every 5 s.

    Raises ArchiveError when it does not start, also when it did not start again.
    """
    child, url = _start(settings, faults)
    settings = settings.model_copy(update={"port": urlsplit(url).port})
    restarts, is_over, failures = Restarts(url), threading.Event(), list[ArchiveError]()

    def restart() -> None:
        nonlocal child
        for wait_s in waits_s:
            if is_over.wait(wait_s):
                return
            child.kill()
            _stop(child)
            time.sleep(down_s)
            try:
                child, _ = _start(settings, faults)
            except ArchiveError as error:
                failures.append(error)
                return
            restarts.count += 1

    restarter = threading.Thread(target=restart, name="restarter")
    restarter.start()
    try:
        yield restarts
    finally:
        is_over.set()
        restarter.join()
        _stop(child)
    if failures:
        raise failures[0]


def simulated_addresses(url: str) -> dict[str, str]:
    """The addresses of ArchiveSettings for an archive that is served at `url`."""
    return {"mast_url": url, "programs_url": url, "proposals_url": f"{url}/hst/proposal_abstracts.html"}


def _start(settings: SimulatorSettings, faults: FaultPlan | None) -> tuple[subprocess.Popen[str], str]:
    """A server that answers, and its address. Raises ArchiveError."""
    command = [sys.executable, "-m", "hubbleclip.simulator", "--settings", settings.model_dump_json()]
    command += ["--faults", (faults or FaultPlan()).model_dump_json()]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
        url = _read_address(child)
        if not url:
            _stop(child)
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ArchiveError(f"the simulated archive did not start: {last or 'no answer in time'}")
        return child, url


def _read_address(child: subprocess.Popen[str]) -> str:
    """The first line that the child writes; '' when it ends or takes too long."""
    timer = threading.Timer(START_TIMEOUT_S, child.kill)
    timer.start()
    try:
        return child.stdout.readline().strip() if child.stdout else ""
    finally:
        timer.cancel()


def _stop(child: subprocess.Popen[str]) -> None:
    """Close its input and wait; then end it, and at last kill it."""
    if child.stdin:
        child.stdin.close()
    for last_resort in (child.terminate, child.kill, None):
        try:
            child.wait(STOP_TIMEOUT_S)
            break
        except subprocess.TimeoutExpired:
            if last_resort:
                last_resort()
    if child.stdout:
        child.stdout.close()
