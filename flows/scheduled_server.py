"""Run the Prefect server for scheduled runs, and its workers.

The server listens on the loopback address, keeps its files below the data root and sends no telemetry.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import make_folder

log = logging.getLogger("hubbleclip.flows")
POOLS = ("cpu", "gpu")
EVERY_SERVER = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "hubbleclip",
}
"""Environment variables of every Prefect server that hubbleclip starts, private or for scheduled runs."""
SETTINGS = EVERY_SERVER | {
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
"""Environment variables of the server.

The leases of concurrency slots are stored on disk, so that a server that was killed can release the slots of lost runs
after a restart.
"""


def prefect_environment(data: Path, port: int) -> dict[str, str]:
    """Make the environment variables for the server, the workers and their clients.

    Variables that the user has set are kept.

    Parameters
    ----------
    data
        The data root.
    port
        Port of the server.

    Returns
    -------
    dict
        All environment variables, by name.

    """
    home = (data / ".prefect").absolute()
    make_folder(home)
    ours = {
        **SETTINGS,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return {**ours, **os.environ, "PATH": ours["PATH"]}


def serve(environment: Mapping[str, str], port: int) -> None:
    """Replace this process by the server, which ends on Ctrl-C or SIGTERM.

    Parameters
    ----------
    environment
        Environment variables, as made by `prefect_environment`.
    port
        Port of the server.

    """
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    os.execve(sys.executable, [sys.executable, "-m", "prefect", *words], dict(environment))  # noqa: S606 - the command is a list, and no shell is used


def work(environment: Mapping[str, str], pools: Sequence[str], zombie_s: float) -> None:
    """Run one worker per work pool until Ctrl-C or SIGTERM, or until one of the workers ends.

    All workers and their flow runs are then stopped. The server starts these runs again.

    Parameters
    ----------
    environment
        Environment variables, as made by `prefect_environment`.
    pools
        Names of the work pools; each gets one worker.
    zombie_s
        Time without a heartbeat, in seconds, after which the server starts a run again.

    Raises
    ------
    HubbleclipError
        When one of the workers has ended by itself.

    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # waits for the workers, which stop their flow runs
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool"]
    workers = [subprocess.Popen([*command, pool], env=dict(environment)) for pool in pools]
    try:
        while all(worker.poll() is None for worker in workers):
            time.sleep(0.5)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        log.info(
            "the workers and their active runs are stopped: %.0f s after their last heartbeat the server starts these "
            "runs again, and the next worker resumes them",
            zombie_s,
        )
    raise HubbleclipError("a worker ended unexpectedly: check that `make server` is running and run `make deploy`")
