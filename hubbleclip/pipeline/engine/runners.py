"""The kinds of workers that `flows.runner` names, and what each means for files and for the rate limit."""

from __future__ import annotations

from typing import NamedTuple

from hubbleclip.config.settings import FetchSettings, Settings
from hubbleclip.core.errors import SettingsError


class Runner(NamedTuple):
    """Whether workers are processes of their own, and the setting of `flows` with the address of a cluster whose
    workers may be on other machines.
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
    """The runner that the settings name.

    Parameters
    ----------
    settings
        All settings; `flows.runner` is used.

    Returns
    -------
    Runner
        Its properties.

    Raises
    ------
    SettingsError
        When there is no runner of that name.

    """
    runner = RUNNERS.get(settings.flows.runner)
    if runner is None:
        known = ", ".join(sorted(RUNNERS))
        raise SettingsError(f"no runner {settings.flows.runner!r}: set flows.runner to one of {known}")
    return runner


def is_remote(settings: Settings) -> bool:
    """Whether workers may run on machines that share no disk with this one, so that files pass through the store.

    Parameters
    ----------
    settings
        All settings; `store` and the section `flows` are used.

    Returns
    -------
    bool
        True for a cluster with an address, when a store is set.

    """
    address = runner_of(settings).address
    return bool(settings.store and address and getattr(settings.flows, address))


def fetch_share(settings: Settings) -> FetchSettings:
    """The fetch settings of one worker.

    Separate processes cannot share a rate limiter, and at most `flows.workers` batches are fetched at a time. So each
    has that share of the connections, at least one, and of the requests per second.

    Parameters
    ----------
    settings
        All settings.

    Returns
    -------
    FetchSettings
        The section `fetch` with the share of one worker.

    """
    fetch, num = settings.fetch, settings.flows.workers if runner_of(settings).is_separate else 1
    limits = {"connections": max(fetch.connections // num, 1), "requests_per_s": fetch.requests_per_s / num}
    return fetch.model_copy(update=limits)
