"""Run the Prefect server for scheduled runs, and its workers.

The server listens on the loopback address, asks for a key, keeps its files below the data root and sends no telemetry.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psutil

from hubbleclip.core.api_key import KEY, LOOPBACK, make_private, prefect_home, protection, stored_key
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.interrupts import INTERRUPTED, end_soon, write_stopped

log = logging.getLogger("hubbleclip.flows")
HOST = "127.0.0.1"
POOLS = ("cpu", "gpu")
GRACE_S = 20.0
"""Time (s) that a worker has to end its flow runs."""
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

    Variables that the user has set are kept. The key is made once; it is not given to a server on another machine.
    """
    home = prefect_home(data)
    make_private(home)
    is_elsewhere = urlsplit(os.environ.get("PREFECT_API_URL", "http://localhost")).hostname not in LOOPBACK
    key = {} if is_elsewhere else protection(os.environ.get(KEY) or stored_key(home), port)
    ours = {
        **SETTINGS,
        **key,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return {**ours, **os.environ, "PATH": ours["PATH"]}


def serve(environment: Mapping[str, str], port: int) -> None:
    """Run the server until Ctrl-C or SIGTERM, after which it ends within seconds.

    Prefect's own command waits for its services, which takes up to 12 s. They keep their state in the database.
    """
    try:  # and closed again, so that clients are refused until the server is ready
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise HubbleclipError(f"cannot listen on port {port} ({error.strerror}): choose another --port") from error
    os.environ.update(environment)
    import uvicorn  # noqa: PLC0415 - slow imports, which workers and private servers do not need
    from prefect.server.api.server import create_app  # noqa: PLC0415

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if sig == signal.SIGINT:
                write_stopped()
            end_soon(INTERRUPTED if sig == signal.SIGINT else 0)
            super().handle_exit(sig, frame)

    app = create_app(final=True)
    Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=1)).run()


def work(environment: Mapping[str, str], pools: Sequence[str], zombie_s: float) -> None:
    """Run one worker per work pool until Ctrl-C or SIGTERM, or until one of the workers ends.

    All workers and their flow runs are then stopped, and further signals do not disturb this. The server starts these
    runs again.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool"]
    # A session of its own keeps the terminal's Ctrl-C from a worker, which ends at once at its second signal and then
    # leaves its flow runs alone.
    workers = [psutil.Popen([*command, pool], env=dict(environment), start_new_session=True) for pool in pools]
    try:
        while not stopped and all(worker.poll() is None for worker in workers):
            time.sleep(0.2)
    finally:
        end_workers(workers)
        log.info(
            "the workers and their active runs are stopped: %.0f s after their last heartbeat the server starts these "
            "runs again, and the next worker resumes them",
            zombie_s,
        )
    if not stopped:
        raise HubbleclipError("a worker ended unexpectedly: check that `make server` is running and run `make deploy`")
    sys.exit(INTERRUPTED if stopped[0] == signal.SIGINT else 0)


def end_workers(workers: Sequence[psutil.Popen], grace_s: float = GRACE_S) -> None:
    """End workers and all processes that they have started."""
    family: set[psutil.Process] = set()
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            family |= {worker, *worker.children(recursive=True)}
            worker.terminate()
    psutil.wait_procs(workers, grace_s)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in [process for process in family if process.is_running()]:
            with suppress(psutil.NoSuchProcess):
                family |= set(process.children(recursive=True))
        for process in family:
            with suppress(psutil.NoSuchProcess):
                end(process)
        _, family = map(set, psutil.wait_procs(family, grace_s))
