"""Runs the simulated archive as a child process that ends with its parent."""

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

START_TIMEOUT_S = 60.0  # Importing astropy takes seconds on a busy machine.
STOP_TIMEOUT_S = 5.0


@contextmanager
def running_simulator(settings: SimulatorSettings, faults: FaultPlan | None = None) -> Iterator[str]:
    """Serve an archive in a child process for the time of a `with` block.

    Parameters
    ----------
    settings
        Contents of the archive, host and port.
    faults
        Faults to inject; none by default.

    Yields
    ------
    str
        Address of the archive, once it responds.

    Raises
    ------
    ArchiveError
        The server did not start.

    Notes
    -----
    The child ends when its standard input closes, which the system also does when this process is killed.

    """
    child, url = _start(settings, faults)
    try:
        yield url
    finally:
        _stop(child)


@dataclass(slots=True)
class RestartedArchive:
    """An archive at `url` that was killed and restarted `num_restarts` times so far."""

    url: str
    num_restarts: int = 0


@contextmanager
def restarting_simulator(
    settings: SimulatorSettings, faults: FaultPlan | None = None, *, waits_s: Iterable[float], down_s: float = 0.2
) -> Iterator[RestartedArchive]:
    """Serve an archive that is killed and restarted on the same port, whatever it is doing.

    Parameters
    ----------
    settings
        Contents of the archive, host and port.
    faults
        Faults to inject; their draws begin again at each restart.
    waits_s
        Seconds before each kill; `itertools.repeat(5)` kills every 5 s.
    down_s
        Seconds from a kill to the restart.

    Yields
    ------
    RestartedArchive
        Address and number of restarts so far.

    Raises
    ------
    ArchiveError
        The server did not start, or did not restart.

    """
    child, url = _start(settings, faults)
    # Keep the port that the first start chose.
    settings = settings.model_copy(update={"port": urlsplit(url).port})
    restarts, is_over, failures = RestartedArchive(url), threading.Event(), list[ArchiveError]()

    def restart() -> None:
        nonlocal child
        for wait_s in waits_s:
            if is_over.wait(wait_s):
                return
            # SIGKILL, so that responses break off in the middle.
            child.kill()
            _stop(child)
            time.sleep(down_s)
            try:
                child, _ = _start(settings, faults)
            except ArchiveError as error:
                failures.append(error)
                return
            restarts.num_restarts += 1

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
    """Return the addresses in ArchiveSettings for a simulated archive.

    Parameters
    ----------
    url
        Address at which it is served.

    Returns
    -------
    dict[str, str]
        Value by setting of the section `archive`.

    """
    return {"mast_url": url, "programs_url": url, "proposals_url": f"{url}/hst/proposal_abstracts.html"}


def _start(settings: SimulatorSettings, faults: FaultPlan | None) -> tuple[subprocess.Popen[str], str]:
    """Start a server and return it with its address once it responds; raises ArchiveError."""
    command = [sys.executable, "-m", "hubbleclip.simulator", "--settings", settings.model_dump_json()]
    command += ["--faults", (faults or FaultPlan()).model_dump_json()]
    with tempfile.TemporaryFile() as error_file:
        child = subprocess.Popen(
            # Its own session: Ctrl-C must not stop the archive first.
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_file,
            start_new_session=True,
            text=True,
        )
        url = _read_address(child)
        if not url:
            _stop(child)
            error_file.seek(0)
            last_line = error_file.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ArchiveError(
                f"the simulated archive did not start: {last_line or f'no response within {START_TIMEOUT_S:g} s'}"
            )
        return child, url


def _read_address(child: subprocess.Popen[str]) -> str:
    """Read the first line that the child writes; '' when it ends or takes too long."""
    # readline has no time limit of its own.
    timer = threading.Timer(START_TIMEOUT_S, child.kill)
    timer.start()
    try:
        return child.stdout.readline().strip() if child.stdout else ""  # Empty when the child has ended.
    finally:
        timer.cancel()


def _stop(child: subprocess.Popen[str]) -> None:
    """Close the child's input and wait; then terminate it, and finally kill it."""
    if child.stdin:
        child.stdin.close()
    # None: after the kill, wait once more.
    for last_resort in (child.terminate, child.kill, None):
        try:
            child.wait(STOP_TIMEOUT_S)
            break
        except subprocess.TimeoutExpired:
            if last_resort:
                last_resort()
    if child.stdout:
        child.stdout.close()
