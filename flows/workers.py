"""Run the workers that execute scheduled flow runs."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.interrupts import INTERRUPTED

log = logging.getLogger("hubbleclip.flows")
POOLS = ("cpu", "gpu")
GRACE_S = 20.0
"""Time (s) within which a worker must end its flow runs."""
ZOMBIE_S = 120.0
"""Time (s) without a heartbeat after which a flow run counts as lost: four times the interval of the heartbeats."""


def work(environment: Mapping[str, str], pools: Sequence[str]) -> None:
    """Run one worker per work pool until Ctrl-C or SIGTERM, or until one of the workers ends.

    All workers and their flow runs are then stopped, even if further signals arrive. Later, the server starts the
    stopped flow runs again.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool"]
    # Each worker has a session of its own, so that Ctrl-C in the terminal does not reach it. Otherwise, a worker would
    # get two signals: from Ctrl-C and from `end_workers`. A second signal ends a worker without ending its flow runs.
    workers = [psutil.Popen([*command, pool], env=dict(environment), start_new_session=True) for pool in pools]
    try:
        while not stopped and all(worker.poll() is None for worker in workers):
            time.sleep(0.2)
    finally:
        end_workers(workers)
        log.info(
            "the workers and their active runs are stopped: the server starts these runs again %.0f s after their last "
            "heartbeat, and the next worker resumes them",
            ZOMBIE_S,
        )
    if not stopped:
        raise HubbleclipError(
            "a worker ended unexpectedly: check that `hubbleclip server` is running and run `hubbleclip deploy`"
        )
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
