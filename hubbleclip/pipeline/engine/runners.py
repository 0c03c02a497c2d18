"""Kinds of workers that the setting `flows.runner` can select: threads, processes, or the workers of a cluster."""

from __future__ import annotations

import atexit
import logging
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from functools import partial
from multiprocessing import get_context
from pydoc import locate
from typing import Any, NamedTuple

from hubbleclip.config.settings import FetchSettings, FlowSettings, Settings
from hubbleclip.core.errors import ClusterError, MachineError, SettingsError, needing
from hubbleclip.core.id_prefixes import find_registered
from hubbleclip.core.interrupts import end_with_parent

log = logging.getLogger("hubbleclip.pipeline")
Submit = Callable[..., Any]
"""`submit(work, *args)` starts `work(*args)` on a worker and returns a future with `result` and `add_done_callback`.

For a worker outside this process, `work` must be a module-level function or a `partial` of a module-level function,
because `work` and `args` are pickled.
"""
DASK_CONFIG = {
    f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": None for library in ("OMP", "MKL", "OPENBLAS")
}
"""Keeps Dask from setting OMP_NUM_THREADS etc. to 1, which would limit a later training to one thread."""
CLUSTERS: dict[str, Any] = {}
"""Dask clusters that this process has started, by the dotted name of their class. They end with the process."""
CLUSTER_ERRORS = {
    "distributed.scheduler": "KilledWorker",
    "distributed.client": "FutureCancelledError",
    "distributed.comm.core": "CommClosedError",
    "ray.exceptions": "RayError",
}
"""Error classes by module. They report that the cluster is lost, or that a batch has killed several workers."""


class Runner(NamedTuple):
    """One kind of worker.

    `open` starts or joins workers for a `with` block; its arguments are the settings and the number of workers.
    `is_separate` is true for workers in separate processes. `address` is the name of the setting in the section
    `flows` that holds the address of a cluster; empty for threads and processes.
    """

    open: Callable[[FlowSettings, int], AbstractContextManager[Submit]]
    is_separate: bool
    address: str = ""


@contextmanager
def _threads(settings: FlowSettings, num: int) -> Iterator[Submit]:
    # The threads get this thread's context variables, which tell Prefect to which flow run a log line belongs.
    context = copy_context()
    with ThreadPoolExecutor(num) as pool:
        yield lambda work, *args: pool.submit(context.copy().run, work, *args)


@contextmanager
def _processes(settings: FlowSettings, num: int) -> Iterator[Submit]:
    try:
        with ProcessPoolExecutor(num, get_context("spawn"), initializer=end_with_parent) as pool:
            yield pool.submit
    except BrokenExecutor as error:
        used_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        raise MachineError(
            f"a worker process was killed, perhaps for lack of memory (the largest used {used_mb} MB): lower flows."
            "workers or add memory, then run again to resume"
        ) from error


@contextmanager
def _dask(settings: FlowSettings, num: int) -> Iterator[Submit]:
    with needing("dask", 'flows.runner = "dask"'):
        import dask  # noqa: PLC0415 - an optional dependency
        from distributed import Client  # noqa: PLC0415 - an optional dependency
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # Dask also raises the errors that it logs
    dask.config.set(DASK_CONFIG)
    local = {"n_workers": num, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
    place: dict[str, Any] = {"address": settings.dask_address} if settings.dask_address else local
    if settings.dask_address and ":" not in settings.dask_address:
        cluster = _cluster(settings.dask_address)
        cluster.scale(num)
        place = {"address": cluster}
    with Client(**place) as client:  # type: ignore[no-untyped-call]
        if not client.nthreads():
            log.warning("no worker is connected to the Dask scheduler: the batches wait for a worker")
        yield partial(client.submit, pure=False)


def _cluster(name: str) -> Any:
    """Return the running Dask cluster of the class `name`, or start one, which may have to wait in a batch queue."""
    if name not in CLUSTERS or CLUSTERS[name].status.name != "running":
        cluster_class: Any = locate(name)
        if cluster_class is None:
            raise SettingsError(f"there is no class {name}: correct flows.dask_address")
        CLUSTERS[name] = cluster_class()
        atexit.register(CLUSTERS[name].close)
    return CLUSTERS[name]


@contextmanager
def _ray(settings: FlowSettings, num: int) -> Iterator[Submit]:
    with needing("ray", 'flows.runner = "ray"'):
        import ray  # noqa: PLC0415 - an optional dependency
    local = {"address": "local", "num_cpus": num, "include_dashboard": False}
    place: dict[str, Any] = {"address": settings.ray_address} if settings.ray_address else local
    with ray.init(**place, log_to_driver=False, logging_level=logging.ERROR):
        call = ray.remote(lambda work, *args: work(*args))
        yield lambda work, *args: call.remote(work, *args).future()


RUNNERS = {
    "threads": Runner(_threads, is_separate=False),
    "processes": Runner(_processes, is_separate=True),
    "dask": Runner(_dask, is_separate=True, address="dask_address"),
    "ray": Runner(_ray, is_separate=True, address="ray_address"),
}


def runner_of(settings: Settings) -> Runner:
    """Return the runner that the settings select."""
    return find_registered(RUNNERS, settings.flows.runner, "flows.runner")


@contextmanager
def open_workers(runner: Runner, settings: FlowSettings, num: int) -> Iterator[Submit]:
    """Start or join workers for a `with` block; an error of a cluster is raised as ClusterError."""
    address = getattr(settings, runner.address) if runner.address else ""
    try:
        with runner.open(settings, num) as submit:
            yield submit
    except _cluster_errors() as error:  # evaluated after an error, so the cluster's modules are loaded
        raise ClusterError(
            f"the {settings.runner} cluster lost a batch ({error}): check its scheduler and the memory of its workers, "
            "then run the same command again to resume"
        ) from error
    except (OSError, ConnectionError) as error:
        if not address:
            raise
        raise ClusterError(f"the cluster at {address} cannot be reached ({error})") from error


def _cluster_errors() -> tuple[type[Exception], ...]:
    """Return the classes of `CLUSTER_ERRORS` whose modules are loaded."""
    return tuple(getattr(sys.modules[module], name) for module, name in CLUSTER_ERRORS.items() if module in sys.modules)


def is_remote(settings: Settings) -> bool:
    """Return whether workers may run on machines that share no disk with this one.

    If so, workers exchange files with this machine through the remote store.
    """
    address = runner_of(settings).address
    return bool(settings.store and address and getattr(settings.flows, address))


def fetch_share(settings: Settings) -> FetchSettings:
    """Return the fetch settings of one worker.

    Separate processes cannot share a rate limiter. Therefore each process gets 1/`flows.workers` of the connections (at
    least one) and 1/`flows.workers` of the requests per second. Threads share all connections.
    """
    fetch, num = settings.fetch, settings.flows.workers if runner_of(settings).is_separate else 1
    limits = {"connections": max(fetch.connections // num, 1), "requests_per_s": fetch.requests_per_s / num}
    return fetch.model_copy(update=limits)
