"""Create the Prefect task runner that the setting `flows.runner` selects.

Tasks run in threads or processes of this machine, or on a Dask or Ray cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from hubbleclip.core.errors import SettingsError

if TYPE_CHECKING:
    from hubbleclip.pipeline.engine.stage import Stage


THREADS_AS_THEY_ARE = {
    f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": None for library in ("OMP", "MKL", "OPENBLAS")
}
"""Dask configuration with which Dask leaves the environment variables `OMP_NUM_THREADS`, `MKL_NUM_THREADS` and
`OPENBLAS_NUM_THREADS` unchanged.

By default, Dask sets these variables to 1 in the process that starts a cluster, and never resets them. A later training
in the same process would then use only one thread.
"""


def _dask(stage: Stage, workers: int) -> TaskRunner[Any]:
    """Use the Dask cluster at `flows.dask_address`, or start a local cluster that is stopped after the last batch."""
    try:
        import dask  # noqa: PLC0415 - an optional dependency
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise SettingsError('flows.runner = "dask" needs pip install "hubbleclip[dask]"') from error
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if address := stage.settings.flows.dask_address:
        return DaskTaskRunner(address=address)
    dask.config.set(THREADS_AS_THEY_ARE)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0",
            "local_directory": str((stage.layout.home / "dask").absolute()),
        }
    )  # fmt: skip


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
