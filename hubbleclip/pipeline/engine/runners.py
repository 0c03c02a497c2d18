"""Kinds of workers that the setting `flows.runner` can select, and how they share files and the rate limit."""

from __future__ import annotations

from typing import NamedTuple

from hubbleclip.config.settings import FetchSettings, Settings
from hubbleclip.core.errors import SettingsError


class Runner(NamedTuple):
    """Properties of one kind of worker.

    `is_separate` is true for workers in separate processes. `address` names the setting in the section `flows` that
    holds the address of a cluster, whose workers may run on other machines.
    """

    is_separate: bool
    address: str = ""


RUNNERS = {
    "threads": Runner(is_separate=False),
    "processes": Runner(is_separate=True),
    "dask": Runner(is_separate=True, address="dask_address"),
    "ray": Runner(is_separate=True, address="ray_address"),
}


def runner_of(settings: Settings) -> Runner:
    """Return the runner that the settings select."""
    runner = RUNNERS.get(settings.flows.runner)
    if runner is None:
        known = ", ".join(sorted(RUNNERS))
        raise SettingsError(f"no runner {settings.flows.runner!r}: set flows.runner to one of {known}")
    return runner


def is_remote(settings: Settings) -> bool:
    """Return whether workers may run on machines that share no disk with this one.

    If so, workers exchange files with this machine through the remote store.
    """
    address = runner_of(settings).address
    return bool(settings.store and address and getattr(settings.flows, address))


def fetch_share(settings: Settings) -> FetchSettings:
    """Return the fetch settings of one worker.

    Separate processes cannot share a rate limiter, and at most `flows.workers` batches are fetched at a time. Each
    separate process therefore gets 1/`flows.workers` of the connections (at least one connection) and 1/`flows.workers`
    of the requests per second. Workers that are threads share all connections.
    """
    fetch, num = settings.fetch, settings.flows.workers if runner_of(settings).is_separate else 1
    limits = {"connections": max(fetch.connections // num, 1), "requests_per_s": fetch.requests_per_s / num}
    return fetch.model_copy(update=limits)
