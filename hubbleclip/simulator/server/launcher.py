"""Start and stop the simulated archive as a child process, which ends when its parent process ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import ArchiveError

MODULE = "hubbleclip.simulator"
START_TIMEOUT_S = 60.0  # Importing astropy takes several seconds on a busy machine.
STOP_TIMEOUT_S = 5.0


@contextmanager
def running_simulator(settings: SimulatorSettings, module: str = MODULE) -> Iterator[str]:
    """Run a simulated archive, `python -m MODULE`, in a child process for the duration of a `with` block.

    The child process exits when its standard input closes. The operating system closes this input even if the parent
    process is killed.
    """
    child, url = start(settings, module)
    try:
        yield url
    finally:
        stop(child)


def start(settings: SimulatorSettings, module: str = MODULE) -> tuple[subprocess.Popen[str], str]:
    """Start a server process and return it with its URL. Raises ArchiveError if it does not start in time."""
    with tempfile.TemporaryFile() as error_file:
        child = subprocess.Popen(
            # The child runs in a new POSIX session, so that Ctrl-C does not stop the archive before its clients stop.
            [sys.executable, "-m", module, "--settings", settings.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=error_file,
            start_new_session=True,
            text=True,
        )
        url = _read_address(child)
        if not url:
            stop(child)
            error_file.seek(0)
            last_line = error_file.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ArchiveError(
                f"the simulated archive did not start: {last_line or f'no response within {START_TIMEOUT_S:g} s'}"
            )
        return child, url


def _read_address(child: subprocess.Popen[str]) -> str:
    """Return the first line that the child writes, or an empty string if the child exits or takes too long."""
    # The timer kills the child, because `readline` has no time limit.
    timer = threading.Timer(START_TIMEOUT_S, child.kill)
    timer.start()
    try:
        return (
            child.stdout.readline().strip() if child.stdout else ""
        )  # An empty string means that the child has exited.
    finally:
        timer.cancel()


def stop(child: subprocess.Popen[str]) -> None:
    """Close the child's standard input and wait for the exit of the child; if necessary, terminate it, then kill it."""
    if child.stdin:
        child.stdin.close()
    # The last entry is None: after `kill`, the loop only waits for the exit of the child.
    for last_resort in (child.terminate, child.kill, None):
        try:
            child.wait(STOP_TIMEOUT_S)
            break
        except subprocess.TimeoutExpired:
            if last_resort:
                last_resort()
    if child.stdout:
        child.stdout.close()
