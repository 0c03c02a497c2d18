"""Create the Prefect task runner that the setting `flows.runner` selects.

Tasks run in threads or processes of this machine, or on a Dask or Ray cluster.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from hubbleclip.core.errors import ClusterError, SettingsError
from hubbleclip.pipeline.engine.runners import RUNNERS

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage

log = logging.getLogger("hubbleclip.flows")
THREADS_AS_THEY_ARE = {
    f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": None for library in ("OMP", "MKL", "OPENBLAS")
}
"""Dask configuration with which Dask leaves the environment variables `OMP_NUM_THREADS`, `MKL_NUM_THREADS` and
`OPENBLAS_NUM_THREADS` unchanged.

By default, Dask sets these variables to 1 in the process that starts a cluster, and never resets them. A later training
in the same process would then use only one thread.
"""
CLUSTER_ERRORS = {
    "distributed.scheduler": "KilledWorker",
    "distributed.client": "FutureCancelledError",
    "distributed.comm.core": "CommClosedError",
    "ray.exceptions": "RayError",
}
"""Errors by which a cluster reports that it is lost, or that it gave a batch up after several workers had died of it,
by module.
"""


@contextmanager
def open_runner(name: str, stage: Stage, workers: int) -> Iterator[TaskRunner[Any]]:
    """Open a task runner during a `with` block."""
    with ExitStack() as stack:
        try:
            runner = stack.enter_context(TASK_RUNNERS[name](stage, workers))
            client = getattr(runner, "client", None)  # Dask connects when its client is used for the first time
            if client and not client.nthreads():
                log.warning("no worker is connected to the Dask scheduler: the batches wait for one")
        except OSError as error:
            if not _address(name, stage):
                raise
            raise ClusterError(f"the cluster at {_address(name, stage)} cannot be reached ({error})") from error
        try:
            yield runner
        except _cluster_errors() as error:  # evaluated when an error was raised, so after the imports
            raise ClusterError(
                f"the {name} cluster lost a batch ({error}): check its scheduler and the memory of its workers, then "
                "run the same command again to resume"
            ) from error


def _address(name: str, stage: Stage) -> str:
    """Return the address of the cluster; empty for workers of this machine."""
    setting = RUNNERS[name].address
    return str(getattr(stage.settings.flows, setting)) if setting else ""


def _cluster_errors() -> tuple[type[Exception], ...]:
    """Return the classes of `CLUSTER_ERRORS` whose modules are loaded."""
    return tuple(getattr(sys.modules[module], name) for module, name in CLUSTER_ERRORS.items() if module in sys.modules)


def _dask(stage: Stage, workers: int) -> TaskRunner[Any]:
    """Use the Dask cluster at `flows.dask_address`, or start a local cluster that is stopped after the last batch."""
    try:
        import dask  # noqa: PLC0415 - an optional dependency
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise SettingsError('flows.runner = "dask" needs pip install "hubbleclip[dask]"') from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a batch raises the errors that it logs
    if address := stage.settings.flows.dask_address:
        return DaskTaskRunner(address=address)
    dask.config.set(THREADS_AS_THEY_ARE)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": workers,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": "127.0.0.1:0",
            "local_directory": str((stage.layout.home / "dask").absolute()),
        }
    )


def _ray(stage: Stage, workers: int) -> TaskRunner[Any]:
    """Use the Ray cluster at `flows.ray_address`, or start a local cluster that is stopped after the last batch."""
    try:
        from prefect_ray.task_runners import RayTaskRunner  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise SettingsError('flows.runner = "ray" needs pip install "hubbleclip[ray]"') from error
    local = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    place = {"address": address} if (address := stage.settings.flows.ray_address) else local
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    runner: TaskRunner[Any] = RayTaskRunner(init_kwargs=place | quiet)
    return runner


TASK_RUNNERS: dict[str, Callable[[Stage, int], TaskRunner[Any]]] = {
    "threads": lambda _, workers: ThreadPoolTaskRunner(max_workers=workers),
    "processes": lambda _, workers: ProcessPoolTaskRunner(max_workers=workers),
    "dask": _dask,
    "ray": _ray,
}
"""Constructor of the Prefect task runner for each value of the setting `flows.runner`.

The arguments are the running stage, whose settings and paths are used, and the number of workers. The task runner must
be opened as a context manager.
"""
