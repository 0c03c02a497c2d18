"""The simulated archive as a child process that never outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hubbleclip.errors import ArchiveError
from hubbleclip.settings import SimulatorSettings
from hubbleclip.simulator.faults import FaultPlan

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


@contextmanager
def running_simulator(settings: SimulatorSettings, faults: FaultPlan | None = None) -> Iterator[str]:
    """Yield the address of an archive that answers, and stop it afterwards.

    The child ends when its standard input does, which the system closes also when this process is killed. Raises
    ArchiveError when it does not start.
    """
    command = [sys.executable, "-m", "hubbleclip.simulator", "--settings", settings.model_dump_json()]
    command += ["--faults", (faults or FaultPlan()).model_dump_json()]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, text=True
        )
        try:
            url = _read_address(child)
            if not url:
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise ArchiveError(f"the simulated archive did not start: {last or 'no answer in time'}")
            yield url
        finally:
            _stop(child)


def simulated_addresses(url: str) -> dict[str, str]:
    """The addresses of ArchiveSettings for an archive that is served at `url`."""
    return {"mast_url": url, "programs_url": url, "proposals_url": f"{url}/hst/proposal_abstracts.html"}


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
