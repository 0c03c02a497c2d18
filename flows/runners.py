"""Where the batches of a stage run: in threads, in processes of this machine, or on a cluster of Dask or Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from hubbleclip.config.settings import FetchSettings, Settings
from hubbleclip.core.errors import SettingsError

if TYPE_CHECKING:
    from hubbleclip.pipeline.stage import Stage


class Runner(NamedTuple):
    """How to open a task runner of so many workers, whether these are processes of their own, and the setting of
    `flows` that names a cluster which may be of other machines.
    """

    open: Callable[[Stage, int], TaskRunner[Any]]
    is_apart: bool
    address: str = ""


THREADS_AS_THEY_ARE = {
    f"distributed.nanny.pre-spawn-environ.{library}_NUM_THREADS": None for library in ("OMP", "MKL", "OPENBLAS")
}
"""Dask would set them to 1 in the process that starts a cluster, for good: its training would go on with one thread."""


def _threads(_: Stage, workers: int) -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=workers)


def _pool(_: Stage, workers: int) -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=workers)


def _dask(stage: Stage, workers: int) -> TaskRunner[Any]:
    """The cluster at `flows.dask_address`, or a local one for as long as the batches last."""
    try:
        import dask  # noqa: PLC0415 - an extra
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra
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
    """The cluster at `flows.ray_address`, or a local one for as long as the batches last."""
    try:
        from prefect_ray.task_runners import RayTaskRunner  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError('flows.runner = "ray" needs pip install "hubbleclip[ray]"') from error
    local = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    place = {"address": address} if (address := stage.settings.flows.ray_address) else local
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    runner: TaskRunner[Any] = RayTaskRunner(init_kwargs=place | quiet)
    return runner


RUNNERS = {
    "threads": Runner(_threads, is_apart=False),
    "processes": Runner(_pool, is_apart=True),
    "dask": Runner(_dask, is_apart=True, address="dask_address"),
    "ray": Runner(_ray, is_apart=True, address="ray_address"),
}


def runner_of(settings: Settings) -> Runner:
    """The runner that the settings name. Raises SettingsError."""
    runner = RUNNERS.get(settings.flows.runner)
    if runner is None:
        known = ", ".join(sorted(RUNNERS))
        raise SettingsError(f"no runner {settings.flows.runner!r}: set flows.runner to one of {known}")
    return runner


def is_elsewhere(settings: Settings) -> bool:
    """Whether workers may be on machines that share no disk with this one, so that files pass through the store."""
    address = runner_of(settings).address
    return bool(settings.store and address and getattr(settings.flows, address))


def fetch_share(settings: Settings) -> FetchSettings:
    """How each worker may fetch. Processes know nothing of one another, and never more than `flows.workers` batches are
    fetched at a time: so each has that share of the connections, at least one, and of the requests a second.
    """
    fetch, num = settings.fetch, settings.flows.workers if runner_of(settings).is_apart else 1
    limits = {"connections": max(fetch.connections // num, 1), "requests_per_s": fetch.requests_per_s / num}
    return fetch.model_copy(update=limits)
